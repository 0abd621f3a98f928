"""Events in the columns that the analyzer reads: one schema, whatever the trace has.

``type`` tells what a row is (:data:`FILE_NAME` and the others). Times are microseconds. ``te`` is
where an event ends, ``size`` and ``offset`` are those of transfers, ``image_id`` is that of what is
no POSIX or STDIO call. Numbers in quotes count, as everywhere.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from dftindexd.index.query.event_fields import Event, event_field
from dftindexd.index.query.io_categories import IO_CATEGORY_TABLES, OTHER, READ, WRITE
from dftindexd.index.tiers.aggregation import ascii_lower
from dftindexd.index.trace.names import hash_text
from dftindexd.index.trace.numbers import clamp_signed, whole

__all__ = ("NORMAL_TYPES", "normal_row")

EVENT: Final = 0
FILE_NAME: Final = 1
HOST_NAME: Final = 2
TEXT: Final = 3
OTHER_METADATA: Final = 4
PROCESS: Final = 5
PROFILE: Final = 6
SYSTEM: Final = 7

_TEXTS: Final = ("cat", "name", "hash", "value", "host_hash", "file_hash")

#: The columns of every row.
NORMAL_TYPES: Final[dict[str, pa.DataType]] = {
    name: pa.utf8() if name in _TEXTS else pa.int64()
    for name in (
        *("type", "cat", "name", "pid", "tid", "hash", "value", "host_hash", "file_hash", "epoch"),
        *("step", "ts", "dur", "te", "trange", "io_cat", "size", "offset", "image_id"),
    )
}

_NAMES: Final = {"FH": FILE_NAME, "HH": HOST_NAME, "SH": TEXT, "PR": PROCESS}
_IO: Final = frozenset(("posix", "stdio"))
_TRANSFERS: Final = frozenset((READ, WRITE))
#: What a profile tells beyond an event.
_OF_PROFILES: Final = ("count", "dur_min", "dur_max", "dur_sum")
_SYSTEM_CATEGORY: Final = "sys"

Row = dict[str, Any]


def _reader(name: str) -> Any:
    field = event_field(name)
    if field is None:
        raise AssertionError(f"there is no field {name}")
    return field.read


_phase, _ts, _dur = _reader("ph"), _reader("ts"), _reader("dur")
_host, _file = _reader("hhash"), _reader("fhash")


def normal_row(event: Event) -> Row:
    """Return one event, or record of metadata, as a row."""
    record, args = event.record, event.args
    cat = record.get("cat")
    row: Row = {
        "cat": ascii_lower(cat) if isinstance(cat, str) else None,
        "name": _text(record.get("name")),
        "pid": _number(record.get("pid")),
        "tid": _number(record.get("tid")),
        "host_hash": _host(event),
    }
    phase = _phase(event)
    if phase == "M":
        return row | _metadata(row["name"], args)
    row |= {"ts": _ts(event), "file_hash": _file(event)}
    if phase == "C":
        return row | _counted(row, args)
    return row | _event(event, row)


def _metadata(name: str | None, args: Row) -> Row:
    kind = _NAMES.get(name or "", OTHER_METADATA)
    value = args.get("value")
    named = {"type": kind, "name": _text(args.get("name")) or name}
    if kind == OTHER_METADATA:
        return named | {"value": _text(value)}
    return named | {"hash": hash_text(value) or None}


def _counted(row: Row, args: Row) -> Row:
    """Return what a counter tells: a system metric, or a profile of calls."""
    if row["cat"] == _SYSTEM_CATEGORY:
        return {"type": SYSTEM, "file_hash": None}
    told: Row = {name: _number(args.get(name)) for name in _OF_PROFILES if name in args}
    dur = _number(args.get("dur"))
    return {"type": PROFILE, "dur": dur, "io_cat": _io_cat(row), **told}


def _event(event: Event, row: Row) -> Row:
    args, ts = event.args, row["ts"]
    dur = _dur(event) if "dur" in event.record else None
    io_cat = _io_cat(row)
    told: Row = {
        "type": EVENT,
        "dur": dur,
        "te": None if ts is None or dur is None else clamp_signed(ts + dur),
        "io_cat": io_cat,
        "epoch": _number(args.get("epoch")),
        "step": _number(args.get("step")),
    }
    if row["cat"] not in _IO:
        return told | {
            "image_id": _positive(args.get("image_idx")),
            "size": _positive(args.get("image_size")),
        }
    size = args.get("size_sum", args.get("ret")) if io_cat in _TRANSFERS else None
    return told | {"size": _positive(size), "offset": _not_negative(args.get("offset"))}


def _io_cat(row: Row) -> int:
    if row["cat"] not in _IO:
        return OTHER
    return IO_CATEGORY_TABLES["analyzer"].get(row["name"] or "", OTHER)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    number = whole(value)
    return None if number is None else clamp_signed(number)


def _positive(value: object) -> int | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _not_negative(value: object) -> int | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None
