"""Events as Arrow columns, one a member: the columns are those that the events of a batch have.

A column is of whole numbers, numbers, booleans or texts, as its values are; values of several kinds
are texts, and so are whole numbers beyond 64 bits. Objects and arrays are JSON. :func:`united` puts
batches of different columns together: what a batch lacks is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from dftindexd.index.query.event_fields import Event
from dftindexd.index.trace.numbers import INT64_MAX, INT64_MIN

__all__ = ("Row", "as_row", "batches_of_rows", "united", "with_extra")

Row = dict[str, Any]

_EXTRA: Final = "_extra"

_JSON: Final = msgspec.json.Encoder()
_KINDS: Final[dict[type, pa.DataType]] = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.utf8(),
}
_NUMBERS: Final = frozenset((pa.int64(), pa.float64()))


def as_row(event: Event, *, flatten: bool) -> Row:
    """Return the members of *event*; with *flatten* those of an object in it as ``args.NAME``."""
    row: Row = {}
    for key, value in event.record.items():
        if flatten and isinstance(value, dict):
            row |= {f"{key}.{name}": _flat(inner) for name, inner in value.items()}
        else:
            row[key] = _flat(value)
    return row


def _flat(value: object) -> object:
    return _text(value) if isinstance(value, dict | list) else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else _JSON.encode(value).decode()


def batches_of_rows(
    rows: Iterable[Row], batch_size: int, types: Mapping[str, pa.DataType]
) -> Iterator[pa.RecordBatch]:
    """Yield *rows* in batches; each has the columns *types* first, then what else its rows have."""
    rest = iter(rows)
    while some := list(islice(rest, batch_size)):
        yield _batch(some, types)


def _batch(rows: Sequence[Row], types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    columns: dict[str, pa.Array[Any]] = {}
    for name in dict.fromkeys((*types, *(name for row in rows for name in row))):
        values = [row.get(name) for row in rows]
        kind = types.get(name) or _kind(values)
        if kind is None:
            continue
        if kind == pa.utf8():
            values = [None if value is None else _text(value) for value in values]
        columns[name] = pa.array(values, kind)
    return pa.RecordBatch.from_pydict(columns)


def _kind(values: Iterable[object]) -> pa.DataType | None:
    """Return the type that holds all *values*, ``None`` where none is there."""
    kinds: set[pa.DataType] = set()
    for value in values:
        if value.__class__ is int and not INT64_MIN <= value <= INT64_MAX:
            kinds.add(pa.utf8())
        elif value is not None:
            kinds.add(_KINDS[value.__class__])
    return _widest(kinds) if kinds else None


def _widest(kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return next(iter(kinds))
    return pa.float64() if kinds <= _NUMBERS else pa.utf8()


def united(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Return *batches* as a table that has the columns of all."""
    kinds: dict[str, set[pa.DataType]] = {}
    for batch in batches:
        for field in batch.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    schema = pa.schema([pa.field(name, _widest(found)) for name, found in kinds.items()])
    whole = [
        pa.RecordBatch.from_arrays([_column(batch, field) for field in schema], schema=schema)
        for batch in batches
    ]
    return pa.Table.from_batches(whole, schema)


def with_extra(table: pa.Table) -> pa.Table:
    """Return *table* with a last column ``_extra``: null, since all has a column of its own."""
    if _EXTRA in table.schema.names:
        return table
    return table.append_column(_EXTRA, pa.nulls(table.num_rows, pa.utf8()))


def _column(batch: pa.RecordBatch, field: pa.Field[Any]) -> pa.Array[Any]:
    absent: pa.Array[Any] = pa.nulls(batch.num_rows, field.type)
    if field.name not in batch.schema.names:
        return absent
    column: pa.Array[Any] = pc.cast(batch.column(field.name), field.type)
    return column
