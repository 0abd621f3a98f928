"""Calls and counters as trace events (JSON), which Perfetto and chrome://tracing open.

Calls are complete events (``X``), one within the other by their times; a call that crosses another
of its thread, which no track can show, is an asynchronous one (``b`` and ``e``). Counters are
``C``. Times are microseconds since 1970, as in the traces. Numbers of processes and threads are
those of the traces, but for those that are there twice, on two hosts, say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec
import pyarrow as pa

from dftindexd.client.exports.call_stacks import Slices, thread_label
from dftindexd.client.exports.source import Process, Stream
from dftindexd.client.exports.values import values_of

__all__ = ("CALL_COLUMNS", "COUNTER_COLUMNS", "trace_events")

K = TypeVar("K", bound=Hashable)

CALL_COLUMNS: Final = ("begin", "end", "id", "name", "target", "filename", "args")
COUNTER_COLUMNS: Final = ("time", "name", "unit", "value")

_HEAD: Final = b'{"displayTimeUnit":"ms","otherData":{"exporter":"dftindexd"},"traceEvents":[\n'
_FOOT: Final = b"\n]}\n"
_LARGEST_NUMBER: Final = 2**31 - 1
_MICROSECOND: Final = 1000

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

_Event = dict[str, Any]


def trace_events(
    streams: Sequence[Stream],
    calls: Iterable[tuple[Stream, pa.RecordBatch]],
    counters: Iterable[tuple[Process, pa.RecordBatch]],
) -> Iterator[bytes]:
    """Yield one JSON document: calls with :data:`CALL_COLUMNS`, each thread's in the order of a
    tree, and counters with :data:`COUNTER_COLUMNS`."""
    pids, tids = _pids(streams), _tids(streams)
    parts = chain(
        [_names(streams, pids, tids)],
        _calls(calls, pids, tids),
        (_counters(batch, pids[process.id]) for process, batch in counters),
    )
    yield _HEAD
    begun = False
    for events in parts:
        if text := b",\n".join(map(_encode, events)):
            yield b",\n" + text if begun else text
            begun = True
    yield _FOOT


def _pids(streams: Iterable[Stream]) -> dict[str, int]:
    return _unique({stream.process.id: stream.process.pid for stream in streams})


def _tids(streams: Iterable[Stream]) -> dict[str, int]:
    by_process: dict[str, dict[str, int]] = defaultdict(dict)
    for stream in streams:
        by_process[stream.process.id][stream.id] = stream.tid
    return {key: number for own in by_process.values() for key, number in _unique(own).items()}


def _unique(wanted: dict[K, int]) -> dict[K, int]:
    """Return a number for each: that which it has, unless another has it, or viewers would not take
    it; else the next that is free."""
    given: dict[K, int] = {}
    taken: set[int] = set()
    for key, number in wanted.items():
        if 0 < number <= _LARGEST_NUMBER and number not in taken:
            given[key] = number
            taken.add(number)
    free = 1
    for key in wanted:
        if key not in given:
            while free in taken:
                free += 1
            given[key] = free
            taken.add(free)
    return {key: given[key] for key in wanted}


def _names(
    streams: Iterable[Stream], pids: dict[str, int], tids: dict[str, int]
) -> Iterator[_Event]:
    known: set[str] = set()
    for stream in streams:
        process = stream.process
        pid = pids[process.id]
        if process.id not in known:
            known.add(process.id)
            yield _metadata("process_name", pid, 0, {"name": _process_name(process)})
            yield _metadata("process_labels", pid, 0, {"labels": process.id})
            yield _metadata("process_sort_index", pid, 0, {"sort_index": len(known)})
        yield _metadata("thread_name", pid, tids[stream.id], {"name": thread_label(stream)})


def _process_name(process: Process) -> str:
    return f"{process.exe or 'process'} {process.pid}@{process.host}"


def _metadata(name: str, pid: int, tid: int, args: _Event) -> _Event:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "ts": 0, "args": args}


def _calls(
    calls: Iterable[tuple[Stream, pa.RecordBatch]], pids: dict[str, int], tids: dict[str, int]
) -> Iterator[Iterator[_Event]]:
    thread = ""
    slices = Slices()
    for stream, batch in calls:
        if stream.id != thread:
            thread, slices = stream.id, Slices()
        place = {"pid": pids[stream.process.id], "tid": tids[stream.id]}
        yield _events(batch, place, stream.id, slices)


def _events(
    batch: pa.RecordBatch, place: dict[str, int], stream: str, slices: Slices
) -> Iterator[_Event]:
    columns = (values_of(batch, name) for name in CALL_COLUMNS)
    for begin, end, number, name, cat, file, args in zip(*columns, strict=True):
        given = _decode(args) if args else {}
        if file:
            given["filename"] = file
        ts, till = begin // _MICROSECOND, end // _MICROSECOND
        event = {"name": name, "cat": cat, "ts": ts, **place, "args": given}
        if slices.fits(begin, end):
            yield event | {"ph": "X", "dur": till - ts}
            continue
        own = {"id": f"{stream}:{number}"}
        yield event | {"ph": "b"} | own
        yield event | {"ph": "e", "ts": till, "args": {}} | own


def _counters(batch: pa.RecordBatch, pid: int) -> Iterator[_Event]:
    columns = (values_of(batch, name) for name in COUNTER_COLUMNS)
    for time, name, unit, value in zip(*columns, strict=True):
        if value is not None:
            args = {unit: value}
            yield {"ph": "C", "name": name, "pid": pid, "ts": time // _MICROSECOND, "args": args}
