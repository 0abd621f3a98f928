"""The columns of the analyzer's tables, computed from merged rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import QueryError
from dftindexd.index.model import AggregationTier
from dftindexd.index.query.columns import Column, Frame, NumberColumn, TextColumn
from dftindexd.index.query.io_categories import IO_CATEGORY_TABLES, OTHER, IoCategoryTable
from dftindexd.index.query.rows import Kind, Rows
from dftindexd.index.tiers.aggregation_schema import (
    NO_BUCKET,
    STATISTICS,
    extra_column,
    metric_column,
)
from dftindexd.index.tiers.groups import Array, Columns, group_rows
from dftindexd.index.tiers.sketches import PERCENTILES, Sketch

__all__ = (
    "FINE_COLUMNS",
    "STATISTIC_SUFFIXES",
    "UNUSED_STATISTICS",
    "Clock",
    "analyzer_frame",
    "clock_of",
    "extra_names",
    "metric_names",
    "metric_statistics",
    "percentile_column",
    "percentile_names",
    "sample_mean",
    "sample_std",
    "time_range_column",
    "to_int64",
)

#: The columns of a table without grouping, in order.
FINE_COLUMNS = (
    *("cat", "func_name", "pid", "tid", "file_hash", "host_hash", "file_name", "host_name"),
    *("proc_name", "io_cat", "acc_pat", "count", "time", "size", "time_min", "time_max"),
    *("size_min", "size_max", "offset_min", "offset_max", "time_range", "time_start", "time_end"),
)

STATISTIC_SUFFIXES = ("total", "min", "max", "mean", "std")

#: Names that a group key or custom metric cannot take; it is then called ``args.<name>``.
_TAKEN = frozenset(
    (
        *FINE_COLUMNS,
        *("name", "hhash", "fhash", "time_bucket", "batch_type", "ts", "te", "time_sq", "size_sq"),
        *("time_call_min", "time_call_max", "size_call_min", "size_call_max"),
        *(f"{quantity}_{suffix}" for quantity in ("dur", "size", "offset", "time")
          for suffix in (*STATISTIC_SUFFIXES, *PERCENTILES)),
    )
)  # fmt: skip

#: Stored statistics that no column of the analyzer's tables needs.
UNUSED_STATISTICS = frozenset(
    (
        *("dur_count", "dur_sq", "size_count", "size_sq"),
        *("offset_count", "offset_total", "offset_sq"),
    )
)

_INT64_MAX = np.uint64(2**63 - 1)


@dataclass(frozen=True, slots=True)
class Clock:
    """How times are told: from *origin*, in ranges of *width* microseconds, per *resolution*.

    With a *width* of 0 there is one range.
    """

    origin: int
    width: int
    resolution: float


def clock_of(origin: int, time_granularity: float, time_resolution: float) -> Clock:
    """Return the clock of a query; widths that are not finite are a QueryError."""
    width = time_granularity * time_resolution
    if not math.isfinite(width):
        raise QueryError(
            f"time_granularity {time_granularity} times time_resolution {time_resolution} "
            "is not finite",
            hint="give the width of a time range in seconds, and microseconds per unit",
        )
    return Clock(origin, min(max(math.trunc(width), 0), 2**62), time_resolution)


def extra_names(tier: AggregationTier) -> dict[str, str]:
    """Return the column of each extra group key in answers, and where it is stored."""
    return {(f"args.{key}" if key in _TAKEN else key): extra_column(key) for key in tier.group_keys}


def metric_names(tier: AggregationTier) -> dict[str, str]:
    """Return the prefix of each custom metric's columns in answers, and its stored quantity."""
    taken = _TAKEN | extra_names(tier).keys()
    names: dict[str, str] = {}
    for field in tier.custom_metric_fields:
        suffixes = (*STATISTIC_SUFFIXES, *PERCENTILES)
        clash = any(f"{field}_{suffix}" in taken for suffix in suffixes)
        names[f"args.{field}" if clash else field] = metric_column(field)
    return names


def to_int64(values: Array) -> npt.NDArray[np.int64]:
    """Return unsigned *values* as int64, those beyond it as its largest."""
    if values.dtype == np.uint64:
        return np.minimum(values, _INT64_MAX).astype(np.int64)
    return values.astype(np.int64, copy=False)


def sample_mean(columns: Columns, quantity: str) -> npt.NDArray[np.float64]:
    """Return total / count, 0 without samples."""
    count = columns[f"{quantity}_count"].astype(np.float64)
    total = columns[f"{quantity}_total"].astype(np.float64)
    return total / np.maximum(count, 1) * (count > 0)


def sample_std(columns: Columns, quantity: str) -> npt.NDArray[np.float64]:
    """Return the sample standard deviation, 0 below two samples, NaN where it is not known."""
    count = columns[f"{quantity}_count"].astype(np.float64)
    squares = columns[f"{quantity}_sq"]
    mean = sample_mean(columns, quantity)
    spread = np.maximum(squares - count * mean * mean, 0.0) / np.maximum(count - 1, 1)
    return np.where(np.isnan(squares), np.nan, np.sqrt(spread) * (count >= 2))


def metric_statistics(columns: Columns, quantity: str, suffix: str) -> NumberColumn:
    """Return one statistic of a custom metric, null where it has no sample."""
    seen = columns[f"{quantity}_min"] <= columns[f"{quantity}_max"]
    if suffix == "mean":
        return NumberColumn(sample_mean(columns, quantity), seen)
    if suffix == "std":
        std = sample_std(columns, quantity)
        return NumberColumn(std, seen & ~np.isnan(std))
    return NumberColumn(to_int64(columns[f"{quantity}_{suffix}"]), seen)


def percentile_names(tier: AggregationTier) -> dict[str, tuple[str, float]]:
    """Return the columns of the percentiles in answers: the quantity and the quantile of each."""
    if not tier.percentiles:
        return {}
    prefixes = {quantity: quantity for quantity in STATISTICS} | metric_names(tier)
    return {
        f"{prefix}_{suffix}": (quantity, quantile)
        for prefix, quantity in prefixes.items()
        for suffix, quantile in PERCENTILES.items()
    }


def percentile_column(
    sketch: Sketch, columns: Columns, quantity: str, quantile: float
) -> NumberColumn:
    """Return a percentile of the quantity that *sketch* is of, null where it has no sample."""
    least, greatest = (columns[f"{quantity}_{suffix}"] for suffix in ("min", "max"))
    return NumberColumn(*sketch.quantiles(quantile, least, greatest))


def time_range_column(buckets: Array, clock: Clock) -> NumberColumn:
    """Return the number of the time range of each bucket, null for rows without a time."""
    timed = buckets != NO_BUCKET
    if not clock.width:
        return NumberColumn(np.zeros(len(buckets), np.int64), timed)
    return NumberColumn(np.where(timed, buckets - clock.origin, 0) // clock.width, timed)


def analyzer_frame(
    rows: Rows,
    tier: AggregationTier,
    kind: Kind,
    clock: Clock,
    io_table: IoCategoryTable = "analyzer",
) -> Frame:
    """Return every column that a table, a filter or a grouping may name."""
    return Frame(rows.length, _Analyzer(rows, kind, clock, io_table).makers(tier))


class _Analyzer:
    def __init__(self, rows: Rows, kind: Kind, clock: Clock, io_table: IoCategoryTable) -> None:
        self._rows = rows
        self._columns = rows.columns
        self._kind = kind
        self._clock = clock
        self._io_table = IO_CATEGORY_TABLES[io_table]
        self._timed = rows.columns["bucket"] != NO_BUCKET

    def makers(self, tier: AggregationTier) -> dict[str, Callable[[], Column]]:
        makers: dict[str, Callable[[], Column]] = {
            "cat": lambda: self._text("cat"),
            "func_name": lambda: self._text("name"),
            "pid": lambda: self._integer("pid"),
            "tid": lambda: self._integer("tid"),
            "file_hash": lambda: self._text("fhash"),
            "host_hash": lambda: self._text("hhash"),
            "file_name": lambda: self._text("file_name"),
            "host_name": lambda: self._text("host_name"),
            "proc_name": self._proc_name,
            "io_cat": self._io_cat,
            "acc_pat": lambda: NumberColumn(np.zeros(self._rows.length, np.int64)),
            "count": lambda: self._integer("count"),
            "time": lambda: NumberColumn(self._seconds("dur_total")),
            "size": lambda: self._size("total"),
            "time_min": lambda: self._bound_time("min"),
            "time_max": lambda: self._bound_time("max"),
            "size_min": lambda: self._size("min"),
            "size_max": lambda: self._size("max"),
            "offset_min": lambda: self._offset("min"),
            "offset_max": lambda: self._offset("max"),
            "time_range": lambda: time_range_column(self._columns["bucket"], self._clock),
            "time_start": self._time_start,
            "time_end": self._time_end,
        }
        for name, stored in extra_names(tier).items():
            makers[name] = lambda stored=stored: self._text(stored)  # type: ignore[misc]
        for prefix, quantity in metric_names(tier).items():
            for suffix in STATISTIC_SUFFIXES:
                makers[f"{prefix}_{suffix}"] = lambda quantity=quantity, suffix=suffix: (
                    metric_statistics(  # type: ignore[misc]
                        self._columns, quantity, suffix
                    )
                )
        for name, (quantity, quantile) in percentile_names(tier).items():
            makers[name] = lambda quantity=quantity, quantile=quantile: (  # type: ignore[misc]
                percentile_column(self._rows.sketches[quantity], self._columns, quantity, quantile)
            )
        makers["name"] = makers["func_name"]
        makers["hhash"] = makers["host_hash"]
        makers["fhash"] = makers["file_hash"]
        makers["time_bucket"] = lambda: NumberColumn(self._columns["bucket"], self._timed)
        return makers

    def _text(self, name: str) -> TextColumn:
        return TextColumn(self._columns[name], self._rows.texts[name])

    def _integer(self, name: str) -> NumberColumn:
        return NumberColumn(to_int64(self._columns[name]))

    def _seconds(self, name: str) -> npt.NDArray[np.float64]:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._columns[name].astype(np.float64) / self._clock.resolution

    def _bound_time(self, suffix: str) -> NumberColumn:
        seen = self._columns["dur_min"] <= self._columns["dur_max"]
        return NumberColumn(np.where(seen, self._seconds(f"dur_{suffix}"), 0.0))

    def _size(self, suffix: str) -> NumberColumn:
        sized = self._columns["size_total"] > 0
        return NumberColumn(to_int64(self._columns[f"size_{suffix}"]), sized)

    def _offset(self, suffix: str) -> NumberColumn:
        seen = self._columns["offset_min"] <= self._columns["offset_max"]
        return NumberColumn(to_int64(self._columns[f"offset_{suffix}"]), seen)

    def _time_start(self) -> NumberColumn:
        name = "bucket" if self._kind == "profiles" else "ts"
        return NumberColumn(self._columns[name] - self._clock.origin, self._timed)

    def _time_end(self) -> NumberColumn:
        if self._kind == "profiles":
            start = self._columns["bucket"] - self._clock.origin
            return NumberColumn(start + self._clock.width, self._timed)
        return NumberColumn(self._columns["te"] - self._clock.origin, self._timed)

    def _io_cat(self) -> NumberColumn:
        by_name = [self._io_table.get(name, OTHER) for name in self._rows.texts["name"]]
        return NumberColumn(np.array(by_name, np.int64)[self._columns["name"]])

    def _proc_name(self) -> TextColumn:
        parts = [self._columns[name] for name in ("host_name", "hhash", "pid", "tid")]
        groups = group_rows(parts, self._rows.length)
        names, hashes = self._rows.texts["host_name"], self._rows.texts["hhash"]
        known: dict[str, int] = {}
        codes: list[int] = []
        firsts = (part[groups.first].tolist() for part in parts)
        for name, hash_, pid, tid in zip(*firsts, strict=True):
            process = f"app#{names[name] or hashes[hash_] or 'unknown'}#{pid}#{tid}"
            codes.append(known.setdefault(process, len(known)))
        return TextColumn(np.array(codes, np.int64)[groups.ids], list(known))
