"""Answers from the aggregation tier. ``docs/aggregation.md`` describes their columns.

All functions are pure over a :class:`RowSource`. *records* are the traces that the answer is of:
those of the directory that was asked for, as far as the caller may read them. The time origin and
the hash tables come from them and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dftindexd.index.model import AggregationTier, TraceRecord
from dftindexd.index.query.answers import (
    FINE_COLUMNS,
    STATISTIC_SUFFIXES,
    analyzer_frame,
    clock_of,
    extra_names,
    metric_names,
    metric_statistics,
    percentile_column,
    percentile_names,
    sample_mean,
    sample_std,
)
from dftindexd.index.query.columns import TextColumn, to_arrow
from dftindexd.index.query.grouping import GROUP_COLUMNS, check_group_by, grouped_table
from dftindexd.index.query.hash_names import hash_tables
from dftindexd.index.query.io_categories import IoCategoryTable
from dftindexd.index.query.predicate import filter_rows
from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.query.rows import KINDS, Kind, Rows, read_rows
from dftindexd.index.query.source import RowSource, origin_of
from dftindexd.index.query.system_metrics import derived_system_table
from dftindexd.index.tiers.aggregation_schema import NO_BUCKET, STATISTICS
from dftindexd.index.tiers.groups import Array, Columns

__all__ = ("Kind", "dfanalyzer_table", "hash_tables", "read_aggregation")


def read_aggregation(
    source: RowSource, records: Sequence[TraceRecord], tier: AggregationTier, kind: Kind
) -> pa.Table:
    """Return the rows of one kind, merged by key, with hashes as they are.

    ``system`` has the counters of ``sys`` that stand for a number of calls; the samples of the
    system metrics are in :func:`dftindexd.index.query.system_metrics.system_metrics_table`.
    """
    rows = read_rows(source, records, tier, kind)
    columns = rows.columns
    timed = columns["bucket"] != NO_BUCKET
    arrays: dict[str, pa.Array[Any]] = {
        "batch_type": pa.array(np.full(rows.length, KINDS[kind], np.int64)),
        "cat": _text(rows, "cat"),
        "name": _text(rows, "name"),
        "pid": pa.array(columns["pid"]),
        "tid": pa.array(columns["tid"]),
        "hhash": _text(rows, "hhash"),
        "fhash": _text(rows, "fhash"),
        "time_bucket": _time(columns["bucket"], timed),
        "count": pa.array(columns["count"]),
    }
    for quantity in STATISTICS:
        arrays |= _statistics(columns, quantity)
    arrays["ts"] = _time(columns["ts"], timed)
    arrays["te"] = _time(columns["te"], timed)
    for name, stored in extra_names(tier).items():
        arrays[name] = _text(rows, stored)
    for prefix, quantity in metric_names(tier).items():
        for suffix in STATISTIC_SUFFIXES:
            made = to_arrow(metric_statistics(columns, quantity, suffix))
            integral = suffix in ("total", "min", "max")
            arrays[f"{prefix}_{suffix}"] = made.cast(pa.uint64()) if integral else made
    for name, (quantity, quantile) in percentile_names(tier).items():
        sketch = rows.sketches[quantity]
        arrays[name] = to_arrow(percentile_column(sketch, columns, quantity, quantile))
    return pa.table(arrays)


def _text(rows: Rows, name: str) -> pa.Array[Any]:
    return to_arrow(TextColumn(rows.columns[name], rows.texts[name]))


def _time(values: Array, timed: Array) -> pa.Array[Any]:
    return pa.array(np.where(timed, values, 0).astype(np.uint64), mask=~timed)


def _statistics(columns: Columns, quantity: str) -> dict[str, pa.Array[Any]]:
    """Return the statistics of a quantity: offsets are null without a sample, the others 0."""
    seen = columns[f"{quantity}_min"] <= columns[f"{quantity}_max"]
    absent = ~seen if quantity == "offset" else None
    std = sample_std(columns, quantity)
    unknown = np.isnan(std) if absent is None else np.isnan(std) | absent
    return {
        f"{quantity}_total": pa.array(columns[f"{quantity}_total"], mask=absent),
        f"{quantity}_min": pa.array(np.where(seen, columns[f"{quantity}_min"], 0), mask=absent),
        f"{quantity}_max": pa.array(columns[f"{quantity}_max"], mask=absent),
        f"{quantity}_mean": pa.array(sample_mean(columns, quantity), mask=absent),
        f"{quantity}_std": pa.array(std, mask=unknown),
    }


def dfanalyzer_table(
    source: RowSource,
    records: Sequence[TraceRecord],
    tier: AggregationTier,
    kind: Kind,
    *,
    query: str | None = None,
    group_by: Sequence[str] | None = None,
    time_granularity: float = 1.0,
    time_resolution: float = 1e6,
    io_cat_table: IoCategoryTable = "analyzer",
    prepared: PreparedRows | None = None,
) -> pa.Table:
    """Return the analyzer's table of one kind: fine rows, or merged by *group_by*.

    *time_granularity* is the width of a time range in units of *time_resolution* microseconds.
    *prepared* are the rows of the same *records* and *tier* where the caller keeps them. ``system``
    is the derived table of :func:`derived_system_table`. A bad *query* or *group_by* is a
    QueryError.
    """
    clock = clock_of(origin_of(records), time_granularity, time_resolution)
    prepared = prepared or PreparedRows(records, tier)
    if kind == "system":
        hashes = prepared.hashes(source)
        return derived_system_table(
            source, records, tier, hashes, clock, query=query, group_by=group_by
        )
    extras = tuple(extra_names(tier))
    grouping = check_group_by(group_by or (), (*GROUP_COLUMNS, *extras))
    rows = prepared.rows(source, kind)
    frame = analyzer_frame(rows, tier, kind, clock, io_cat_table)
    kept = filter_rows(frame, query)
    if kept is not None and not kept.all():
        rows = rows.take(kept)
        frame = analyzer_frame(rows, tier, kind, clock, io_cat_table)
    if grouping:
        return grouped_table(frame, rows, tier, grouping, clock)
    metrics = tuple(
        f"{prefix}_{suffix}" for prefix in metric_names(tier) for suffix in STATISTIC_SUFFIXES
    )
    names = (*FINE_COLUMNS, *extras, *metrics, *percentile_names(tier))
    return pa.table({name: to_arrow(frame[name]) for name in names})
