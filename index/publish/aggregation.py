"""All rows of a store of dftracer-utils 0.0.12 that are of no trace alone: those of aggregation and
system metrics, merged over the traces, and the tables of hashes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from dftindexd.index.model import AggregationTier
from dftindexd.index.publish.aggregation_rows import (
    SHARDS,
    TextNumbers,
    completion_rows,
    event_rows,
    time_bounds,
)
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.registry_rows import hash_rows
from dftindexd.index.publish.system_rows import system_rows
from dftindexd.index.query.hash_names import merge_hash_tables
from dftindexd.index.tiers.aggregation_schema import NO_BUCKET, reductions, row_schema
from dftindexd.index.tiers.frames import FrameSchema, JoinedFrames, decode_frame, join_frames
from dftindexd.index.tiers.groups import Columns, merge_rows
from dftindexd.index.tiers.hash_tables import HashTables, decode_hash_tables
from dftindexd.index.tiers.system_metrics import METRIC_KEYS, METRIC_REDUCTIONS, METRIC_SCHEMA

__all__ = ("AggregatedTrace", "published_aggregation")

#: What rows have in common that are one there: further keys are left out.
_KEYS: Final = ("kind", "cat", "name", "pid", "tid", "hhash", "fhash", "bucket")
_KINDS: Final = ("file", "host", "string", "proc")


class AggregatedTrace(msgspec.Struct, frozen=True):
    """The rows of a trace, one a segment: its hash tables, its aggregation, its system metrics."""

    hash_tables: list[bytes]
    aggregation: list[bytes]
    system_metrics: list[bytes]


def published_aggregation(
    traces: Sequence[AggregatedTrace], tier: AggregationTier, part: int = 0, parts: int = 1
) -> list[PublishedRow]:
    """Return the rows of *traces*, which have the numbers from 1 on; of several *parts*, all keys
    of each family that one has lie before those of the next, and the last has all of what is
    little.

    :raises StoreDamagedError: a row does not decode.
    """
    stored = [value for trace in traces for value in trace.aggregation]
    events = _joined(row_schema(tier), stored)
    metrics = _joined(METRIC_SCHEMA, [value for one in traces for value in one.system_metrics])
    bounds = time_bounds([events.columns["bucket"], metrics.columns["bucket"]])
    for joined in (events, metrics):
        _place_timeless(joined.columns, 0 if bounds is None else bounds[0])
    numbers = TextNumbers()
    rows: list[PublishedRow] = []
    if events.length:
        columns = _without_more_keys(events.columns, tier)
        shards = range(SHARDS * part // parts, SHARDS * (part + 1) // parts)
        rows += event_rows(columns, events.texts, numbers, shards)
    if part + 1 < parts:
        return rows
    if metrics.length:
        merged = merge_rows(metrics.columns, METRIC_KEYS, METRIC_REDUCTIONS)
        rows += system_rows(merged, metrics.texts)
    rows += numbers.rows()
    rows += completion_rows(range(1, len(traces) + 1), tier.interval_us, bounds)
    return rows + hash_rows(_named(traces))


def _joined(schema: FrameSchema, values: Sequence[bytes]) -> JoinedFrames:
    return join_frames(schema, [decode_frame(schema, value) for value in values])


def _place_timeless(columns: Columns, bucket: int) -> None:
    """Put records without a time into the first bucket: there is no other place for them."""
    columns["bucket"] = np.where(columns["bucket"] == NO_BUCKET, bucket, columns["bucket"])


def _without_more_keys(columns: Columns, tier: AggregationTier) -> Columns:
    kept = {**{key: columns[key] for key in _KEYS}}
    rules = {name: rule for name, rule in reductions(tier).items() if "metric:" not in name}
    return merge_rows(kept | {name: columns[name] for name in rules}, _KEYS, rules)


def _named(traces: Sequence[AggregatedTrace]) -> list[dict[str, str]]:
    """Return what hashes of each kind stand for; of one that traces name differently nobody could
    say for which of them, so it has no name."""
    own = [_tables(trace) for trace in traces]
    merged = merge_hash_tables(own).merged
    tables: list[dict[str, str]] = [getattr(merged, kind) for kind in _KINDS]
    return [{key: name for key, name in table.items() if key and name} for table in tables]


def _tables(trace: AggregatedTrace) -> HashTables:
    tables = HashTables()
    for value in trace.hash_tables:
        segment = decode_hash_tables(value)
        for kind in _KINDS:
            table: dict[str, str] = getattr(tables, kind)
            for hash_, name in getattr(segment, kind).items():
                table.setdefault(hash_, name)
    return tables
