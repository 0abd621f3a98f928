"""How blocks are cut into partitions: by insertion, and by time."""

from __future__ import annotations

from itertools import pairwise

from dftindexd.views.freshness import BlockRef, Spec, by_event_time, by_insert_order, chains


def timed(insert: int, begin: int, end: int, objects: int = 1) -> BlockRef:
    return BlockRef(f"b{insert}", insert, objects, begin, end)


def inserts(specs: list[Spec]) -> list[list[int]]:
    return [[block.insert for block in one.blocks] for one in specs]


def sized(*objects: int) -> list[BlockRef]:
    return [BlockRef(f"b{insert}", insert, size) for insert, size in enumerate(objects)]


def test_no_blocks_make_no_partitions() -> None:
    assert by_insert_order([]) == []
    assert by_event_time([]) == []


def test_blocks_are_cut_in_the_order_in_which_they_came() -> None:
    assert inserts(by_insert_order(reversed(sized(1, 1, 1)))) == [[0, 1, 2]]


def test_a_partition_takes_whole_blocks_up_to_its_most_objects() -> None:
    assert inserts(by_insert_order(sized(4, 4, 4, 2), most=8)) == [[0, 1], [2, 3]]


def test_a_block_that_is_too_large_goes_alone() -> None:
    assert inserts(by_insert_order(sized(1, 20, 1), most=8)) == [[0], [1], [2]]


def test_blocks_without_objects_are_dropped() -> None:
    assert inserts(by_insert_order(sized(0, 3, 0))) == [[1]]
    assert by_insert_order(sized(0, 0)) == []


def test_a_slice_of_segments_ends_a_partition() -> None:
    assert inserts(by_insert_order(sized(1, 1, 1, 1, 1), slice_size=2)) == [[0, 1], [2, 3], [4]]


def test_the_blocks_of_a_segment_are_never_parted() -> None:
    blocks = [BlockRef(f"{insert}:{nth}", insert, 3) for insert in (1, 2) for nth in (0, 1)]
    assert inserts(by_insert_order(blocks, most=4)) == [[1, 1], [2, 2]]


def test_what_came_earlier_does_not_move_the_cuts_of_other_slices() -> None:
    before = by_insert_order(sized(3, 3, 3, 3, 3, 3), most=6, slice_size=3)
    after = by_insert_order(sized(3, 3, 3, 3, 3, 3)[1:], most=6, slice_size=3)
    assert after[-2:] == before[-2:]


def test_blocks_that_overlap_or_touch_are_one_chain() -> None:
    blocks = [timed(1, 0, 10), timed(2, 10, 20), timed(3, 15, 18)]
    assert chains(blocks) == [blocks]


def test_a_gap_begins_another_chain() -> None:
    first, second = timed(1, 0, 10), timed(2, 11, 20)
    assert chains([second, first]) == [[first], [second]]


def test_a_long_block_keeps_a_chain_together() -> None:
    blocks = [timed(1, 0, 100), timed(2, 5, 6), timed(3, 90, 91)]
    assert chains(blocks) == [blocks]


def test_blocks_are_put_in_the_order_of_time() -> None:
    assert inserts(by_event_time([timed(1, 50, 60), timed(2, 0, 10)])) == [[2, 1]]


def test_by_time_a_partition_is_cut_at_a_gap() -> None:
    blocks = [timed(1, 0, 10, 5), timed(2, 20, 30, 5), timed(3, 40, 50, 5)]
    assert inserts(by_event_time(blocks, most=10)) == [[1, 2], [3]]


def test_by_time_a_chain_is_never_cut() -> None:
    blocks = [timed(1, 0, 10, 50), timed(2, 5, 30, 50), timed(3, 40, 50, 5)]
    assert inserts(by_event_time(blocks, most=10)) == [[1, 2], [3]]


def test_by_time_a_cut_that_would_make_partitions_overlap_is_not_made() -> None:
    late = [timed(9, 0, 10, 8), timed(1, 20, 30, 8), timed(10, 40, 50, 8)]
    assert inserts(by_event_time(late, most=10)) == [[9, 1], [10]]


def test_by_time_the_last_cut_that_can_be_is_taken() -> None:
    blocks = [timed(1, 0, 1, 4), timed(5, 10, 11, 4), timed(3, 20, 21, 4), timed(6, 30, 31, 4)]
    specs = by_event_time(blocks, most=10)
    assert inserts(specs) == [[1], [5, 3], [6]]
    assert all(a.end <= b.begin for a, b in pairwise(specs))
