"""Blocks, streams and processes of a selection of traces, from the facts of their chunks.

A process is a host, a number and a start. Where a trace has no ``start``, the first event of the
process in the order of the text stands for it: that stays the same while the trace grows. Records
without a hash of a host belong to the first host that their trace names for their process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pyarrow as pa

from dftindexd.index.query.hash_names import HashKind
from dftindexd.views.block_facts import BlockFacts
from dftindexd.views.schema import nanoseconds
from dftindexd.views.sets import BLOCKS
from dftindexd.views.source import HashRef, ResolvedName, Selection

__all__ = ("PROCESSES_SQL", "STREAMS_SQL", "blocks_table")

_TICKS_A_SECOND: Final = 1_000_000
_NO_HOST: Final = "unknown"


#: How the two sets follow from the table ``blocks``.
PROCESSES_SQL: Final = """
SELECT process_id, {taken}, max(insert_time) AS insert_time,
  first_value("processes.properties") AS properties, first_value("processes.pid") AS pid,
  first_value("processes.version") AS version, first_value("processes.date") AS date
FROM blocks GROUP BY process_id
""".format(
    taken=", ".join(
        f'first_value("processes.{name}") AS {name}'
        for name in (
            *("exe", "cmd", "username", "computer", "start_time", "start_ticks"),
            *("tsc_frequency", "parent_process_id"),
        )
    )
)
STREAMS_SQL: Final = """
SELECT stream_id, first_value(process_id) AS process_id, first_value("streams.tid") AS tid,
  first_value("streams.tags") AS tags, first_value("streams.thread_name") AS thread_name,
  max(insert_time) AS insert_time, min(begin_time) AS begin_time, max(end_time) AS end_time,
  sum(nb_objects) AS nb_objects
FROM blocks GROUP BY stream_id
"""


@dataclass(slots=True)
class _Process:
    """A process as one trace has it."""

    trace: int
    pid: int
    hhash: str
    facts: list[BlockFacts] = field(default_factory=list)
    host: str = ""
    start: int = 0
    ppid: int | None = None
    id: str = ""


@dataclass(slots=True)
class _Block:
    """A block in the making: the facts that it is of, of one or more hashes of hosts."""

    process: _Process
    facts: list[BlockFacts]

    @property
    def place(self) -> BlockFacts:
        return self.facts[0]

    def total(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.facts)

    def bound(self, name: str, choose: Callable[[list[int]], int]) -> int | None:
        values = [value for one in self.facts if (value := getattr(one, name)) is not None]
        return choose(values) if values else None


def blocks_table(
    selection: Selection,
    facts: Iterable[BlockFacts],
    names: Callable[[Sequence[HashRef]], list[ResolvedName]],
) -> pa.Table:
    """Return the view set ``blocks`` of *selection*, given the *facts* of all its segments."""
    order = {
        segment: (at, nth)
        for at, trace in enumerate(selection.traces)
        for nth, segment in enumerate(trace.segments)
    }
    ordered = sorted(facts, key=lambda one: (*order[one.segment], one.chunk, one.first_line))
    by_trace: dict[int, list[BlockFacts]] = defaultdict(list)
    for one in ordered:
        by_trace[order[one.segment][0]].append(one)
    processes = [process for at, own in by_trace.items() for process in _processes(at, own)]
    resolve = _resolver(processes, names)
    for process in processes:
        _identify(process, resolve)
    parents = _parents(processes)
    about = {id(process): _about(process, parents[id(process)], resolve) for process in processes}
    blocks = [block for process in processes for block in _blocks(process)]
    return BLOCKS.rows(_rows(selection, blocks, about))


def _processes(trace: int, facts: Sequence[BlockFacts]) -> list[_Process]:
    """Group the facts of one trace by process."""
    hosts: dict[int, str] = {}
    for one in facts:
        if one.hhash:
            hosts.setdefault(one.pid, one.hhash)
    found: dict[tuple[int, str], _Process] = {}
    for one in facts:
        key = one.pid, one.hhash or hosts.get(one.pid, "")
        process = found.setdefault(key, _Process(trace, *key))
        process.facts.append(one)
    return list(found.values())


_Resolve = Callable[[int, HashKind, str], str]


def _resolver(
    processes: Iterable[_Process], names: Callable[[Sequence[HashRef]], list[ResolvedName]]
) -> _Resolve:
    """Ask for all names at once."""
    wanted: dict[HashRef, None] = {}
    for process in processes:
        if process.hhash:
            wanted[process.trace, "host", process.hhash] = None
        for one in process.facts:
            for hash_ in filter(None, (one.exec_hash, one.cmd_hash)):
                wanted[process.trace, "string", hash_] = None
    refs = list(wanted)
    known = dict(zip(refs, (resolved.name for resolved in names(refs)), strict=True))
    return lambda trace, kind, hash_: known.get((trace, kind, hash_), "")


def _identify(process: _Process, resolve: _Resolve) -> None:
    started = next((one for one in process.facts if one.start_ts is not None), None)
    first = next((one for one in process.facts if one.first_ts is not None), None)
    if started is not None:
        process.start, process.ppid = started.start_ts or 0, started.ppid
    elif first is not None:
        process.start = first.first_ts or 0
    name = resolve(process.trace, "host", process.hhash)
    process.host = name or process.hhash or _NO_HOST
    process.id = f"{process.host}:{process.pid}:{process.start}"


def _parents(processes: Iterable[_Process]) -> dict[int, str]:
    """Return for each process which one started it: that of the number on the same host which
    started last before it."""
    by_number: dict[tuple[str, int], list[_Process]] = defaultdict(list)
    for process in processes:
        by_number[process.host, process.pid].append(process)
    found: dict[int, str] = {}
    for numbered in by_number.values():
        for process in numbered:
            candidates = [
                one
                for one in by_number.get((process.host, process.ppid or 0), ())
                if one.start <= process.start and one.id != process.id
            ]
            latest = max(candidates, key=lambda one: one.start, default=None)
            found[id(process)] = latest.id if process.ppid and latest is not None else ""
    return found


def _about(process: _Process, parent: str, resolve: _Resolve) -> tuple[Any, ...]:
    """Return what is said of a process, in the order of the columns ``processes.*``."""
    started = next((one for one in process.facts if one.start_ts is not None), process.facts[0])
    properties: dict[str, str] = {}
    for one in reversed(process.facts):
        properties |= one.properties
    return (
        resolve(process.trace, "string", started.exec_hash),
        resolve(process.trace, "string", started.cmd_hash),
        "",
        process.host,
        nanoseconds(process.start),
        process.start,
        _TICKS_A_SECOND,
        parent,
        msgspec.json.encode(properties, order="sorted").decode(),
        process.pid,
        started.version,
        started.date,
    )


def _blocks(process: _Process) -> list[_Block]:
    """Return the blocks of a process, in the order of the text."""
    found: dict[tuple[int, int, int], _Block] = {}
    for one in process.facts:
        block = found.setdefault((one.segment, one.chunk, one.tid), _Block(process, []))
        block.facts.append(one)
    return list(found.values())


def _rows(
    selection: Selection, blocks: Sequence[_Block], about: dict[int, tuple[Any, ...]]
) -> Iterable[tuple[Any, ...]]:
    tags: dict[str, set[str]] = defaultdict(set)
    thread_names: dict[str, str] = {}
    for block in blocks:
        stream = f"{block.process.id}:{block.place.tid}"
        for name, tag in (("calls", "cpu"), ("counters", "metrics"), ("logs", "log")):
            if block.total(name):
                tags[stream].add(tag)
        named = next((one.thread_name for one in block.facts if one.thread_name), "")
        if named:
            thread_names.setdefault(stream, named)
    offsets: dict[str, int] = defaultdict(int)
    for block in blocks:
        place, process = block.place, block.process
        trace = selection.traces[process.trace]
        stream = f"{process.id}:{place.tid}"
        begin, end = block.bound("begin", min), block.bound("end", max)
        objects = block.total("objects")
        yield (
            f"{trace.file_id}:{place.chunk}:{place.pid}:{place.tid}",
            stream,
            process.id,
            None if begin is None else nanoseconds(begin),
            begin,
            None if end is None else nanoseconds(end),
            end,
            objects,
            offsets[stream],
            place.uc_size,
            trace.written,
            trace.name,
            place.uc_offset,
            place.c_offset,
            place.c_size,
            place.first_line,
            block.total("calls"),
            block.total("counters"),
            block.total("logs"),
            place.segment,
            place.chunk,
            sorted({one.hhash for one in block.facts}),
            place.tid,
            sorted(tags[stream]),
            thread_names.get(stream, ""),
            *about[id(process)],
        )
        offsets[stream] += objects
