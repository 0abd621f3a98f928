"""The trees of calls: nesting, numbers, and calls that are told in two records."""

from __future__ import annotations

import random
from collections.abc import Sequence

from dftindexd.views.call_tree import Edge, Interval, call_tree, closed


def tree(*calls: tuple[int, int], ids: Sequence[int | None] | None = None) -> list[tuple[int, ...]]:
    """Return (begin, end, id, parent, depth) of each call."""
    intervals = [
        Interval(place, begin, end, ids[place] if ids else place + 1)
        for place, (begin, end) in enumerate(calls)
    ]
    return [(one.begin, one.end, one.id, one.parent, one.depth) for one in call_tree(intervals)]


def test_calls_one_after_the_other_lie_in_the_thread() -> None:
    assert tree((0, 5), (6, 9)) == [(0, 5, 1, -1, 1), (6, 9, 2, -1, 1)]


def test_a_call_lies_in_the_shortest_that_spans_it_whatever_the_order_of_writing() -> None:
    assert tree((2, 3), (1, 4), (0, 9)) == [(0, 9, 3, -1, 1), (1, 4, 2, 3, 2), (2, 3, 1, 2, 3)]


def test_of_calls_with_the_same_times_the_lower_number_spans_the_other() -> None:
    assert tree((0, 5), (0, 5)) == [(0, 5, 1, -1, 1), (0, 5, 2, 1, 2)]


def test_calls_that_cross_are_no_children_of_each_other() -> None:
    assert tree((0, 10), (5, 15), (6, 8)) == [(0, 10, 1, -1, 1), (5, 15, 2, -1, 1), (6, 8, 3, 2, 2)]


def test_numbers_that_repeat_or_are_missing_are_given_anew_in_the_order_of_begins() -> None:
    repeated: list[Sequence[int | None]] = [[7, 7, 8], [None, 7, 8], [0, 7, 8]]
    for ids in repeated:
        found = tree((4, 5), (0, 9), (1, 2), ids=ids)
        assert [(row[0], row[2], row[3]) for row in found] == [(0, 1, -1), (1, 2, 1), (4, 3, 1)]


def test_no_calls_make_no_tree() -> None:
    assert call_tree([]) == []


def test_a_begin_and_an_end_are_one_call() -> None:
    edges = [Edge(0, 3, "a", True, 5), Edge(1, 8, "a", False, None)]
    assert closed(edges, 0, 10) == [Interval(0, 3, 8, 5)]


def test_an_end_closes_the_last_open_call_of_its_name() -> None:
    names = [("a", True), ("b", True), ("a", True), ("a", False), ("b", False), ("a", False)]
    edges = [Edge(at, at, name, opens, None) for at, (name, opens) in enumerate(names)]
    assert closed(edges, 0, 10) == [
        Interval(2, 2, 3, None),
        Interval(1, 1, 4, None),
        Interval(0, 0, 5, None),
    ]


def test_what_is_not_closed_ends_with_what_is_known_and_what_was_not_opened_begins_with_it() -> (
    None
):
    edges = [Edge(0, 3, "a", False, None), Edge(1, 5, "b", True, None)]
    assert closed(edges, 1, 9) == [Interval(0, 1, 3, None), Interval(1, 5, 9, None)]


def test_random_calls_lie_where_looking_at_all_of_them_says() -> None:
    chance = random.Random(3)
    for _ in range(50):
        calls = _nested(chance, 0, 400)
        chance.shuffle(calls)
        found = tree(*calls)
        assert [row[0] for row in found] == sorted(row[0] for row in found)
        times = {row[2]: row[:2] for row in found}
        for begin, end, number, parent, _ in found:
            spans = [
                (last - first, other)
                for other, (first, last) in times.items()
                if other != number and first <= begin and end <= last
            ]
            assert parent == (min(spans)[1] if spans else -1)


def _nested(chance: random.Random, begin: int, end: int) -> list[tuple[int, int]]:
    """Return calls between two times, of which none share a time."""
    found: list[tuple[int, int]] = []
    at = begin + 1
    while at < end - 3:
        until = chance.randint(at + 1, end - 1)
        found += [(at, until), *_nested(chance, at, until)]
        at = until + chance.randint(1, 60)
    return found
