"""Any chunk, range of lines or range of bytes reads as the same slice of the inflated text."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import StoreDamagedError, TraceChangedError
from dftindexd.index.model import ParsedTrace
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.index.trace.chunk_reader import (
    chunks_for_bytes,
    chunks_for_lines,
    read_bytes,
    read_chunk,
    read_lines,
)
from dftindexd.index.trace.trace_file import open_trace

from .chunks import CountingFile, chunks_of, many_members, one_member, some_lines, text_of
from .parsing import event, gzip_member, inflated, lines_of, parse

# Each example is a parse and many reads, so there are fewer of them than elsewhere.
_SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=settings().max_examples // 5,
)
_TEXT = some_lines(3500)
_CHUNK = 100_000


def _large_then_small(text: bytes) -> bytes:
    cut = len(text) * 2 // 3 + 7
    return one_member(text[:cut]) + many_members(text[cut:])


def _two_large(text: bytes) -> bytes:
    cut = len(text) // 2 + 7
    return one_member(text[:cut]) + one_member(text[cut:])


_CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "many members": many_members,
    "one member": one_member,
    "large, then small": _large_then_small,
    "two large": _two_large,
}


def _whole_lines(text: bytes) -> bytes:
    """Return *text* up to its last newline, or all of it if the last line is a whole event."""
    whole, newline, last = text.rpartition(b"\n")
    return text if last.endswith(b"}}") and last.startswith(b"{") else whole + newline


def _check_all_chunks(path: Path, chunks: list[Checkpoint], text: bytes) -> None:
    assert _checked_end(path, chunks, text) == len(text)


def _check_cut(path: Path, chunks: list[Checkpoint], text: bytes) -> None:
    """Of a member that is cut off, the last bytes that inflate may be missing, so one line."""
    assert len(text[_checked_end(path, chunks, text) :].splitlines()) <= 1


def _checked_end(path: Path, chunks: list[Checkpoint], text: bytes) -> int:
    end = line = 0
    for chunk in chunks:
        assert (chunk.uc_offset, chunk.first_line) == (end, line)
        end += chunk.uc_size
        line += chunk.num_lines
        assert text_of(path, chunk) == text[chunk.uc_offset : end]
    return end


@pytest.mark.parametrize("container", list(_CONTAINERS))
def test_chunks_cover_the_text_and_each_reads_as_its_slice(tmp_path: Path, container: str) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(_CONTAINERS[container](_TEXT))
    chunks = chunks_of(parse(path, chunk_bytes=_CHUNK))
    assert len(chunks) >= 4
    assert max(chunk.uc_size for chunk in chunks) < 3 * _CHUNK
    _check_all_chunks(path, chunks, _TEXT)
    if container in ("one member", "two large"):
        assert sum(bool(chunk.window) for chunk in chunks) >= len(chunks) - 2
        assert len({chunk.bits for chunk in chunks}) > 1


@pytest.mark.parametrize("container", list(_CONTAINERS))
@given(data=st.data())
@pytest.mark.fuzz
@_SETTINGS
def test_ranges_read_as_slices_of_the_text(
    tmp_path: Path, container: str, data: st.DataObject
) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(_CONTAINERS[container](_TEXT))
    chunks = chunks_of(parse(path, chunk_bytes=data.draw(st.integers(5_000, 200_000))))
    lines = _TEXT.splitlines(keepends=True)
    begin, end = (data.draw(st.integers(0, len(_TEXT) + 9)) for _ in "be")
    first, last = (data.draw(st.integers(0, len(lines) + 9)) for _ in "fl")
    with open_trace(os.fsencode(path)) as file:
        assert b"".join(read_bytes(file, chunks, begin, end)) == _TEXT[begin:end]
        assert b"".join(read_lines(file, chunks, first, last)) == b"".join(lines[first:last])


@pytest.mark.parametrize("container", list(_CONTAINERS))
@given(data=st.data())
@pytest.mark.fuzz
@_SETTINGS
def test_a_cut_trace_reads_as_far_as_it_goes(
    tmp_path: Path, container: str, data: st.DataObject
) -> None:
    packed = _CONTAINERS[container](_TEXT)
    packed = packed[: data.draw(st.integers(1, len(packed)))]
    path = tmp_path / "t.pfw"
    path.write_bytes(packed)
    parsed = parse(path, chunk_bytes=_CHUNK)
    _check_cut(path, chunks_of(parsed), _whole_lines(inflated(packed)))


@pytest.mark.parametrize("container", list(_CONTAINERS))
@given(data=st.data())
@pytest.mark.fuzz
@_SETTINGS
def test_a_growing_trace_reads_alike_at_each_step(
    tmp_path: Path, container: str, data: st.DataObject
) -> None:
    packed = _CONTAINERS[container](_TEXT)
    path = tmp_path / "t.pfw"
    closed: list[Checkpoint] = []
    last: ParsedTrace | None = None
    for cut in sorted(data.draw(st.lists(st.integers(1, len(packed)), max_size=3))):
        path.write_bytes(packed[:cut])
        last = parse(
            path,
            resume=last.resume if last else None,
            facts=last.facts if last else None,
            chunk_bytes=_CHUNK,
        )
        chunks = chunks_of(last)
        _check_cut(path, closed + chunks, _whole_lines(inflated(packed[:cut])))
        provisional = sum(segment.chunks for segment in last.segments if segment.provisional)
        closed += chunks[: len(chunks) - provisional]


@given(place=st.floats(0.3, 0.99), flip=st.integers(1, 255))
@pytest.mark.fuzz
@_SETTINGS
def test_chunks_of_a_damaged_large_member_read_back_what_was_parsed(
    tmp_path: Path, place: float, flip: int
) -> None:
    packed = bytearray(one_member(_TEXT))
    packed[int(len(packed) * place)] ^= flip
    path = tmp_path / "t.pfw"
    path.write_bytes(bytes(packed) + gzip_member(lines_of(event(), event())))
    parsed = parse(path, chunk_bytes=_CHUNK)
    chunks = chunks_of(parsed)
    for before, after in pairwise(chunks):
        assert after.uc_offset == before.uc_offset + before.uc_size
        assert after.first_line == before.first_line + before.num_lines
    for chunk in chunks:
        assert len(text_of(path, chunk)) == chunk.uc_size


def test_what_a_parse_gives_does_not_depend_on_the_size_of_chunks(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(one_member(_TEXT))
    parses = [parse(path, chunk_bytes=size) for size in (1 << 40, 2 * _CHUNK, 70_000)]
    one, some, more = (len(chunks_of(parsed)) for parsed in parses)
    assert one == 1 < some < more
    summaries = [msgspec.structs.replace(parsed.segments[0], chunks=0) for parsed in parses]
    assert summaries[0] == summaries[1] == summaries[2]
    assert parses[0].final_facts == parses[1].final_facts == parses[2].final_facts
    of_the_whole = ("hash_tables", "aggregation", "system_metrics")
    rows = [[row for row in parsed.rows if row[0] in of_the_whole] for parsed in parses]
    assert rows[0] == rows[1] == rows[2]


def test_a_chunk_in_the_middle_of_one_member_reads_about_its_own_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(one_member(some_lines(40_000)))
    chunks = chunks_of(parse(path, chunk_bytes=400_000))
    chunk = chunks[len(chunks) // 2]
    assert chunk.skip < 250_000
    fd = os.open(path, os.O_RDONLY)
    try:
        file = CountingFile(fd)
        assert len(b"".join(read_chunk(file, chunk))) == chunk.uc_size
    finally:
        os.close(fd)
    assert file.bytes_read < 2.5 * chunk.c_size < file.size / 3


def test_what_lies_behind_a_chunk_s_bytes_is_not_needed(tmp_path: Path) -> None:
    packed, path = _large_then_small(_TEXT), tmp_path / "t.pfw"
    path.write_bytes(packed)
    chunks = chunks_of(parse(path, chunk_bytes=_CHUNK))
    for chunk in chunks:
        path.write_bytes(packed[: chunk.c_offset + chunk.c_size])
        assert text_of(path, chunk) == _TEXT[chunk.uc_offset : chunk.uc_offset + chunk.uc_size], (
            chunk.uc_offset
        )


def test_chunks_are_chosen_by_what_they_hold() -> None:
    chunks = [
        Checkpoint(uc_offset=o, uc_size=10, c_offset=0, c_size=9, first_line=n, num_lines=2)
        for o, n in ((0, 0), (10, 2), (20, 4))
    ]
    assert chunks_for_bytes(chunks, 9, 11) == chunks[:2]
    assert chunks_for_bytes(chunks, 10, 20) == chunks[1:2]
    assert chunks_for_bytes(chunks, 10, 10) == chunks_for_bytes(chunks, 30, 99) == []
    assert chunks_for_lines(chunks, 1, 3) == chunks[:2]
    assert chunks_for_lines(chunks, 2, 4) == chunks[1:2]
    assert chunks_for_lines(chunks, 3, 3) == chunks_for_lines(chunks, 6, 9) == []


@pytest.mark.parametrize("container", ["plain", "many members", "one member"])
def test_a_trace_that_lost_its_text_is_named(tmp_path: Path, container: str) -> None:
    path = tmp_path / "t.pfw"
    packed = _CONTAINERS[container](_TEXT)
    path.write_bytes(packed)
    last = chunks_of(parse(path, chunk_bytes=_CHUNK))[-1]
    path.write_bytes(packed[: last.c_offset + last.c_size // 2])
    with pytest.raises(TraceChangedError, match=r"bytes are there, not \d+; the trace changed"):
        text_of(path, last)


def test_a_trace_with_other_lines_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(_TEXT)
    first = chunks_of(parse(path, chunk_bytes=_CHUNK))[0]
    path.write_bytes(_TEXT.replace(b",", b"\n"))
    with pytest.raises(TraceChangedError, match=r"lines are there, not \d+"):
        text_of(path, first)


def test_a_trace_that_was_packed_or_unpacked_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(one_member(_TEXT))
    chunk = chunks_of(parse(path, chunk_bytes=_CHUNK))[1]
    path.write_bytes(_TEXT)
    with pytest.raises(TraceChangedError, match="no longer gzip"):
        text_of(path, chunk)


def test_a_damaged_window_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(one_member(_TEXT))
    chunk = chunks_of(parse(path, chunk_bytes=_CHUNK))[1]
    damaged = msgspec.structs.replace(chunk, window=b"noise")
    with pytest.raises(StoreDamagedError, match="the window of a seek point does not inflate"):
        text_of(path, damaged)


@pytest.mark.parametrize("level", [0, 9])
def test_streams_of_stored_and_of_fixed_blocks_are_entered_too(tmp_path: Path, level: int) -> None:
    packer = zlib.compressobj(level, wbits=31, memLevel=1, strategy=zlib.Z_FIXED)
    path = tmp_path / "t.pfw"
    path.write_bytes(packer.compress(_TEXT) + packer.flush())
    chunks = chunks_of(parse(path, chunk_bytes=_CHUNK))
    assert len(chunks) >= 4
    assert all(chunk.window for chunk in chunks[1:])
    _check_all_chunks(path, chunks, _TEXT)
