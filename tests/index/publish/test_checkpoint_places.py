"""Where checkpoints of a published store lie; ``tests/parity`` holds them against the reference."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

from dftindexd.index.publish.checkpoint_places import checkpoint_places
from dftindexd.index.publish.members import (
    CHECKPOINT_BYTES,
    Member,
    can_have_checkpoints,
    members_of,
    shares,
)
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.index.trace.chunk_reader import read_chunk
from dftindexd.index.trace.resume import Place
from dftindexd.index.trace.trace_file import open_trace

#: A million lines of text that packs well, in blocks of some 4 MB.
LINES = b"".join(b"%08d %s\n" % (number, b"x" * 31) for number in range(1_000_000))


def _found(trace: Path, size: int) -> tuple[list[Member], list[Place]]:
    with open_trace(os.fsencode(trace)) as file:
        members = members_of(file, size)
        return members, list(checkpoint_places(file, members))


def _text_from(trace: Path, place: Place, size: int) -> bytes:
    """Return the text from a place on, *size* bytes, read as that of a chunk of ours."""
    chunk = Checkpoint(
        uc_offset=place.uc_offset,
        uc_size=size,
        c_offset=place.c_offset,
        c_size=trace.stat().st_size - place.c_offset,
        first_line=0,
        num_lines=LINES[place.uc_offset : place.uc_offset + size].count(b"\n"),
        bits=place.bits,
        window=place.window,
    )
    with open_trace(os.fsencode(trace)) as file:
        return b"".join(read_chunk(file, chunk))


def _packed(text: bytes, *fields: bytes, flags: int = 0) -> bytes:
    """Return a gzip member whose header has *fields* of *flags*."""
    header = struct.pack("<3sBIBB", b"\x1f\x8b\x08", flags, 0, 0, 255) + b"".join(fields)
    deflated = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = deflated.compress(text) + deflated.flush()
    return header + body + struct.pack("<II", zlib.crc32(text), len(text))


def test_a_large_member_has_a_place_after_so_much_text_and_reading_can_begin_there(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "t.pfw.gz"
    extra, name = struct.pack("<H4s", 4, b"more"), b"t.pfw\0"
    trace.write_bytes(_packed(LINES, extra, name, flags=4 | 8))
    members, places = _found(trace, len(LINES))
    assert members == [Member(0, trace.stat().st_size, len(LINES))]
    assert len(places) == 1
    assert CHECKPOINT_BYTES <= places[0].uc_offset < len(LINES)
    assert len(zlib.decompress(places[0].window)) == 32 << 10
    size = len(LINES) - places[0].uc_offset
    assert _text_from(trace, places[0], size) == LINES[places[0].uc_offset :]


def test_text_of_members_before_counts_but_not_that_of_another_worker(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    cuts = [0, 20_000_000, 38_000_000]
    cuts += [cuts[-1] + (len(LINES) - cuts[-1]) * part // 15 for part in range(1, 16)]
    parts = [LINES[begin:end] for begin, end in pairwise(cuts)]
    trace.write_bytes(b"".join(map(_packed, parts)))
    members, places = _found(trace, len(LINES))
    assert len(members) == 17  # of which the first worker has two
    assert [place.uc_offset >= CHECKPOINT_BYTES for place in places] == [True]
    assert CHECKPOINT_BYTES <= places[0].uc_offset < cuts[2]
    size = len(LINES) - places[0].uc_offset
    assert _text_from(trace, places[0], size) == LINES[places[0].uc_offset :]
    trace.write_bytes(b"".join(map(_packed, parts[:2])))  # one for each of two workers
    members, places = _found(trace, cuts[2])
    assert len(members) == 2
    assert not can_have_checkpoints(members)
    assert places == []


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (16, [1] * 16), (35, [3] * 3 + [2] * 13)])
def test_workers_have_the_same_number_of_members_but_for_one(count: int, sizes: list[int]) -> None:
    members = [Member(number, number + 1, 1) for number in range(count)]
    shared = list(shares(members))
    assert [len(share) for share in shared] == sizes
    assert [member for share in shared for member in share] == members


def test_a_trace_that_is_damaged_or_unfinished_has_no_members_that_count(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    whole = gzip.compress(b"a\n") + gzip.compress(b"bc\n")
    trace.write_bytes(whole)
    assert [member.size for member in _found(trace, 5)[0]] == [2, 3]
    assert _found(trace, 4)[0] == []  # the last line is not indexed yet
    trace.write_bytes(b"garbage" + whole)
    assert _found(trace, 5)[0] == []
    trace.write_bytes(whole[:-6])
    assert _found(trace, 5)[0] == []
