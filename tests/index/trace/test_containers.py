"""Whatever the container looks like, what can be read is read and the rest is named."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import pytest

from dftindexd.index.errors import TraceGoneError
from dftindexd.index.model import ParsedTrace
from dftindexd.index.trace.members import (
    MemberBegin,
    MemberEnd,
    OpenMemberError,
    settled_members,
)
from dftindexd.index.trace.trace_file import open_trace

from .parsing import event, gzip_member, lines_of, parse

_THREE = lines_of(event("open"), event("read"), event("close"))
_NOISE = bytes(index * 37 % 251 for index in range(3000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.pfw.gz"


def _ok(parsed: ParsedTrace) -> list[tuple[bool, int]]:
    return [(segment.provisional, segment.lines.ok) for segment in parsed.segments]


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.pfw.gz", tmp_path / "packed.pfw"
    plain.write_bytes(_THREE)
    packed.write_bytes(gzip_member(_THREE))
    assert _ok(parse(plain)) == _ok(parse(packed)) == [(False, 3)]


@pytest.mark.parametrize("data", [b"", b"\x1f", gzip_member(_THREE)[:5], gzip_member(b"")])
def test_no_text_yet_is_an_empty_trace(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    parsed = parse(path)
    assert (parsed.tail, parsed.segments) == ("empty", ())
    assert (parsed.resume is None) == (not data)


@pytest.mark.parametrize("missing", [1, 4, 8])
def test_a_missing_trailer_leaves_the_member_open(path: Path, missing: int) -> None:
    path.write_bytes(gzip_member(_THREE)[:-missing])
    parsed = parse(path)
    assert parsed.tail == "open"
    assert _ok(parsed) == [(True, 3)]


def test_a_wrong_checksum_keeps_the_rows_and_is_named(path: Path) -> None:
    member = bytearray(gzip_member(_THREE))
    member[-5] ^= 1
    path.write_bytes(bytes(member))
    parsed = parse(path)
    assert parsed.tail == "corrupt"
    assert _ok(parsed) == [(True, 3)]
    assert "corrupt gzip member at byte 0" in parsed.reason


def test_after_a_faulty_member_the_next_whole_one_is_read(path: Path) -> None:
    lines = lines_of(*(event(ts=ts * ts) for ts in range(2000)))
    faulty = bytearray(gzip_member(lines))
    faulty[len(faulty) // 2] ^= 0x55
    path.write_bytes(bytes(faulty) + gzip_member(_THREE))
    parsed = parse(path)
    (segment,) = parsed.segments
    assert parsed.tail == "complete"
    assert not segment.provisional
    assert segment.lines.ok > 3
    assert "corrupt gzip member at byte 0" in segment.warnings[0]
    assert segment.lines.total == segment.lines.ok + segment.lines.bad


def test_everything_before_a_fault_is_recovered(path: Path) -> None:
    lines = lines_of(*(event(ts=ts * ts) for ts in range(2000)))
    stored = bytearray(gzip.compress(lines, 0, mtime=0))
    # A stored block begins with its length and the complement of it; break the second block's.
    second = 10 + 5 + int.from_bytes(stored[11:13], "little")
    stored[second + 1] ^= 0xFF
    path.write_bytes(bytes(stored))
    parsed = parse(path)
    length = int.from_bytes(stored[11:13], "little")
    assert parsed.tail == "corrupt"
    assert _ok(parsed) == [(True, lines[:length].count(b"\n"))]


@pytest.mark.parametrize("junk", [b"\0" * 700, b"\0", b"trailing words", _NOISE])
def test_what_follows_the_last_member_is_noted_and_no_fault(path: Path, junk: bytes) -> None:
    path.write_bytes(gzip_member(_THREE) + junk)
    parsed = parse(path)
    assert parsed.tail == "complete"
    assert _ok(parsed) == [(False, 3)]
    assert f"{len(junk)} bytes" in parsed.reason
    assert parsed.segments[0].warnings


def test_members_behind_padding_are_found(path: Path) -> None:
    path.write_bytes(gzip_member(_THREE) + b"\0" * 512 + gzip_member(_THREE))
    assert _ok(parse(path)) == [(False, 6)]


def test_a_gzip_header_inside_a_stored_block_is_no_member(path: Path) -> None:
    inner = gzip_member(b"x")[:10].decode("latin-1").encode("latin-1")
    text = lines_of(event(), inner.replace(b"\n", b""), event())
    path.write_bytes(gzip.compress(text, 0, mtime=0))
    parsed = parse(path)
    assert (parsed.segments[0].lines.ok, parsed.segments[0].lines.bad) == (2, 1)


def test_a_file_full_of_false_members_ends(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b\x08\x00" * 50_000)
    parsed = parse(path)
    assert parsed.tail == "corrupt"
    assert "not searched" in parsed.reason


def test_a_missing_trace_is_gone(tmp_path: Path) -> None:
    with pytest.raises(TraceGoneError, match=r"none\.pfw is gone"):
        parse(tmp_path / "none.pfw")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pfw")
    with pytest.raises(OSError, match="not a regular file"):
        parse(tmp_path / "pipe.pfw")


def test_a_member_larger_than_what_is_held_back_is_taken_as_closed(path: Path) -> None:
    path.write_bytes(gzip_member(_THREE))
    with open_trace(os.fsencode(path)) as file:
        events = list(settled_members(file, 0, None, hold_bytes=10))
    assert events[0] == MemberBegin(0, closed=True)
    assert b"".join(event for event in events if isinstance(event, bytes)) == _THREE
    assert events[-1] == MemberEnd(path.stat().st_size, "complete", closed=True)


def test_a_large_member_that_turns_out_open_is_named(path: Path) -> None:
    path.write_bytes(gzip_member(_THREE)[:-1])
    with open_trace(os.fsencode(path)) as file:
        with pytest.raises(OpenMemberError) as caught:
            list(settled_members(file, 0, None, hold_bytes=10))
        events = list(settled_members(file, 0, caught.value.c_offset, hold_bytes=10))
    assert events[0] == MemberBegin(0, closed=False)
    assert events[-1] == MemberEnd(path.stat().st_size, "open", closed=False)


def test_a_large_open_member_is_provisional_as_a_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled_members, "__defaults__", (64,))
    path.write_bytes(gzip_member(_THREE) + gzip_member(_THREE)[:-1])
    parsed = parse(path)
    assert _ok(parsed) == [(False, 3), (True, 3)]


def test_a_bomb_of_blanks_is_read_in_pieces(path: Path) -> None:
    packer = zlib.compressobj(9, wbits=31)
    blanks = b" " * (8 << 20)
    data = b"".join(packer.compress(blanks) for _ in range(10)) + packer.flush()
    path.write_bytes(data + gzip_member(b"\n" + _THREE))
    (segment,) = parse(path).segments
    assert (segment.lines.ok, segment.lines.bad) == (3, 1)
    assert segment.bad_lines[0].line == 0
    assert segment.uc_end == (80 << 20) + 1 + len(_THREE)


def test_a_faulty_last_member_is_closed_once_a_whole_one_follows(path: Path) -> None:
    faulty = bytearray(gzip_member(_THREE))
    faulty[-5] ^= 1
    path.write_bytes(gzip_member(_THREE) + faulty)
    before = parse(path)
    assert (before.tail, _ok(before)) == ("corrupt", [(False, 3), (True, 3)])
    path.write_bytes(gzip_member(_THREE) + faulty + gzip_member(_THREE))
    after = parse(path, resume=before.resume, facts=before.facts)
    assert (after.resumed, after.tail, _ok(after)) == (True, "complete", [(False, 6)])


def test_a_line_cut_off_by_a_fault_is_a_bad_line_of_its_own(path: Path) -> None:
    faulty = bytearray(gzip_member(_THREE + event()[:40]))
    faulty[-5] ^= 1
    path.write_bytes(bytes(faulty) + gzip_member(_THREE))
    (segment,) = parse(path).segments
    assert (segment.lines.ok, segment.lines.bad, segment.lines.total) == (6, 1, 7)
    assert segment.bad_lines[0].sample == event()[:40]
