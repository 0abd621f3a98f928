"""The order in which the traces of one root are taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.actors.trace_queue import GROWING_TURNS, TraceQueue


def order(queue: TraceQueue, turn: int = 1) -> list[bytes]:
    return [path for group in queue.groups(turn) for path in group.paths]


def test_the_biggest_is_first_and_among_those_of_about_a_size_the_first() -> None:
    queue = TraceQueue()
    for path, cost in ((b"a", 1), (b"b", 1000), (b"c", 600), (b"d", 5000), (b"e", 900), (b"f", 0)):
        queue.put(path, cost)
    assert order(queue) == [b"d", b"b", b"c", b"e", b"a", b"f"]
    assert queue.bytes == 7501


def test_urgent_ones_come_first_then_growing_ones_then_all_others() -> None:
    queue = TraceQueue()
    queue.put(b"big", 1 << 40)
    queue.put(b"grows", 10, growing=True)
    queue.put(b"asked", 10)
    queue.hurry(b"asked")
    queue.hurry(b"unknown")
    assert order(queue) == [b"asked", b"grows", b"big"]
    assert [group.urgent for group in queue.groups(1)] == [True, False, False]
    queue.put(b"asked", 2000)
    assert order(queue)[0] == b"asked"


def test_growing_ones_let_the_others_go_first_in_one_job_of_a_few() -> None:
    queue = TraceQueue()
    queue.put(b"big", 1 << 40)
    queue.put(b"grows", 10, growing=True)
    first = [order(queue, turn)[0] for turn in range(1, 2 * GROWING_TURNS + 1)]
    assert first == 2 * ([b"grows"] * (GROWING_TURNS - 1) + [b"big"])


def test_a_path_is_told_as_fresh_once_each_time_it_comes_in() -> None:
    queue = TraceQueue()
    queue.put(b"a", 1)
    queue.put(b"a", 2)
    assert queue.take_fresh() == [b"a"]
    queue.put(b"a", 3, urgent=True)
    assert queue.take_fresh() == []
    queue.discard(b"a")
    queue.put(b"a", 3)
    assert queue.take_fresh() == [b"a"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "grow", "hurry", "discard"]),
            st.sampled_from([b"a", b"b", b"c"]),
            st.integers(0, 1 << 20),
        ),
        max_size=30,
    ),
    st.integers(1, 8),
)
def test_every_path_is_in_one_place_and_all_bytes_are_counted(
    steps: list[tuple[str, bytes, int]], turn: int
) -> None:
    queue, costs = TraceQueue(), dict[bytes, int]()
    for action, path, cost in steps:
        if action in ("put", "grow"):
            queue.put(path, cost, growing=action == "grow")
            costs[path] = cost
        elif action == "hurry":
            queue.hurry(path)
        else:
            queue.discard(path)
            costs.pop(path, None)
    assert sorted(order(queue, turn)) == sorted(queue) == sorted(costs)
    assert queue.bytes == sum(costs.values())
    assert {path: queue.cost(path) for path in costs} == costs
    assert [len(list(group.paths)) for group in queue.groups(turn)] == [
        group.size for group in queue.groups(turn)
    ]
