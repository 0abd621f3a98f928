"""Events as Arrow columns: the fields that were asked for, and where each event lies.

``trace`` is the trace's path, ``line`` the number of its line from 0, ``uc_offset`` where that line
begins in the text, ``json`` the line, ``args`` all arguments as JSON. A single argument that is no
field of its own is text: as it is, or as JSON where it is a number or boolean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa

from dftindexd.index.errors import QueryError
from dftindexd.index.query.event_fields import Event, event_field, read_arguments, unknown_field
from dftindexd.index.query.event_lines import Line

__all__ = ("DEFAULT_COLUMNS", "EventColumns", "EventRow")

DEFAULT_COLUMNS: Final = (
    *("trace", "line", "name", "cat", "ph", "pid", "tid", "ts", "dur", "hhash", "fhash", "args"),
)

_UNSIGNED: Final = ("pid", "tid")


class EventRow(NamedTuple):
    """An event, its trace's path and its line."""

    trace: str
    line: Line
    event: Event


_Read: TypeAlias = Callable[[EventRow], Any]

_PLACES: Final[dict[str, tuple[pa.DataType, _Read]]] = {
    "trace": (pa.utf8(), lambda row: row.trace),
    "line": (pa.int64(), lambda row: row.line.line),
    "uc_offset": (pa.int64(), lambda row: row.line.uc_offset),
    "json": (pa.utf8(), lambda row: row.line.text.decode(errors="replace")),
    "args": (pa.utf8(), lambda row: read_arguments(row.event)),
}


class EventColumns:
    """Some columns, by name; an unknown one is a QueryError that lists the known."""

    def __init__(self, names: Sequence[str] = DEFAULT_COLUMNS) -> None:
        columns = [_column(name) for name in names]
        self.schema = pa.schema(
            [pa.field(name, kind) for name, (kind, _) in zip(names, columns, strict=True)]
        )
        self._columns = columns

    def batch(self, rows: Sequence[EventRow]) -> pa.RecordBatch:
        """Return *rows* as one batch."""
        arrays = [pa.array([read(row) for row in rows], kind) for kind, read in self._columns]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _column(name: str) -> tuple[pa.DataType, _Read]:
    place = _PLACES.get(name)
    if place is not None:
        return place
    field = event_field(name)
    if field is None:
        raise QueryError(*unknown_field(name, tuple(_PLACES)))
    read = field.read
    if field.kind == "number":
        kind = pa.uint64() if name in _UNSIGNED else pa.int64()
        return kind, lambda row: read(row.event)
    if field.kind == "any":
        return pa.utf8(), lambda row: _as_text(read(row.event))
    return pa.utf8(), lambda row: read(row.event)


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)
