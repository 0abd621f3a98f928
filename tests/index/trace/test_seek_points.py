"""Seek points: found in batches, right at every bit, and not where the library cannot go on."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from indexed_gzip import IndexedGzipFile, ZranError

from dftindexd.index.trace import seek_points
from dftindexd.index.trace.resume import Place
from dftindexd.index.trace.seek_points import (
    SeekPoint,
    SeekPoints,
    spacing_for,
    unpacked_window,
)
from dftindexd.index.trace.trace_file import open_trace

from .chunks import chunks_of, one_member, some_lines, text_of
from .parsing import gzip_member, parse

_TEXT = some_lines(4000)
_PACKED = one_member(_TEXT)
_SPACING = 64 << 10


@contextmanager
def _points_of(path: Path, data: bytes, begin: Place) -> Iterator[SeekPoints]:
    path.write_bytes(data)
    with open_trace(os.fsencode(path)) as file:
        yield SeekPoints(file, begin, _SPACING)


def _all_points(points: SeekPoints, begin: int, end: int) -> list[SeekPoint]:
    asked = (points.last_before(offset) for offset in range(begin, end, 10_000))
    return list(dict.fromkeys(point for point in asked if point is not None))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seek_points, "_FIRST_BATCH", 5_000)
    monkeypatch.setattr(seek_points, "_LAST_BATCH", 30_000)


def test_points_lie_about_as_far_apart_as_asked(tmp_path: Path) -> None:
    with _points_of(tmp_path / "t", _PACKED, Place(0, 0)) as points:
        found = [point.place.uc_offset for point in _all_points(points, 0, len(_TEXT))]
    steps = [after - before for before, after in pairwise(found)]
    assert len(found) > 4
    assert min(steps) >= _SPACING
    assert max(steps) < 2 * _SPACING


@pytest.mark.usefixtures("small_batches")
def test_points_found_in_batches_are_those_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _points_of(tmp_path / "t", _PACKED, Place(0, 0)) as points:
        in_batches = _all_points(points, 0, len(_TEXT))
    monkeypatch.setattr(seek_points, "_FIRST_BATCH", 1 << 30)
    with _points_of(tmp_path / "t", _PACKED, Place(0, 0)) as points:
        at_once = _all_points(points, 0, len(_TEXT))
    assert [point.place for point in in_batches] == [point.place for point in at_once]
    assert len({point.place.bits for point in at_once}) > 2


def test_a_window_is_the_text_before_the_point(tmp_path: Path) -> None:
    before = b"\0" * 77
    with _points_of(tmp_path / "t", before + _PACKED, Place(len(before), 1000)) as points:
        for place, c_end in _all_points(points, 1000, 1000 + len(_TEXT)):
            inside = place.uc_offset - 1000
            assert unpacked_window(place.window) == _TEXT[inside - (32 << 10) : inside]
            assert len(before) < place.c_offset < c_end <= len(before) + len(_PACKED)


@pytest.mark.usefixtures("small_batches")
def test_what_follows_the_member_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    texts = []
    for following in (b"", gzip_member(_TEXT), _PACKED[:9000], b"\0" * 512, b"noise" * 9000):
        path.write_bytes(_PACKED + following)
        chunks = chunks_of(parse(path, chunk_bytes=100_000))
        texts.append([chunk.uc_offset for chunk in chunks if chunk.uc_offset < len(_TEXT)])
        for chunk in chunks:
            end = chunk.uc_offset + chunk.uc_size
            assert text_of(path, chunk) == (_TEXT + _TEXT)[chunk.uc_offset : end]
    assert all(text == texts[0] for text in texts[2:])


def test_a_member_without_borders_of_blocks_is_one_chunk(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    packer = zlib.compressobj(9, wbits=31, memLevel=9)
    blanks = packer.compress(b" " * 3_000_000 + b"\n") + packer.flush()
    path.write_bytes(blanks)
    parsed = parse(path, chunk_bytes=1_000_000)
    assert len(chunks_of(parsed)) == 1
    assert parsed.reason == ""


def test_a_library_that_cannot_go_on_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, offset: int) -> int:
        raise ZranError("cannot go on")

    monkeypatch.setattr(IndexedGzipFile, "seek", fail)
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(_PACKED)
    parsed = parse(path, chunk_bytes=100_000)
    (chunk,) = chunks_of(parsed)
    assert (chunk.c_offset, chunk.uc_size, chunk.window) == (0, len(_TEXT), b"")
    assert parsed.reason == "no more seek points in the gzip member at byte 0: cannot go on"
    assert parsed.segments[0].warnings == (parsed.reason,)


def test_spacing_follows_the_size_of_chunks_within_bounds() -> None:
    assert [spacing_for(size) for size in (1, 1 << 20, 8 << 20, 32 << 20, 1 << 40)] == [
        64 << 10,
        128 << 10,
        1 << 20,
        1 << 20,
        1 << 20,
    ]


def test_a_window_that_does_not_inflate_is_a_value_error() -> None:
    assert unpacked_window(b"") == b""
    with pytest.raises(ValueError, match="does not inflate"):
        unpacked_window(b"noise")
