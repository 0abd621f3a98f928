"""Shares of the work, as dftracer-utils 0.0.12 deals them."""

from __future__ import annotations

import pytest

from dftindexd.cluster.planning import (
    WorkUnit,
    assign_files_by_pid,
    plan_lpt_partition,
    plan_round_robin,
    plan_work_units,
)

#: What 0.0.12 gave for these.
MEMBERS = [[(0, 100), (100, 200), (300, 50)], [(0, 1000)], [], [(0, 10), (10, 10)]]


def test_the_largest_goes_first_to_whoever_has_least() -> None:
    entries = [("a", 10), ("b", 7), ("c", 7), ("d", 5), ("e", 3), ("f", 0)]
    assert plan_lpt_partition(entries, 2) == [
        [("a", 10), ("d", 5), ("f", 0)],
        [("b", 7), ("c", 7), ("e", 3)],
    ]


def test_of_equals_the_earlier_file_and_the_first_worker_are_taken() -> None:
    entries = [("z", 5), ("a", 5), ("m", 5), ("b", 5)]
    assert plan_lpt_partition(entries, 2) == [[("z", 5), ("m", 5)], [("a", 5), ("b", 5)]]


@pytest.mark.parametrize("workers", [1, 0, -3])
def test_fewer_than_one_worker_are_one(workers: int) -> None:
    assert plan_lpt_partition([("a", 1), ("b", 2)], workers) == [[("b", 2), ("a", 1)]]
    assert plan_work_units([[(0, 5)]], workers) == [[WorkUnit(0, 0, 1, 5)]]


def test_every_worker_has_a_share_even_of_nothing() -> None:
    assert plan_lpt_partition([], 3) == [[], [], []]
    assert plan_work_units([], 2) == [[], []]


@pytest.mark.parametrize(
    ("workers", "target", "shares"),
    [
        (2, 0, [[(1, 0, 1, 1000)], [(0, 0, 3, 350), (2, 0, 1, 0), (3, 0, 2, 20)]]),
        (
            *(2, 100),
            [
                [(1, 0, 1, 1000)],
                [(0, 0, 1, 100), (0, 1, 2, 200), (0, 2, 3, 50), (2, 0, 1, 0), (3, 0, 2, 20)],
            ],
        ),
        (
            *(10, 0),
            [[(1, 0, 1, 1000)], [(0, 0, 2, 300)], [(0, 2, 3, 50)], [(3, 0, 2, 20)], [(2, 0, 1, 0)]]
            + [[] for _ in range(5)],
        ),
    ],
)
def test_files_are_cut_between_members_at_an_even_share(
    workers: int, target: int, shares: list[list[tuple[int, int, int, int]]]
) -> None:
    assert plan_work_units(MEMBERS, workers, target) == shares


def test_files_without_a_size_are_dealt_all_the_same() -> None:
    planned = plan_work_units([[], [], []], 2)
    assert planned == [[(0, 0, 1, 0), (2, 0, 1, 0)], [(1, 0, 1, 0)]]


def test_round_robin_deals_whole_files_in_turn() -> None:
    planned = plan_round_robin([5, 6, 7], 2)
    assert planned == [[(0, 0, 1, 5), (2, 0, 1, 7)], [(1, 0, 1, 6)]]


def test_files_with_one_smallest_pid_go_to_one_worker() -> None:
    dealt = assign_files_by_pid({1: {7, 9}, 2: {7}, 3: {8}, 4: set()}, 2)
    assert dealt == {1: [1, 2], 0: [3, 4]}
