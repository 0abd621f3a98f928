"""A trace cut in slices, and what its slices are together."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dftindexd.cluster.slices import Slice, gzip_members, slices_of, survey
from dftindexd.index.artifacts.assembly import TOO_LATE, assemble, base_version
from dftindexd.index.artifacts.batch import Part
from dftindexd.index.model import FileStamp, ParseRequest, TierConfig, TraceRecord
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import MANIFEST
from tests.end_to_end.made_traces import event_lines

from .making import write_cut_trace

TIERS = TierConfig().normal()


def _part(path: Path, one: Slice, number: int = 1) -> Part:
    request = ParseRequest(
        path=os.fsencode(path),
        segment_id=10 * number,
        provisional_id=10 * number + 5,
        tiers=TIERS,
        resume=one.begin,
        until=one.until,
        facts=one.facts,
    )
    parsed = parse_trace(request)
    assert parsed.resumed is (one.begin is not None)
    return Part(
        path=request.path,
        tiers=TIERS,
        parsed=parsed,
        begin=one.begin.line_offset if one.begin else 0,
        is_last=one.until is None,
        given=one.facts,
    )


def _parts(path: Path, cuts: Sequence[int]) -> list[Part]:
    known = survey(str(path))
    ends = [*cuts, len(known.members)]
    found = slices_of(str(path), known, list(zip([0, *cuts], ends, strict=True)))
    return [_part(path, one, number) for number, one in enumerate(found, 1)]


@given(st.sets(st.integers(1, 8)), st.integers(300, 900))
def test_slices_together_are_the_whole_wherever_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int], events: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.pfw.gz"
    write_cut_trace(path, events, members=9)
    whole = _part(path, Slice()).parsed
    parts = _parts(path, sorted(cuts))
    joined = assemble(list(reversed(parts))).parsed
    assert joined is not None
    assert (joined.resume, joined.tail, joined.stamp) == (whole.resume, whole.tail, whole.stamp)
    assert (joined.facts, joined.final_facts) == (whole.facts, whole.final_facts)
    segments = [one for one in joined.segments if one.lines.total]
    assert sum(one.complete_events for one in segments) == events
    edges = [(one.uc_begin, one.first_line) for one in segments]
    ends = [(one.uc_end, one.first_line + one.lines.total) for one in segments]
    assert edges == [(0, 0), *ends[:-1]]
    assert ends[-1] == (whole.segments[-1].uc_end, events)


def test_a_line_that_spans_members_without_a_newline_belongs_to_where_it_begins(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pfw.gz"
    text = event_lines(3)
    pieces = [text[:50], text[50:90], text[90:150], text[150:]]
    path.write_bytes(b"".join(map(gzip.compress, pieces)))
    parts = _parts(path, [1, 2, 3])
    assert [sum(s.complete_events for s in part.parsed.segments) for part in parts] == [0, 0, 0, 3]
    joined = assemble(parts).parsed
    assert joined is not None
    assert [one.first_line for one in joined.segments if one.complete_events] == [0]


def test_a_missing_slice_is_named_and_nothing_is_assembled(tmp_path: Path) -> None:
    path = tmp_path / "a.pfw.gz"
    write_cut_trace(path, 500, members=6)
    first, second, third = _parts(path, [2, 4])
    assert assemble([first, third]).parsed is None
    assert assemble([first, third]).reason == (
        f"the slice from byte {second.begin} of its text is missing"
    )
    assert set(map(id, assemble([first, third]).unused)) == {id(first), id(third)}


def test_of_slices_that_came_twice_one_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.pfw.gz"
    write_cut_trace(path, 500, members=6)
    parts = _parts(path, [3])
    again = _parts(path, [3])
    found = assemble([parts[0], again[0], parts[1]])
    assert found.parsed is not None
    assert [id(part) for part in found.unused] == [id(again[0])]


def test_slices_of_two_states_of_a_file_are_not_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.pfw.gz"
    write_cut_trace(path, 500, members=6)
    first, second = _parts(path, [3])
    parsed = msgspec.structs.replace(second.parsed, stamp=FileStamp(9, 9, 9, 9))
    assert assemble([first, msgspec.structs.replace(second, parsed=parsed)]).parsed is None


def test_members_are_found_by_inflating_not_by_their_magic(tmp_path: Path) -> None:
    inner = gzip.compress(b"a member inside a stored block")
    members = [gzip.compress(inner, 0), gzip.compress(b"second\n"), gzip.compress(b"third\n")]
    path = tmp_path / "a.pfw.gz"
    path.write_bytes(b"".join(members))
    begins = [0, len(members[0]), len(members[0]) + len(members[1])]
    whole = [(begin, len(member)) for begin, member in zip(begins, members, strict=True)]
    assert gzip_members(str(path)) == whole
    path.write_bytes(b"".join(members)[:-4])
    assert gzip_members(str(path)) == [*whole[:2], (whole[2][0], whole[2][1] - 4)]


@pytest.mark.parametrize("data", [b"", b'{"name":"plain"}\n', b"\x1f\x8b\x08", b"\x1f\x8b\x08" * 9])
def test_what_has_no_whole_members_is_not_cut(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pfw.gz"
    path.write_bytes(data)
    assert survey(str(path)).members == ()


def test_a_faulty_trace_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.pfw.gz"
    write_cut_trace(path, 300, members=3)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    assert survey(str(path)).members == ()


def _record(stamp: int, *, tiers: TierConfig = TIERS, quarantined: str = "") -> TraceRecord:
    return TraceRecord(
        file_id=1,
        path=b"a",
        version=3,
        generation=3,
        stamp=FileStamp(stamp, 1, 1, 1),
        tiers=tiers,
        quarantined=quarantined,
    )


@pytest.mark.parametrize(
    ("sets", "stamp", "forced", "version"),
    [
        ((), 1, False, 0),
        ((_record(1),), 2, False, 3),  # the file has changed since
        ((_record(2),), 2, False, TOO_LATE),  # it came twice
        ((_record(2),), 2, True, 3),
        ((_record(2),), 1, True, TOO_LATE),  # the file has changed since the worker read it
        ((_record(2, quarantined="why"),), 2, False, 3),
        ((_record(2, tiers=TierConfig(aggregation=None)),), 2, False, 0),
        ((_record(2, tiers=TierConfig(aggregation=None)),), 1, False, TOO_LATE),
    ],
)
def test_what_comes_late_or_twice_is_told_by_the_state_of_the_file(
    sets: tuple[TraceRecord, ...], stamp: int, forced: bool, version: int
) -> None:
    on_disk = FileStamp(2, 1, 1, 1)
    offered = FileStamp(stamp, 1, 1, 1)
    assert base_version(sets, TIERS, offered, on_disk, forced=forced) == version


def test_slices_have_rows_of_every_tier(tmp_path: Path) -> None:
    path = tmp_path / "a.pfw.gz"
    write_cut_trace(path, 500, members=6)
    families = [{row[0] for row in part.parsed.rows} for part in _parts(path, [2, 4])]
    assert all(MANIFEST in found for found in families)
    assert len(set(map(frozenset, families))) == 1
