"""The stored rows of the aggregation tier, read from all segments and merged by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import AggregationTier, TraceRecord
from dftindexd.index.query.hash_names import DirectoryHashes, HashKind
from dftindexd.index.query.source import RowSource, damaged_row, segment_rows
from dftindexd.index.store.layout import AGGREGATION
from dftindexd.index.tiers.aggregation_schema import (
    KIND_EVENT,
    KIND_PROFILE,
    KIND_SYSTEM,
    key_columns,
    quantities,
    reductions,
    row_schema,
    sketch_key,
    tier_key,
)
from dftindexd.index.tiers.frames import Frame, FrameSchema, decode_frame, join_frames
from dftindexd.index.tiers.groups import Columns, group_rows, merge_rows
from dftindexd.index.tiers.sketches import Sketch, decode_sketches, join_sketches

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
    """Rows as columns; a column named in ``texts`` holds codes into that list, -1 for null.

    ``sketches`` has the sketch of each quantity where the tier has percentiles.
    """

    length: int
    columns: Columns
    texts: dict[str, list[str]]
    sketches: Mapping[str, Sketch] = field(default_factory=dict)

    def take(self, mask: npt.NDArray[np.bool_]) -> Rows:
        """Return the rows where *mask*."""
        kept = np.flatnonzero(mask)
        columns = {name: values[kept] for name, values in self.columns.items()}
        sketches = {name: one.take(kept, self.length) for name, one in self.sketches.items()}
        return Rows(len(kept), columns, self.texts, sketches)


@dataclass(frozen=True, slots=True)
class StoredTable:
    """All rows of some segments, not merged; ``traces`` says whose a row is, by its position.

    ``lengths`` has the number of rows of each segment.
    """

    rows: Rows
    traces: npt.NDArray[np.int64]
    lengths: list[int]


def read_stored(
    source: RowSource,
    records: Sequence[TraceRecord],
    family: str,
    key: bytes,
    schema: FrameSchema,
) -> StoredTable:
    """Return the rows of *family* that *records* name; damage is a StoreDamagedError."""
    frames: list[Frame] = []
    counts: list[int] = []
    for record, values in zip(records, segment_rows(source, family, records, key), strict=True):
        try:
            decoded = [decode_frame(schema, value) for value in values]
        except StoreDamagedError as error:
            raise damaged_row(family, record, error.message) from error
        frames += decoded
        counts.append(sum(frame.length for frame in decoded))
    joined = join_frames(schema, frames)
    traces = np.repeat(np.arange(len(counts)), np.array(counts, np.int64))
    rows = Rows(joined.length, joined.columns, joined.texts)
    return StoredTable(rows, traces, [frame.length for frame in frames])


def _read_sketches(
    source: RowSource, records: Sequence[TraceRecord], tier: AggregationTier, lengths: Sequence[int]
) -> dict[str, Sketch]:
    """Return the sketches of all rows of *records*, so many in each of their segments."""
    names = quantities(tier)
    frames: list[Frame] = []
    stored = segment_rows(source, AGGREGATION, records, sketch_key(tier))
    for record, values in zip(records, stored, strict=True):
        try:
            for value in values:
                frames.append(decode_sketches(value, lengths[len(frames)], len(names)))
        except StoreDamagedError as error:
            raise damaged_row(AGGREGATION, record, error.message) from error
    return join_sketches(frames, lengths, names)


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
    if tier.percentiles:
        rows = replace(rows, sketches=_read_sketches(source, records, tier, stored.lengths))
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
    sketches = rows.sketches
    if sketches:
        merged = group_rows([columns[key] for key in keys], rows.length)
        sketches = {name: one.merged(merged.ids) for name, one in sketches.items()}
    if rows.length:
        columns = merge_rows(columns, keys, rules)
    return Rows(len(columns["kind"]), columns, texts, sketches)
