"""Which traces are parsed anew as one: finished ones in many pieces of several parses."""

from __future__ import annotations

from msgspec.structs import replace

from dftindexd.actors.jobs import segments_of
from dftindexd.actors.merging import MOST_SEGMENTS, Merging, is_fragmented
from dftindexd.index.model import TraceRecord
from tests.index.store.commits import TIERS, segment, stamp


def _record(*ids: int, size: int = 100, path: bytes = b"a") -> TraceRecord:
    return TraceRecord(
        file_id=1,
        path=path,
        version=1,
        generation=1,
        stamp=stamp(size),
        tiers=TIERS,
        segments=tuple(map(segment, ids)),
        ending="end",
    )


_PIECES = _record(*range(1, 3 * MOST_SEGMENTS + 2, 3))


def test_a_finished_trace_in_many_pieces_is_fragmented_and_no_other() -> None:
    assert is_fragmented(_PIECES)
    assert not is_fragmented(replace(_PIECES, ending=None))
    assert not is_fragmented(replace(_PIECES, quarantined="kills workers"))
    assert not is_fragmented(_record(*range(1, 3 * MOST_SEGMENTS, 3)))


def test_a_trace_that_one_parse_cut_into_many_segments_is_left_alone() -> None:
    size = 100 << 20
    run = 2 * segments_of(size)
    assert not is_fragmented(_record(*range(7, 7 + run), size=size))
    assert is_fragmented(_record(*range(7, 7 + run + 1), size=size))


def test_merges_are_handed_out_one_by_one_and_one_that_failed_is_not_tried_again() -> None:
    merging = Merging()
    other = replace(_PIECES, path=b"b")
    merging.consider([_PIECES, other, _record(1, path=b"c")])
    assert merging.take() == b"a"
    assert not merging.gave_up(b"b")
    assert merging.gave_up(b"a")
    assert not merging.gave_up(b"a")
    merging.consider([_PIECES])
    assert [merging.take(), merging.take()] == [b"b", None]
