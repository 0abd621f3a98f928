"""Calls by what they lie in, and how long they took by themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.client.exports.call_stacks import (
    CallTree,
    Frame,
    Slices,
    process_label,
    thread_label,
)
from dftindexd.client.exports.folded import folded_stacks
from tests.client.exports.made import process, stream

_Call = tuple[int, int, str]


def _flat(frame: Frame, outer: str = "") -> dict[str, tuple[int, int, int]]:
    own = f"{outer}/{frame.name}"
    found = {own: (frame.count, frame.total, frame.own)}
    for inner in frame.inner.values():
        found |= _flat(inner, own)
    return found


def _of(calls: list[_Call]) -> dict[str, tuple[int, int, int]]:
    tree = CallTree()
    tree.add(stream(), calls)
    return {
        name.removeprefix("/all/app node1:7:7000000/thread 8/"): numbers
        for name, numbers in _flat(tree.whole).items()
        if name.count("/") > 3
    }


def test_calls_with_the_same_calls_around_them_are_one_frame() -> None:
    calls = [(0, 100, "a"), (10, 30, "b"), (12, 20, "c"), (40, 50, "b"), (200, 210, "a")]
    assert _of(calls) == {"a": (2, 110, 80), "a/b": (2, 30, 22), "a/b/c": (1, 8, 8)}


def test_a_function_that_calls_itself_is_a_frame_each_time() -> None:
    assert _of([(0, 9, "a"), (1, 8, "a")]) == {"a": (1, 9, 2), "a/a": (1, 7, 7)}


def test_of_calls_that_cross_no_time_is_taken_twice_from_what_they_lie_in() -> None:
    calls = [(0, 20, "a"), (0, 10, "b"), (5, 15, "c")]
    assert _of(calls) == {"a": (1, 20, 5), "a/b": (1, 10, 10), "a/c": (1, 10, 10)}


def test_a_call_whose_outer_one_was_left_out_lies_in_the_next() -> None:
    assert _of([(0, 100, "a"), (12, 20, "c"), (110, 120, "c")]) == {
        "a": (1, 100, 92),
        "a/c": (1, 8, 8),
        "c": (1, 10, 10),
    }


def test_calls_of_one_thread_may_come_in_parts() -> None:
    whole, apart = CallTree(), CallTree()
    calls = [(0, 100, "a"), (10, 30, "b"), (12, 20, "c")]
    whole.add(stream(), calls)
    for call in calls:
        apart.add(stream(), [call])
    assert _flat(apart.whole) == _flat(whole.whole)


def test_a_process_and_a_thread_have_the_time_of_their_calls() -> None:
    tree = CallTree()
    tree.add(stream(tid=8), [(0, 10, "a")])
    tree.add(stream(tid=9, name="io"), [(0, 7, "a"), (1, 2, "b")])
    assert _flat(tree.whole)["/all"] == (3, 17, 0)
    assert _flat(tree.whole)["/all/app node1:7:7000000/io 9"] == (2, 7, 0)


def test_labels_tell_processes_and_threads_apart() -> None:
    assert process_label(process(exe="/usr/bin/python3")) == "python3 node1:7:7000000"
    assert process_label(process(exe="")) == "node1:7:7000000"
    assert thread_label(stream(tid=8, name="8")) == "thread 8"


def _ordered(calls: list[tuple[int, int]]) -> list[_Call]:
    ends = sorted((begin, -(begin + length)) for begin, length in calls)
    return [(begin, -end, f"f{number % 5}") for number, (begin, end) in enumerate(ends)]


_CALLS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=40).map(_ordered)


@given(_CALLS)
def test_own_times_are_never_negative_and_are_all_the_time_in_calls_that_nest(
    calls: list[_Call],
) -> None:
    found = _of(calls)
    assert all(own >= 0 for _, _, own in found.values())
    assert sum(count for count, _, _ in found.values()) == len(calls)
    slices = Slices()
    if all(slices.fits(begin, end) for begin, end, _ in calls):
        busy = {time for begin, end, _ in calls for time in range(begin, end)}
        assert sum(own for _, _, own in found.values()) == len(busy)


@given(_CALLS)
def test_calls_that_fit_nest_or_follow_each_other(calls: list[_Call]) -> None:
    slices = Slices()
    kept = [(begin, end) for begin, end, _ in calls if slices.fits(begin, end)]
    for at, (begin, end) in enumerate(kept):
        for before, till in kept[:at]:
            assert end <= till or begin >= till, (before, till, begin, end)


def test_folded_stacks_have_a_line_for_each_stack_with_time_of_its_own() -> None:
    tree = CallTree()
    tree.add(stream(), [(0, 9000, "a;b"), (1000, 3000, "read it"), (3000, 3000, "nothing")])
    assert b"".join(folded_stacks(tree.whole)).decode().splitlines() == [
        "app node1:7:7000000;thread 8;a:b 7",
        "app node1:7:7000000;thread 8;a:b;read it 2",
    ]


def test_a_name_ends_no_line_of_folded_stacks() -> None:
    tree = CallTree()
    tree.add(stream(), [(0, 9000, "a\nb\r\u2028c"), (20_000, 21_000, "")])
    lines = b"".join(folded_stacks(tree.whole)).decode().split("\n")
    assert [line.rpartition(";")[2] for line in lines] == ["a b c 9", "? 1", ""]
