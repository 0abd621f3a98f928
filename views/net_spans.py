"""The bytes that a process moves to and from files, as micromegas has the bits of connections.

A connection is a file in one direction, an object a thread that moves bytes over it, a call the
transfer itself. What each moves is that of all in it; where one begins is counted in its parent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final, NamedTuple

import pyarrow as pa

from dftindexd.index.query.io_categories import READ, WRITE
from dftindexd.views.schema import nanoseconds
from dftindexd.views.sets import NET_SPANS
from dftindexd.views.spans import CALL_CATEGORIES, Calls, FileNames

__all__ = ("net_spans",)

#: What the parent of a connection is said to be.
_NO_PARENT: Final = -1
_BITS: Final = 8
_CATEGORIES: Final = frozenset(("posix", "stdio"))


class _Transfer(NamedTuple):
    begin: int
    end: int
    bits: int
    name: str


class _Connection(NamedTuple):
    file: str
    outgoing: bool


class _Span(NamedTuple):
    id: int
    parent: int
    depth: int
    kind: str
    name: str
    stream: str
    begin_bits: int
    within: Sequence[_Transfer]


#: Transfers by thread.
_Threads = dict[str, list[_Transfer]]


def net_spans(process: str, threads: Sequence[Calls], names: FileNames) -> pa.Table:
    """Return the transfers of *threads* of one *process*, each connection before its threads, and
    each thread before its transfers, which are in the order of time."""
    return NET_SPANS.rows(_rows(process, _connections(threads, names)))


def _connections(threads: Sequence[Calls], names: FileNames) -> list[tuple[_Connection, _Threads]]:
    """Return the transfers of each file in each direction, by name; what has no name is called by
    its hash."""
    found: dict[_Connection, _Threads] = defaultdict(lambda: defaultdict(list))
    for thread in threads:
        for node in thread.tree():
            call = thread.calls[node.place]
            kind = CALL_CATEGORIES.get(call.name)
            moves = kind in (READ, WRITE) and call.cat.lower() in _CATEGORIES
            if not moves or call.ret is None or call.ret < 0:
                continue
            hash_ = call.fhash or ""
            name = names.get((call.trace, hash_), "") or hash_
            transfer = _Transfer(node.begin, node.end, call.ret * _BITS, call.name)
            found[_Connection(name, kind == WRITE)][thread.stream].append(transfer)
    return sorted(found.items())


def _rows(
    process: str, connections: Sequence[tuple[_Connection, _Threads]]
) -> Iterator[tuple[Any, ...]]:
    numbers = count(1)
    for connection, threads in connections:
        for span in _spans(connection.file, threads, numbers):
            bits = sum(one.bits for one in span.within)
            yield (
                process,
                span.stream,
                span.id,
                span.parent,
                span.depth,
                span.kind,
                span.name,
                connection.file,
                connection.outgoing,
                span.begin_bits,
                span.begin_bits + bits,
                bits,
                nanoseconds(min(one.begin for one in span.within)),
                nanoseconds(max(one.end for one in span.within)),
            )


def _spans(file: str, threads: _Threads, numbers: Iterator[int]) -> Iterator[_Span]:
    """Yield the spans of one connection."""
    own, moved = next(numbers), 0
    every = [one for transfers in threads.values() for one in transfers]
    yield _Span(own, _NO_PARENT, 0, "connection", file, "", 0, every)
    for stream, transfers in sorted(threads.items()):
        thread, inside = next(numbers), 0
        yield _Span(thread, own, 1, "object", stream, stream, moved, transfers)
        for one in transfers:
            yield _Span(next(numbers), thread, 2, "rpc", one.name, stream, inside, [one])
            inside += one.bits
        moved += inside
