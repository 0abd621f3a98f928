"""Calls of threads as spans: ``thread_spans``, ``async_events`` and ``otel_spans``.

All come from the same trees. A tree is of all blocks of a partition, so that a call that crosses a
boundary between chunks is one span.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import pyarrow as pa

from dftindexd.index.query.event_fields import Event, read_arguments
from dftindexd.index.query.io_categories import IO_CATEGORY_TABLES, READ, WRITE
from dftindexd.index.trace.numbers import INT64_MAX, clamp_signed, whole
from dftindexd.views.block_facts import read_field
from dftindexd.views.call_tree import (
    ROOT_ID,
    ROOT_PARENT,
    Edge,
    Interval,
    Node,
    call_tree,
    closed,
)
from dftindexd.views.schema import nanoseconds
from dftindexd.views.sets import ASYNC_EVENTS, OTEL_SPANS, THREAD_SPANS

__all__ = (
    "CALL_CATEGORIES",
    "Call",
    "Calls",
    "FileNames",
    "async_events",
    "file_hashes",
    "otel_spans",
    "root_span",
    "thread_spans",
)

#: What functions do to files.
CALL_CATEGORIES: Final = IO_CATEGORY_TABLES["analyzer"]
_MOVING: Final = (READ, WRITE)

_PH, _TS, _DUR = read_field("ph"), read_field("ts"), read_field("dur")
_ID, _FHASH, _RET = read_field("id"), read_field("fhash"), read_field("ret")
_NAME, _CAT, _OFFSET = read_field("name"), read_field("cat"), read_field("offset")


class Call(NamedTuple):
    """What there is to say of a call beside its times. ``trace`` is its trace's place among the
    selected, whose the hash is."""

    name: str
    cat: str
    trace: int
    fhash: str | None
    ret: int | None
    offset: int | None
    level: int | None
    p_idx: int | None
    args: str | None
    block: str


@dataclass(slots=True)
class Calls:
    """The calls of one thread, as they are read. ``first`` and ``last`` are the least and greatest
    time of all its events, in microseconds."""

    stream: str
    calls: list[Call] = field(default_factory=list)
    first: int = INT64_MAX
    last: int = 0
    _intervals: list[Interval] = field(default_factory=list)
    _edges: list[Edge] = field(default_factory=list)

    def add(self, event: Event, trace: int, block: str) -> None:
        """Take an event; one that is no call only moves what is known of the time."""
        phase, ts = _PH(event), _TS(event)
        if ts is None or phase == "M":
            return
        end = min(ts + _DUR(event), INT64_MAX) if phase == "X" else ts
        self.first, self.last = min(self.first, ts), max(self.last, end)
        place = len(self.calls)
        if phase == "X":
            self._intervals.append(Interval(place, ts, end, _ID(event)))
        elif phase in ("B", "E"):
            self._edges.append(Edge(place, ts, _NAME(event), phase == "B", _ID(event)))
        else:
            return
        self.calls.append(
            Call(
                _NAME(event),
                _CAT(event),
                trace,
                _FHASH(event),
                _RET(event),
                _OFFSET(event),
                _number(event, "level"),
                _number(event, "p_idx"),
                read_arguments(event),
                block,
            )
        )

    def tree(self) -> list[Node]:
        """Return the tree of the calls."""
        if not self._edges:
            return call_tree(self._intervals)
        return call_tree([*self._intervals, *closed(self._edges, self.first, self.last)])


def _number(event: Event, key: str) -> int | None:
    value = whole(event.args.get(key))
    return None if value is None else clamp_signed(value)


def file_hashes(threads: Iterable[Calls]) -> list[tuple[int, str]]:
    """Return each hash of a file that the calls have, with its trace, once."""
    found = {
        (call.trace, call.fhash): None for thread in threads for call in thread.calls if call.fhash
    }
    return list(found)


#: What hashes of files stand for, by trace and hash.
FileNames = dict[tuple[int, str], str]


def root_span(thread_name: str, first: int, last: int) -> pa.Table:
    """Return the row of a thread itself, which spans all its events: from *first* to *last*, in
    microseconds."""
    name = thread_name or "thread"
    begin, end = nanoseconds(first), nanoseconds(last)
    own = (ROOT_ID, ROOT_PARENT, 0, _hash("", name), begin, end, end - begin, name, "", "", 0)
    return THREAD_SPANS.rows([own + (None,) * (len(THREAD_SPANS.columns) - len(own))])


def thread_spans(thread: Calls, names: FileNames) -> pa.Table:
    """Return the calls of one thread, each after the call that it lies in."""
    return THREAD_SPANS.rows(_span_rows(thread, names))


def _span_rows(thread: Calls, names: FileNames) -> Iterator[tuple[Any, ...]]:
    for node in thread.tree():
        call = thread.calls[node.place]
        begin, end = nanoseconds(node.begin), nanoseconds(node.end)
        yield (
            node.id,
            node.parent,
            node.depth,
            _hash(call.cat, call.name),
            begin,
            end,
            end - begin,
            call.name,
            call.cat,
            _file(call, names),
            0,
            call.p_idx,
            call.level,
            call.ret,
            _size(call),
            call.offset,
            call.args,
        )


def async_events(threads: Sequence[Calls], names: FileNames) -> pa.Table:
    """Return the begins and ends of the calls of *threads*, in the order of time."""
    rows: list[tuple[Any, ...]] = []
    for thread in threads:
        for node in thread.tree():
            call = thread.calls[node.place]
            for kind, time in (("begin", node.begin), ("end", node.end)):
                rows.append(
                    (
                        thread.stream,
                        call.block,
                        nanoseconds(time),
                        kind,
                        node.id,
                        node.parent,
                        node.depth,
                        call.name,
                        _file(call, names),
                        call.cat,
                        0,
                    )
                )
    return ASYNC_EVENTS.rows(sorted(rows, key=lambda row: row[2]))


def otel_spans(process: str, threads: Sequence[Calls]) -> pa.Table:
    """Return the calls of *threads* of one *process* as spans of one trace."""
    trace = hashlib.md5(process.encode(), usedforsecurity=False).digest()
    rows = [row for thread in threads for row in _otel_rows(trace, thread)]
    return OTEL_SPANS.rows(sorted(rows, key=lambda row: row[6]))


def _otel_rows(trace: bytes, thread: Calls) -> Iterator[tuple[Any, ...]]:
    for node in thread.tree():
        call = thread.calls[node.place]
        begin, end = nanoseconds(node.begin), nanoseconds(node.end)
        yield (
            trace,
            _span_id(thread.stream, node.id),
            None if node.parent == ROOT_ID else _span_id(thread.stream, node.parent),
            call.name,
            "internal",
            call.cat,
            begin,
            end,
            end - begin,
            "Error" if call.ret is not None and call.ret < 0 else "Unset",
            call.args,
            thread.stream,
        )


def _span_id(stream: str, number: int) -> bytes:
    return hashlib.blake2b(struct.pack(">q", number) + stream.encode(), digest_size=8).digest()


def _hash(cat: str, name: str) -> int:
    return zlib.crc32(f"{cat}\0{name}".encode())


def _size(call: Call) -> int | None:
    moved = call.ret is not None and call.ret >= 0
    return call.ret if moved and CALL_CATEGORIES.get(call.name) in _MOVING else None


def _file(call: Call, names: FileNames) -> str:
    return names.get((call.trace, call.fhash), "") if call.fhash else ""
