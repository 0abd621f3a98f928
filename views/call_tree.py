"""Which call lies in which: the tree of the calls of one thread, by the nesting of their intervals.

What the traces say of parents is incomplete and partly wrong (parents that were never written,
numbers that repeat), so it is not used. Where two calls cross, which real traces do not show, the
later one is no child of the earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ("ROOT_ID", "ROOT_PARENT", "Edge", "Interval", "Node", "call_tree", "closed", "numbers")

#: The id of the thread itself, and what its parent is said to be.
ROOT_ID: Final = -1
ROOT_PARENT: Final = 0


class Interval(NamedTuple):
    """A call: where it stands among those that were read, its times, and the trace's number."""

    place: int
    begin: int
    end: int
    id: int | None


class Edge(NamedTuple):
    """One end of a call that the trace tells of in two records."""

    place: int
    time: int
    name: str
    opens: bool
    id: int | None


class Node(NamedTuple):
    """A call in its tree."""

    place: int
    id: int
    parent: int
    depth: int
    begin: int
    end: int


def numbers(intervals: Sequence[Interval]) -> list[int]:
    """Return an id for each: the trace's own where all have one, each another; else 1, 2, ..."""
    own = [interval.id for interval in intervals]
    if len(set(own)) == len(own) and all(one is not None and one > 0 for one in own):
        return [one or 0 for one in own]
    return list(range(1, len(own) + 1))


def call_tree(intervals: Iterable[Interval]) -> list[Node]:
    """Return the calls of one thread, each after the call that it lies in; the begins ascend.

    A call lies in the shortest that spans it; of two with the same times the one with the lower
    number, or that was read first, spans the other.
    """
    ordered = sorted(
        intervals,
        key=lambda one: (one.begin, -one.end, one.id if one.id is not None else 0, one.place),
    )
    nodes: list[Node] = []
    around: list[Node] = []
    for interval, number in zip(ordered, numbers(ordered), strict=True):
        while around and interval.end > around[-1].end:
            around.pop()
        parent = around[-1].id if around else ROOT_ID
        node = Node(interval.place, number, parent, len(around) + 1, interval.begin, interval.end)
        nodes.append(node)
        around.append(node)
    return nodes


def closed(edges: Iterable[Edge], first: int, last: int) -> list[Interval]:
    """Return calls from their begins and ends, in the order of time.

    An end closes the last call of its name that is open. What is known is from *first* to *last*: a
    call that is not closed ends at *last*, an end without a begin began at *first*.
    """
    found: list[Interval] = []
    waiting: list[Edge] = []
    for edge in sorted(edges, key=lambda one: (one.time, one.place)):
        if edge.opens:
            waiting.append(edge)
            continue
        for at in range(len(waiting) - 1, -1, -1):
            if waiting[at].name == edge.name:
                begun = waiting.pop(at)
                found.append(Interval(begun.place, begun.time, edge.time, begun.id))
                break
        else:
            found.append(Interval(edge.place, first, edge.time, edge.id))
    found += (Interval(one.place, one.time, last, one.id) for one in waiting)
    return found
