"""Shares of the work, as dftracer-utils 0.0.12 deals them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dftindexd.cluster.planning import (
    WorkUnit,
    assign_files_by_pid,
    plan_by_process,
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


def test_files_of_one_process_go_to_one_worker_and_processes_by_their_size() -> None:
    members = [[(0, 60)], [(0, 30)], [(0, 40)], [(0, 20)], [(0, 10)]]
    planned = plan_by_process(members, [7, 8, 8, 7, None], 2)
    assert planned == [
        [(0, 0, 1, 60), (3, 0, 1, 20)],
        [(1, 0, 1, 30), (2, 0, 1, 40), (4, 0, 1, 10)],
    ]


def test_a_file_that_is_cut_goes_to_several_workers_whatever_its_process() -> None:
    planned = plan_by_process([[(0, 50), (50, 50)], [(0, 10)]], [7, 7], 4)
    assert planned == [[(0, 0, 1, 50)], [(0, 1, 2, 50)], [(1, 0, 1, 10)], []]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000)), max_size=30), st.integers(1, 6))
def test_every_file_is_read_once_and_whole_processes_stay_together(
    files: list[tuple[int, int]], workers: int
) -> None:
    members = [[(0, size)] for _, size in files]
    planned = plan_by_process(members, [pid for pid, _ in files], workers)
    assert sorted(unit.file_idx for share in planned for unit in share) == list(range(len(files)))
    homes = [{files[unit.file_idx][0] for unit in share} for share in planned]
    assert sum(map(len, homes)) == len(set().union(*homes))
