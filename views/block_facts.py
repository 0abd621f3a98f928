"""What each chunk says of each thread in it: the raw material of blocks, streams and processes.

One row a chunk, process number, thread and hash of a host, as the events have them. A row depends
on its chunk alone, so that it stays true for as long as its segment does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pyarrow as pa

from dftindexd.index.query.event_fields import Event, event_field
from dftindexd.index.trace.json_line import Record
from dftindexd.index.trace.names import hash_text
from dftindexd.index.trace.numbers import INT64_MAX, clamp_signed, whole
from dftindexd.views.reading import events_of_chunks
from dftindexd.views.schema import Column, ViewSchema
from dftindexd.views.source import SegmentChunks

__all__ = ("FACTS", "BlockFacts", "facts_of_segment", "is_log", "read_field")

_TEXT: Final = pa.utf8()
_INT: Final = pa.int64()


class BlockFacts(msgspec.Struct, kw_only=True):
    """What a chunk says of a thread. Times are microseconds; hashes are those of the trace.

    ``first_ts`` is the time of the first event in the order of the text; ``start_ts`` that of the
    event ``start``, with what this says.
    """

    segment: int
    chunk: int
    hhash: str
    pid: int
    tid: int
    begin: int | None = None
    end: int | None = None
    first_ts: int | None = None
    objects: int = 0
    calls: int = 0
    counters: int = 0
    logs: int = 0
    start_ts: int | None = None
    exec_hash: str = ""
    cmd_hash: str = ""
    ppid: int | None = None
    version: str = ""
    date: str = ""
    thread_name: str = ""
    properties: dict[str, str] = {}
    uc_offset: int
    uc_size: int
    c_offset: int
    c_size: int
    first_line: int

    def row(self) -> tuple[Any, ...]:
        """Return the values of the columns of :data:`FACTS`."""
        values = msgspec.structs.astuple(self)
        at = self.__struct_fields__.index("properties")
        return (*values[:at], msgspec.json.encode(self.properties).decode(), *values[at + 1 :])

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> BlockFacts:
        """Return the facts of a row of a table of :data:`FACTS`."""
        properties = msgspec.json.decode(row["properties"], type=dict[str, str])
        return cls(**row | {"properties": properties})


_TYPES: Final[dict[str, pa.DataType]] = dict.fromkeys(
    ("hhash", "exec_hash", "cmd_hash", "version", "date", "thread_name", "properties"), _TEXT
) | {"pid": pa.uint64(), "tid": pa.uint64()}

FACTS: Final = ViewSchema(
    "facts",
    1,
    "What each chunk says of each thread in it.",
    tuple(Column(name, _TYPES.get(name, _INT), "") for name in BlockFacts.__struct_fields__),
)


def read_field(name: str) -> Any:
    """Return the function that reads the field *name* of an event."""
    field = event_field(name)
    if field is None:
        raise AssertionError(f"{name} is a field of events")
    return field.read


_PID, _TID, _HHASH = read_field("pid"), read_field("tid"), read_field("hhash")
_PH, _TS, _DUR = read_field("ph"), read_field("ts"), read_field("dur")

#: The phases of events that have a duration, or are one end of it.
_CALLS: Final = frozenset(("X", "B", "E"))


def is_log(event: Event, phase: str | None) -> bool:
    """Tell whether an event makes a log entry: metadata, and starts and ends of processes."""
    record = event.record
    if phase == "M":
        return True
    return record.get("cat") == "dftracer" and record.get("name") in ("start", "end")


def facts_of_segment(
    root: bytes, given: SegmentChunks, step: Callable[[], None]
) -> Iterator[BlockFacts]:
    """Yield the facts of all chunks of a segment; its trace is read once. *step* is called when a
    chunk is done."""
    for number, place, events in events_of_chunks(root, given, step):
        found: dict[tuple[str, int, int], BlockFacts] = {}
        for event in events:
            if "ph" not in event.record:
                continue
            key = _HHASH(event) or "", _PID(event), _TID(event)
            facts = found.get(key)
            if facts is None:
                hhash, pid, tid = key
                facts = found[key] = BlockFacts(
                    segment=given.segment,
                    chunk=number,
                    hhash=hhash,
                    pid=pid,
                    tid=tid,
                    uc_offset=place.uc_offset,
                    uc_size=place.uc_size,
                    c_offset=place.c_offset,
                    c_size=place.c_size,
                    first_line=place.first_line,
                    properties={},
                )
            _add(facts, event)
        yield from found.values()


def _add(facts: BlockFacts, event: Event) -> None:
    phase = _PH(event)
    if is_log(event, phase):
        facts.logs += 1
    if phase == "M":
        _add_metadata(facts, event.record, event.args)
        return
    facts.objects += 1
    ts = _TS(event)
    if ts is not None:
        end = min(ts + _DUR(event), INT64_MAX) if phase == "X" else ts
        facts.begin = ts if facts.begin is None else min(facts.begin, ts)
        facts.end = end if facts.end is None else max(facts.end, end)
        facts.first_ts = ts if facts.first_ts is None else facts.first_ts
        facts.calls += phase in _CALLS
    facts.counters += phase == "C"
    is_start = event.record.get("name") == "start" and event.record.get("cat") == "dftracer"
    if is_start and ts is not None and facts.start_ts is None:
        _add_start(facts, ts, event.args)


def _add_start(facts: BlockFacts, ts: int, args: Record) -> None:
    facts.start_ts = ts
    facts.exec_hash = hash_text(args.get("exec_hash"))
    facts.cmd_hash = hash_text(args.get("cmd_hash"))
    ppid = whole(args.get("ppid"))
    facts.ppid = None if ppid is None else clamp_signed(ppid)
    facts.version = _text(args.get("version"))
    facts.date = _text(args.get("date"))


def _add_metadata(facts: BlockFacts, record: Record, args: Record) -> None:
    name, key, value = record.get("name"), args.get("name"), args.get("value")
    if name == "thread_name" and not facts.thread_name:
        facts.thread_name = _text(key)
    elif name in ("PR", "CM", "process_name") and isinstance(key, str):
        facts.properties.setdefault(key, _text(value))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()
