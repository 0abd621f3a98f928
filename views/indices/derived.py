"""Indices of traces, derived from what their commits hold.

A partition is a chunk: what is read of a trace at once. Its label is the path of the trace, ``#``
and the chunk's number in it, from 0. Labels of a trace that grew stay; one that was replaced has
other values behind the same labels, in the commit that replaced it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from dftindexd.index.model import TraceRecord
from dftindexd.index.query.hash_names import hash_tables
from dftindexd.index.query.source import RowSource
from dftindexd.views.indices.base import IndexBase, PartitionIndex
from dftindexd.views.indices.columns import IndexColumn, values_by_chunk
from dftindexd.views.indices.secondary import ExplicitSecondaryIndex
from dftindexd.views.indices.tables import Partitions

__all__ = ("ChunkValues", "IndexedTraces", "index_of", "label_of", "partitions_of")

#: A partition's label, and its values.
ChunkValues: TypeAlias = tuple[str, Iterable[Any]]

_NAMED = ("host", "file_name")


class IndexedTraces(NamedTuple):
    """Traces of one store, and what each is called; *records* are of sets with the column."""

    source: RowSource
    records: Sequence[TraceRecord]
    names: Sequence[str]


def label_of(trace: str, chunk: int) -> str:
    """Return the label of a partition."""
    return f"{trace}#{chunk}"


def partitions_of(column: IndexColumn, traces: IndexedTraces) -> list[ChunkValues]:
    """Return the partitions of *traces*, and what each has of *column*."""
    return list(_partitions(column.name, traces))


def index_of(column: IndexColumn, partitions: Iterable[ChunkValues]) -> IndexBase:
    """Return the index of *column* over *partitions*, which may be of several stores."""
    found: dict[Any, list[str]] = {}
    for label, values in partitions:
        for value in values:
            found.setdefault(value, []).append(label)
    dtype = column.type or _common_type(found)
    kind = PartitionIndex if column.partition else ExplicitSecondaryIndex
    return kind(column.name, _ordered(found), dtype=dtype)


def _partitions(column: str, part: IndexedTraces) -> Iterator[ChunkValues]:
    if column == "file":
        for record, name in zip(part.records, part.names, strict=True):
            for chunk in range(sum(segment.chunks for segment in record.segments)):
                yield label_of(name, chunk), (name,)
        return
    hashes = hash_tables(part.source, part.records) if column in _NAMED else None
    chunks = values_by_chunk(part.source, part.records, column, hashes)
    for name, of_trace in zip(part.names, chunks, strict=True):
        for chunk, values in enumerate(of_trace):
            yield label_of(name, chunk), values


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
