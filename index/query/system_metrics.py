"""System metrics: rows of means by host, name and bucket, and what the analyzer derives of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dftindexd.index.model import AggregationTier, TraceRecord
from dftindexd.index.query.answers import Clock, time_range_column, to_int64
from dftindexd.index.query.columns import Column, Frame, NumberColumn, TextColumn, to_arrow
from dftindexd.index.query.grouping import check_group_by, group_columns, take_first
from dftindexd.index.query.hash_names import DirectoryHashes
from dftindexd.index.query.predicate import filter_rows
from dftindexd.index.query.rows import read_stored
from dftindexd.index.query.source import RowSource
from dftindexd.index.store.layout import SYSTEM_METRICS
from dftindexd.index.tiers.aggregation_schema import NO_BUCKET, tier_key
from dftindexd.index.tiers.groups import (
    Array,
    Columns,
    Groups,
    exact_sums,
    float_sums,
    group_rows,
    maxima,
    merge_rows,
    minima,
)
from dftindexd.index.tiers.system_metrics import METRIC_KEYS, METRIC_REDUCTIONS, METRIC_SCHEMA

__all__ = ("DERIVED_COLUMNS", "derived_system_table", "system_metrics_table")

_RAW_GROUPS: Final = ("host_hash", "host_name", "name", "time_range", "time_bucket")
_DERIVED_GROUPS: Final = ("host_hash", "host_name", "time_range")
_QUANTILE: Final = 0.95

#: The derived columns that are means: column, name of the samples, metric.
_MEANS: Final = (
    ("sys_cpu_iowait_pct", "cpu", "iowait_pct"),
    ("sys_cpu_user_pct", "cpu", "user_pct"),
    ("sys_cpu_system_pct", "cpu", "system_pct"),
    ("sys_cpu_idle_pct", "cpu", "idle_pct"),
    ("sys_mem_dirty", "memory", "Dirty"),
    ("sys_mem_cached", "memory", "Cached"),
    ("sys_mem_available", "memory", "MemAvailable"),
)

#: The columns of the derived table beside its keys, in order.
DERIVED_COLUMNS: Final = (
    *("sys_cpu_iowait_pct", "sys_cpu_user_pct", "sys_cpu_system_pct", "sys_cpu_idle_pct"),
    *("sys_core_iowait_pct_max", "sys_core_iowait_pct_p95"),
    *("sys_mem_dirty", "sys_mem_cached", "sys_mem_available"),
)

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Samples:
    """Rows by (host, name, bucket), and their metrics: row, metric, number and sum of values."""

    length: int
    columns: Columns
    texts: dict[str, list[str]]
    row: Array
    metric: Array
    samples: Array
    total: Array

    def take(self, mask: _Mask) -> _Samples:
        kept = np.flatnonzero(mask)
        places = np.cumsum(mask) - 1
        entries = np.flatnonzero(mask[self.row])
        return _Samples(
            len(kept),
            {name: values[kept] for name, values in self.columns.items()},
            self.texts,
            places[self.row[entries]],
            self.metric[entries],
            self.samples[entries],
            self.total[entries],
        )

    def means(self, groups: Groups | None = None) -> dict[str, NumberColumn]:
        """Return the mean of each metric of each row, or group of rows, by bytewise name."""
        length = self.length if groups is None else len(groups)
        entries: Columns = {
            "row": self.row if groups is None else groups.ids[self.row],
            "metric": self.metric,
            "samples": self.samples,
            "total": self.total,
        }
        if len(self.row):
            entries = merge_rows(
                entries, ("row", "metric"), {"samples": "sum", "total": "float_sum"}
            )
        mean = entries["total"] / entries["samples"]
        order = np.argsort(entries["metric"], kind="stable")
        metrics = entries["metric"][order]
        found: dict[str, NumberColumn] = {}
        for code, name in sorted(enumerate(self.texts["metric"]), key=_bytewise):
            begin, end = np.searchsorted(metrics, [code, code + 1])
            if begin == end:
                continue
            values, valid = np.zeros(length), np.zeros(length, np.bool_)
            rows = entries["row"][order[begin:end]]
            values[rows], valid[rows] = mean[order[begin:end]], True
            found[name] = NumberColumn(values, valid)
        return found


def _bytewise(metric: tuple[int, str]) -> bytes:
    return metric[1].encode()


def _read_samples(
    source: RowSource,
    records: Sequence[TraceRecord],
    tier: AggregationTier,
    hashes: DirectoryHashes,
) -> _Samples:
    stored = read_stored(source, records, SYSTEM_METRICS, tier_key(tier), METRIC_SCHEMA)
    columns, texts = dict(stored.rows.columns), dict(stored.rows.texts)
    hosts = hashes.resolve("host", columns["hhash"], texts["hhash"], stored.traces)
    columns["host_name"], texts["host_name"] = hosts.codes, hosts.values
    if stored.rows.length:
        columns = merge_rows(columns, (*METRIC_KEYS, "host_name"), METRIC_REDUCTIONS)
    length = len(columns["bucket"])
    keys = ("hhash", "host_name", "name", "bucket")
    groups = group_rows([columns[key] for key in keys], length)
    counting = np.array([not name for name in texts["metric"]], np.bool_)
    heads = np.flatnonzero(counting[columns["metric"]]) if length else np.zeros(0, np.int64)
    # Every group has one row that counts its samples; put these in the order of the groups.
    heads = heads[np.argsort(groups.ids[heads])]
    entries = np.setdiff1d(np.arange(length), heads)
    return _Samples(
        len(heads),
        {name: values[heads] for name, values in columns.items()},
        texts,
        groups.ids[entries],
        columns["metric"][entries],
        columns["samples"][entries],
        columns["total"][entries],
    )


def _frame(samples: _Samples, clock: Clock) -> Frame:
    columns, texts = samples.columns, samples.texts
    timed = columns["bucket"] != NO_BUCKET

    def text(name: str) -> Callable[[], Column]:
        return lambda: TextColumn(columns[name], texts[name])

    def time(name: str) -> Callable[[], Column]:
        return lambda: NumberColumn(columns[name], timed)

    makers: dict[str, Callable[[], Column]] = {
        "host_hash": text("hhash"),
        "host_name": text("host_name"),
        "name": text("name"),
        "time_bucket": time("bucket"),
        "time_range": lambda: time_range_column(columns["bucket"], clock),
        "ts": time("ts"),
        "te": time("te"),
        "count": lambda: NumberColumn(to_int64(columns["samples"])),
    }
    aliases = {"hhash": makers["host_hash"], "func_name": makers["name"]}
    makers |= aliases
    for metric, mean in samples.means().items():
        name = f"args.{metric}" if metric in makers else metric
        makers[name] = lambda mean=mean: mean  # type: ignore[misc]
    return Frame(samples.length, makers)


def system_metrics_table(
    source: RowSource,
    records: Sequence[TraceRecord],
    tier: AggregationTier,
    hashes: DirectoryHashes,
    clock: Clock,
    *,
    query: str | None = None,
    group_by: Sequence[str] | None = None,
) -> pa.Table:
    """Return means of all metrics by host, name and bucket, or by *group_by*.

    Columns: ``host_hash``, ``name``, ``time_bucket`` (or those of *group_by*), ``ts``, ``te``,
    ``count`` (samples), then a double for each metric, bytewise by name, null where a row has none.
    """
    grouping = check_group_by(group_by or (), _RAW_GROUPS)
    samples = _read_samples(source, records, tier, hashes)
    frame = _frame(samples, clock)
    kept = filter_rows(frame, query)
    if kept is not None and not kept.all():
        samples = samples.take(kept)
        frame = _frame(samples, clock)
    if grouping:
        return _grouped_samples(samples, frame, grouping)
    names = ("host_hash", "name", "time_bucket", "ts", "te", "count")
    fixed = {name: to_arrow(frame[name]) for name in names}
    return pa.table(fixed | _metric_arrays(samples.means(), fixed))


def _grouped_samples(samples: _Samples, frame: Frame, group_by: Sequence[str]) -> pa.Table:
    groups = group_columns(frame, group_by)
    fixed = {name: to_arrow(take_first(frame[name], groups)) for name in group_by}
    timed = float_sums(samples.columns["bucket"] != NO_BUCKET, groups) > 0
    first, last = minima(samples.columns["ts"], groups), maxima(samples.columns["te"], groups)
    fixed["ts"] = to_arrow(NumberColumn(first, timed))
    fixed["te"] = to_arrow(NumberColumn(last, timed))
    counts = exact_sums(samples.columns["samples"], groups)
    fixed["count"] = to_arrow(NumberColumn(to_int64(counts)))
    return pa.table(fixed | _metric_arrays(samples.means(groups), fixed))


def _metric_arrays(
    means: dict[str, NumberColumn], fixed: dict[str, pa.Array[Any]]
) -> dict[str, pa.Array[Any]]:
    return {
        (f"args.{name}" if name in fixed else name): to_arrow(mean) for name, mean in means.items()
    }


def derived_system_table(
    source: RowSource,
    records: Sequence[TraceRecord],
    tier: AggregationTier,
    hashes: DirectoryHashes,
    clock: Clock,
    *,
    query: str | None = None,
    group_by: Sequence[str] | None = None,
) -> pa.Table:
    """Return the analyzer's ``sys_*`` columns by ``host_hash`` and ``time_range``, or *group_by*.

    Means and the quantile are over the rows of :func:`system_metrics_table`, as the analyzer takes
    them; other samples than of ``cpu``, ``cpu-*`` and ``memory`` have no part. Without *group_by*
    the query filters the derived rows, with it the rows of :func:`system_metrics_table`.
    """
    grouping = check_group_by(group_by or (), _DERIVED_GROUPS)
    samples = _read_samples(source, records, tier, hashes)
    samples = samples.take(_of_machine(samples))
    frame = _frame(samples, clock)
    if grouping:
        kept = filter_rows(frame, query)
        if kept is not None and not kept.all():
            samples = samples.take(kept)
            frame = _frame(samples, clock)
        derived = _derive(samples, frame, grouping)
        return pa.table({name: to_arrow(column) for name, column in derived.items()})
    derived = _derive(samples, frame, ("host_hash", "time_range"))
    arrays = {name: to_arrow(column) for name, column in derived.items()}
    makers = {name: _constant(column) for name, column in derived.items()}
    makers["hhash"] = makers["host_hash"]
    kept = filter_rows(Frame(len(arrays["host_hash"]), makers), query)
    table = pa.table(arrays)
    return table if kept is None else table.filter(pa.array(kept))


def _constant(column: Column) -> Callable[[], Column]:
    return lambda: column


def _of_machine(samples: _Samples) -> _Mask:
    names = samples.texts["name"]
    wanted = [name in ("cpu", "memory") or name.startswith("cpu-") for name in names]
    mask: _Mask = np.array(wanted, np.bool_)[samples.columns["name"]]
    return mask


def _derive(samples: _Samples, frame: Frame, group_by: Sequence[str]) -> dict[str, Column]:
    groups = group_columns(frame, group_by)
    derived = {name: take_first(frame[name], groups) for name in group_by}
    names, codes = samples.texts["name"], samples.columns["name"]
    means = samples.means()
    absent = NumberColumn(np.zeros(samples.length), np.zeros(samples.length, np.bool_))

    def picked(metric: str, wanted: Callable[[str], bool]) -> tuple[Array, Groups]:
        column = means.get(metric, absent)
        of_name = np.array([wanted(name) for name in names], np.bool_)[codes]
        rows = np.flatnonzero(of_name if column.valid is None else of_name & column.valid)
        return column.values[rows], Groups(groups.ids[rows], groups.first)

    columns: dict[str, Column] = {}
    for name, sampled, metric in _MEANS:
        columns[name] = _mean(*picked(metric, lambda text, sampled=sampled: text == sampled))  # type: ignore[misc]
    cores, core_groups = picked("iowait_pct", lambda text: text.startswith("cpu-"))
    columns["sys_core_iowait_pct_max"] = _quantile(cores, core_groups, 1.0)
    columns["sys_core_iowait_pct_p95"] = _quantile(cores, core_groups, _QUANTILE)
    return derived | {name: columns[name] for name in DERIVED_COLUMNS}


def _mean(values: Array, groups: Groups) -> NumberColumn:
    counts = np.bincount(groups.ids, minlength=len(groups))
    return NumberColumn(float_sums(values, groups) / np.maximum(counts, 1), counts > 0)


def _quantile(values: Array, groups: Groups, quantile: float) -> NumberColumn:
    """Return a quantile of each group with linear interpolation, null for an empty group."""
    counts = np.bincount(groups.ids, minlength=len(groups))
    if not len(values):
        return NumberColumn(np.zeros(len(groups)), counts > 0)
    ordered = values[np.lexsort((values, groups.ids))]
    place = np.maximum(counts - 1, 0) * quantile
    low = np.floor(place).astype(np.int64)
    begin = np.minimum(np.cumsum(counts) - counts + low, len(values) - 1)
    end = np.minimum(begin + (low + 1 < counts), len(values) - 1)
    result = ordered[begin] + (ordered[end] - ordered[begin]) * (place - low)
    return NumberColumn(result, counts > 0)
