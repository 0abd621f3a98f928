"""Which partitions answer as they are: each rule, and random histories."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from dftindexd.views.freshness import (
    BlockRef,
    Order,
    Partition,
    Spec,
    by_insert_order,
    judge,
    to_evict,
)

SCHEMA = "s1"


def spec(*inserts: int, objects: int = 10) -> Spec:
    return Spec(tuple(BlockRef(f"b{insert}", insert, objects) for insert in inserts))


def made(of: Spec, schema: str = SCHEMA, salt: str = "") -> Partition:
    return Partition(of.begin, of.end, of.objects, schema, of.source(salt))


@pytest.mark.parametrize("order", ["insert", "event"])
def test_a_partition_that_was_made_of_the_same_is_fresh(order: Order) -> None:
    wanted = spec(1, 2, 3)
    verdict = judge([wanted], [made(wanted)], SCHEMA, order)
    assert verdict == ([made(wanted)], [], [])


@pytest.mark.parametrize("order", ["insert", "event"])
def test_without_a_partition_everything_is_built(order: Order) -> None:
    assert judge([spec(1), spec(2)], [], SCHEMA, order) == ([], [spec(1), spec(2)], [])


@pytest.mark.parametrize("order", ["insert", "event"])
def test_a_partition_of_another_schema_is_rebuilt(order: Order) -> None:
    old = made(spec(1), schema="s0")
    assert judge([spec(1)], [old], SCHEMA, order) == ([], [spec(1)], [old])


@pytest.mark.parametrize("order", ["insert", "event"])
@pytest.mark.parametrize("objects", [9, 11])
def test_a_partition_of_more_or_fewer_objects_is_rebuilt(order: Order, objects: int) -> None:
    old = made(spec(1, objects=objects))
    assert judge([spec(1)], [old], SCHEMA, order) == ([], [spec(1)], [old])


@pytest.mark.parametrize("order", ["insert", "event"])
def test_a_partition_of_other_blocks_with_as_many_objects_is_rebuilt(order: Order) -> None:
    old = made(Spec((BlockRef("b1", 1, 10), BlockRef("b2", 2, 20), BlockRef("b4", 4, 10))))
    wanted = Spec((BlockRef("b1", 1, 10), BlockRef("b3", 3, 20), BlockRef("b4", 4, 10)))
    assert judge([wanted], [old], SCHEMA, order) == ([], [wanted], [old])


@pytest.mark.parametrize("order", ["insert", "event"])
def test_two_partitions_of_one_range_are_both_rebuilt(order: Order) -> None:
    twice = [made(spec(1)), made(spec(1), salt="other")]
    assert judge([spec(1)], twice, SCHEMA, order) == ([], [spec(1)], twice)


def test_a_partition_that_overlaps_a_fresh_looking_one_spoils_it_by_insertion() -> None:
    wide = made(spec(1, 2, 3))
    verdict = judge([spec(2)], [made(spec(2)), wide], SCHEMA, "insert")
    assert verdict == ([], [spec(2)], [made(spec(2)), wide])


def test_partitions_that_touch_do_not_overlap() -> None:
    first, second = spec(1, 2), spec(3, 4)
    assert made(first).end == made(second).begin
    verdict = judge([first, second], [made(first), made(second)], SCHEMA, "insert")
    assert verdict == ([made(first), made(second)], [], [])


def test_what_is_appended_leaves_the_partitions_before_it_alone() -> None:
    first, grown = spec(1, 2), spec(3, 4)
    verdict = judge([first, grown], [made(first), made(spec(3))], SCHEMA, "insert")
    assert verdict == ([made(first)], [grown], [made(spec(3))])


def test_a_partition_that_a_stale_neighbour_retires_does_not_count() -> None:
    """The old one of 2 to 4 goes when 4 is rebuilt; then only one is left that matches 2."""
    old = made(spec(2, 3, 4))
    verdict = judge([spec(2), spec(4)], [made(spec(2)), old], SCHEMA, "insert")
    assert verdict == ([made(spec(2))], [spec(4)], [old])


def test_by_time_only_exactly_the_same_range_matches() -> None:
    wanted = spec(1, 3)
    verdict = judge([wanted], [made(wanted), made(spec(2))], SCHEMA, "event")
    assert verdict == ([made(wanted)], [], [made(spec(2))])


def test_names_that_other_traces_gave_make_a_partition_fresh_only_while_these_are_the_same() -> (
    None
):
    for salt in ("", "now"):
        assert judge([spec(1)], [made(spec(1), salt=salt)], SCHEMA, "event", ("", "now")).fresh
    assert not judge([spec(1)], [made(spec(1), salt="before")], SCHEMA, "event", ("", "now")).fresh


def test_a_partition_of_blocks_that_are_gone_goes() -> None:
    assert judge([], [made(spec(1))], SCHEMA, "insert") == ([], [], [made(spec(1))])


def test_whatever_happens_to_blocks_partitions_never_overlap_and_asking_again_builds_nothing() -> (
    None
):
    chance = random.Random(7)
    blocks: dict[int, BlockRef] = {}
    partitions: list[Partition] = []
    built = 0
    for insert in range(300):
        blocks[insert] = BlockRef(f"b{insert}", insert, chance.randint(0, 9))
        if chance.random() < 0.3:
            del blocks[chance.choice(list(blocks))]
        specs = by_insert_order(blocks.values(), most=20, slice_size=16)
        verdict = judge(specs, partitions, SCHEMA, "insert")
        built += len(verdict.build)
        partitions = sorted([*verdict.fresh, *map(made, verdict.build)])
        assert partitions == [made(one) for one in specs]
        assert all(a.end <= b.begin for a, b in pairwise(partitions))
        assert judge(specs, partitions, SCHEMA, "insert").build == []
    # Rebuilding all of them each time would have been some ten times as much.
    assert built < 300 * 4


def test_files_that_were_not_used_for_long_are_evicted() -> None:
    files = [("new", 5, 90.0), ("old", 5, 10.0)]
    assert to_evict(files, 100.0, most_bytes=100, longest=50.0) == ["old"]


def test_files_beyond_the_room_are_evicted_the_least_recently_used_first() -> None:
    files = [("a", 40, 1.0), ("b", 40, 3.0), ("c", 40, 2.0), ("d", 10, 0.5)]
    assert to_evict(files, 4.0, most_bytes=90, longest=50.0) == ["a"]
    assert to_evict(files, 4.0, most_bytes=0, longest=50.0) == ["b", "c", "a", "d"]
