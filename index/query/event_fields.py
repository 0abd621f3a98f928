"""The fields of events that filters and columns may name, and their values.

Values are those that all tiers see (``docs/traces.md``): times are microseconds, quoted numbers are
numbers, hashes are text in every generation of traces, ``ph`` is a letter. What an object lacks is
null, but as in the tiers a missing ``name`` or ``cat`` is empty, a missing ``pid``, ``tid`` or (of
events) ``dur`` is 0. ``ret``, ``offset`` and ``count`` are those of events: metadata has none.

Arguments are ``args.NAME``, also inside an object of arguments (``args.cfg.NAME``), with the value
that the line has. The arguments in :data:`ARGUMENT_FIELDS` are fields of their own, so that
``args.fhash`` and ``fhash`` are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from dftindexd.index.query.predicate import nearest_hint
from dftindexd.index.trace.facts import MICROSECONDS
from dftindexd.index.trace.json_line import Record
from dftindexd.index.trace.names import hash_of_name, hash_text
from dftindexd.index.trace.numbers import INT64_MAX, UINT64_MAX, clamp_signed, whole

__all__ = (
    "ARGUMENT_FIELDS",
    "FIELD_NAMES",
    "PHASE_LETTERS",
    "Event",
    "EventField",
    "FieldKind",
    "event_field",
    "is_row",
    "read_arguments",
    "unknown_field",
)

#: What a field's values are: texts, hashes (text also where a number is asked for), numbers, the
#: letter of a phase, or whatever the line has.
FieldKind: TypeAlias = Literal["text", "hash", "number", "phase", "any"]

PHASE_LETTERS: Final[dict[int, str]] = {1: "X", 2: "C", 3: "A", 4: "M"}

_METADATA: Final = "M"


class Event(NamedTuple):
    """An object of a trace. ``args`` is empty where it has none; ``line`` counts from 0."""

    record: Record
    args: Record
    line: int
    scale: tuple[int, int] = MICROSECONDS


@dataclass(frozen=True, slots=True)
class EventField:
    """A field: its one name, what its values are, and how to read them from an event."""

    name: str
    kind: FieldKind
    read: Callable[[Event], Any]


def _text(key: str) -> Callable[[Event], str]:
    def read(event: Event) -> str:
        value = event.record.get(key)
        return value if isinstance(value, str) else ""

    return read


def _phase(event: Event) -> str | None:
    value = event.record.get("ph")
    if isinstance(value, str) or value is None:
        return value
    return PHASE_LETTERS.get(value, str(value)) if value.__class__ is int else None


def is_row(event: Event) -> bool:
    """Tell whether an object is an event of some phase: no metadata, and not without ``ph``."""
    return "ph" in event.record and _phase(event) != _METADATA


def _id(key: str) -> Callable[[Event], int]:
    def read(event: Event) -> int:
        value = whole(event.record.get(key, 0))
        return min(max(value or 0, 0), UINT64_MAX)

    return read


def _time(value: object, scale: tuple[int, int]) -> int | None:
    time = whole(value)
    if time is None:
        return None
    time = min(max(time, 0), INT64_MAX)
    return time if scale is MICROSECONDS else min(time * scale[0] // scale[1], INT64_MAX)


def _ts(event: Event) -> int | None:
    return _time(event.record.get("ts"), event.scale)


def _dur(event: Event) -> int | None:
    time = _time(event.record.get("dur"), event.scale)
    return 0 if time is None and is_row(event) else time


def _number(key: str) -> Callable[[Event], int | None]:
    def read(event: Event) -> int | None:
        value = whole(event.record.get(key))
        return None if value is None else clamp_signed(value)

    return read


def _size(key: str) -> Callable[[Event], int | None]:
    def read(event: Event) -> int | None:
        value = whole(event.args.get(key))
        return None if value is None or not is_row(event) else clamp_signed(value)

    return read


def _is_v0(event: Event) -> bool:
    """Tell whether names stand for hashes."""
    args = event.args
    return isinstance(event.record.get("pid"), str) and ("hostname" in args or "fname" in args)


def _hash(key: str, name_key: str) -> Callable[[Event], str | None]:
    def read(event: Event) -> str | None:
        if _is_v0(event):
            name = event.args.get(name_key)
            return hash_of_name(name) if isinstance(name, str) and name else None
        return hash_text(event.args.get(key)) or None

    return read


def _shash(event: Event) -> str | None:
    if _is_v0(event):
        return None
    args = event.args
    return hash_text(args.get("cmd_hash") or args.get("exec_hash")) or None


def _own_shash(key: str) -> Callable[[Event], str | None]:
    """Return how to read one of the arguments that ``shash`` comes from."""

    def read(event: Event) -> str | None:
        value = event.args.get(key)
        return (hash_text(value) or None) if value and not _is_v0(event) else None

    return read


def _argument(path: str) -> Callable[[Event], object]:
    def read(event: Event) -> object:
        value = _inside(event.args, path)
        return value if isinstance(value, str | int | float) else None

    return read


def _inside(args: Record, path: str) -> object:
    """Return what lies at a path: a key may have dots itself."""
    if path in args:
        return args[path]
    key, _, rest = path.partition(".")
    inner = args.get(key)
    return _inside(inner, rest) if rest and isinstance(inner, dict) else None


#: Arguments that are fields of their own.
ARGUMENT_FIELDS: Final = ("hhash", "fhash", "cmd_hash", "exec_hash", "ret", "offset", "count")

_FIELDS: Final = {
    field.name: field
    for field in (
        EventField("name", "text", _text("name")),
        EventField("cat", "text", _text("cat")),
        EventField("ph", "phase", _phase),
        EventField("pid", "number", _id("pid")),
        EventField("tid", "number", _id("tid")),
        EventField("ts", "number", _ts),
        EventField("dur", "number", _dur),
        EventField("id", "number", _number("id")),
        EventField("type", "number", _number("type")),
        EventField("hhash", "hash", _hash("hhash", "hostname")),
        EventField("fhash", "hash", _hash("fhash", "fname")),
        EventField("shash", "hash", _shash),
        EventField("cmd_hash", "hash", _own_shash("cmd_hash")),
        EventField("exec_hash", "hash", _own_shash("exec_hash")),
        EventField("ret", "number", _size("ret")),
        EventField("offset", "number", _size("offset")),
        EventField("count", "number", _size("count")),
    )
}

#: All fields but arguments.
FIELD_NAMES: Final = tuple(_FIELDS)

_PREFIX: Final = "args."


def event_field(name: str) -> EventField | None:
    """Return the field called *name*, ``None`` if there is none."""
    if not name.startswith(_PREFIX):
        return _FIELDS.get(name)
    path = name.removeprefix(_PREFIX)
    if path in ARGUMENT_FIELDS:
        return _FIELDS[path]
    return EventField(name, "any", _argument(path)) if path else None


def unknown_field(name: str, more: tuple[str, ...] = ()) -> tuple[str, str]:
    """Return the message and the hint for a field that there is not; *more* are known, too."""
    return f"no field {name}", nearest_hint(name, (*FIELD_NAMES, *more, "args.NAME"))


def read_arguments(event: Event) -> str | None:
    """Return all arguments as JSON, ``None`` where there are none."""
    return msgspec.json.encode(event.args).decode() if event.args else None
