"""Indices of traces, derived from what their commits hold.

A partition is a chunk: what is read of a trace at once. Its label is the path of the trace, ``#``
and the chunk's number in it, from 0. Labels of a trace that grew stay; one that was replaced has
other values behind the same labels, in the commit that replaced it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from dftindexd.index.model import TraceRecord
from dftindexd.index.query.events import TRACES_AT_ONCE
from dftindexd.index.query.hash_names import HashKind, hash_tables
from dftindexd.index.query.source import RowSource
from dftindexd.views.indices.base import IndexBase, PartitionIndex
from dftindexd.views.indices.columns import (
    NAMES_OF,
    IndexColumn,
    NameOf,
    Wanted,
    values_by_chunk,
)
from dftindexd.views.indices.secondary import ExplicitSecondaryIndex
from dftindexd.views.indices.tables import Partitions

__all__ = ("ChunkValues", "IndexedTraces", "index_of", "label_of", "partitions_of")

#: A partition's label, and its values.
ChunkValues: TypeAlias = tuple[str, set[Any]]


class IndexedTraces(NamedTuple):
    """Traces of one store, and what each is called; *records* are of sets with the column."""

    source: RowSource
    records: Sequence[TraceRecord]
    names: Sequence[str]


def label_of(trace: str, chunk: int) -> str:
    """Return the label of a partition."""
    return f"{trace}#{chunk}"


def partitions_of(traces: IndexedTraces, wanted: Wanted) -> list[ChunkValues]:
    """Return the partitions of *traces*, and what each has of what is *wanted*.

    :raises QueryError: that is too much.
    """
    names = _names(traces, NAMES_OF.get(wanted.column))
    found: list[ChunkValues] = []
    for first in range(0, len(traces.records), TRACES_AT_ONCE):
        records = traces.records[first : first + TRACES_AT_ONCE]
        called = traces.names[first : first + TRACES_AT_ONCE]
        if wanted.column == "file":
            chunks = [
                [wanted.of([name])] * sum(segment.chunks for segment in record.segments)
                for record, name in zip(records, called, strict=True)
            ]
        else:
            chunks = values_by_chunk(traces.source, records, wanted, names)
        for name, of_trace in zip(called, chunks, strict=True):
            found += [(label_of(name, at), values) for at, values in enumerate(of_trace) if values]
    return found


def _names(traces: IndexedTraces, kind: HashKind | None) -> NameOf | None:
    if kind is None:
        return None
    hashes = hash_tables(traces.source, traces.records)
    place = {record.file_id: at for at, record in enumerate(traces.records)}
    return lambda record, hash_: hashes.name(kind, hash_, place[record.file_id]) or None


def index_of(column: IndexColumn, partitions: Iterable[ChunkValues]) -> IndexBase:
    """Return the index of *column* over *partitions*, which may be of several stores."""
    found: dict[Any, list[str]] = {}
    for label, values in partitions:
        for value in values:
            found.setdefault(value, []).append(label)
    dtype = column.type or _common_type(found)
    kind = PartitionIndex if column.partition else ExplicitSecondaryIndex
    return kind(column.name, _ordered(found), dtype=dtype)


def _common_type(values: Iterable[Any]) -> pa.DataType:
    """Return the type that holds all *values* of an argument: texts where there is one."""
    known = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in known) or not known:
        return pa.string()
    return pa.int64() if all(isinstance(value, int) for value in known) else pa.float64()


def _ordered(found: Partitions) -> Partitions:
    """Return values in ascending order, numbers before texts, null last."""

    def place(value: Any) -> tuple[bool, bool, Any]:
        return value is None, isinstance(value, str), 0 if value is None else value

    return {value: found[value] for value in sorted(found, key=place)}
