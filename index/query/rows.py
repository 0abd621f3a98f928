"""The stored rows of the aggregation tier, read from all segments and merged by key."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dftindexd.index.model import AggregationTier, TraceRecord
from dftindexd.index.query.hash_names import DirectoryHashes, HashKind
from dftindexd.index.query.source import RowSource, damaged_row, segment_rows
from dftindexd.index.store.layout import AGGREGATION
from dftindexd.index.tiers.aggregation_schema import (
    KIND_EVENT,
    KIND_PROFILE,
    KIND_SYSTEM,
    batch_from_ipc,
    key_columns,
    reductions,
    row_schema,
    tier_key,
)
from dftindexd.index.tiers.groups import Array, Columns, merge_rows

__all__ = ("KINDS", "Kind", "Rows", "StoredTable", "read_rows", "read_stored")

Kind: TypeAlias = Literal["events", "profiles", "system"]

KINDS: Final[dict[Kind, int]] = {
    "events": KIND_EVENT,
    "profiles": KIND_PROFILE,
    "system": KIND_SYSTEM,
}


_NAMES: Final[tuple[tuple[HashKind, str, str], ...]] = (
    ("file", "fhash", "file_name"),
    ("host", "hhash", "host_name"),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as columns; a column named in ``texts`` holds codes into that list, -1 for null."""

    length: int
    columns: Columns
    texts: dict[str, list[str]]

    def take(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """Return the rows where *mask*."""
        kept = np.flatnonzero(mask)
        columns = {name: values[kept] for name, values in self.columns.items()}
        return Rows(len(kept), columns, self.texts)


@dataclass(frozen=True, slots=True)
class StoredTable:
    """All rows of some segments, not merged; ``traces`` says whose a row is, by its position."""

    rows: Rows
    traces: npt.NDArray[np.int64]


def read_stored(
    source: RowSource, records: Sequence[TraceRecord], family: str, key: bytes, schema: pa.Schema
) -> StoredTable:
    """Return the rows of *family* that *records* name; damage is a StoreDamagedError."""
    batches: list[pa.RecordBatch] = []
    lengths: list[int] = []
    for record, values in zip(records, segment_rows(source, family, records, key), strict=True):
        decoded = [_decode(value, family, record, schema) for value in values]
        batches += decoded
        lengths.append(sum(batch.num_rows for batch in decoded))
    table = pa.Table.from_batches(batches, schema).unify_dictionaries()
    columns: Columns = {}
    texts: dict[str, list[str]] = {}
    for field, column in zip(schema, table.columns, strict=True):
        if pa.types.is_dictionary(field.type):
            columns[field.name], texts[field.name] = _text_codes(column)
        else:
            columns[field.name] = column.to_numpy()
    traces = np.repeat(np.arange(len(lengths)), np.array(lengths, np.int64))
    return StoredTable(Rows(table.num_rows, columns, texts), traces)


def _decode(value: bytes, family: str, record: TraceRecord, schema: pa.Schema) -> pa.RecordBatch:
    try:
        batch = batch_from_ipc(value)
    except (pa.ArrowException, StopIteration, OSError) as error:
        raise damaged_row(family, record, f"a row does not decode: {error}") from error
    if not batch.schema.equals(schema):
        raise damaged_row(family, record, "a row has other columns than its configuration")
    return batch


def _text_codes(column: pa.ChunkedArray[Any]) -> tuple[Array, list[str]]:
    if not column.num_chunks:
        return np.zeros(0, np.int64), []
    array = cast("pa.DictionaryArray[Any, Any]", pa.concat_arrays(column.chunks))
    indices = array.indices.fill_null(-1) if array.null_count else array.indices
    texts: list[Any] = array.dictionary.to_pylist()
    return indices.to_numpy().astype(np.int64), texts


def read_rows(
    source: RowSource,
    records: Sequence[TraceRecord],
    tier: AggregationTier,
    kind: Kind,
    hashes: DirectoryHashes | None = None,
    *,
    without: Collection[str] = (),
) -> Rows:
    """Return the rows of one kind, merged by key over all segments of *records*.

    With *hashes* they get the columns ``file_name`` and ``host_name``, and rows whose hash names
    different things in different traces stay apart. Statistics of *without* are left out.
    """
    stored = read_stored(source, records, AGGREGATION, tier_key(tier), row_schema(tier))
    rows, traces = stored.rows, stored.traces
    wanted = rows.columns["kind"] == KINDS[kind]
    if not wanted.all():
        rows, traces = rows.take(wanted), traces[wanted]
    keys = list(key_columns(tier))
    rules = {name: rule for name, rule in reductions(tier).items() if name not in without}
    columns, texts = {name: rows.columns[name] for name in (*keys, *rules)}, dict(rows.texts)
    if hashes is not None:
        for table, hash_column, name_column in _NAMES:
            codes = columns[hash_column]
            resolved = hashes.resolve(table, codes, texts[hash_column], traces)
            columns[name_column], texts[name_column] = resolved.codes, resolved.values
            keys.append(name_column)
    if rows.length:
        columns = merge_rows(columns, keys, rules)
    return Rows(len(columns["kind"]), columns, texts)
