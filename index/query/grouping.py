"""Grouped answers: the rows of a table reduced to the columns that were asked for.

A *call* here is one fine row (one key, with its file and time bucket), so ``time_call_min`` and the
sums of squares are over row totals, as in dftracer-utils.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dftindexd.index.errors import QueryError
from dftindexd.index.model import AggregationTier
from dftindexd.index.query.answers import (
    STATISTIC_SUFFIXES,
    Clock,
    metric_names,
    metric_statistics,
    percentile_column,
    percentile_names,
    to_int64,
)
from dftindexd.index.query.columns import Column, Frame, NumberColumn, TextColumn, to_arrow
from dftindexd.index.query.predicate import nearest_hint
from dftindexd.index.query.rows import Rows
from dftindexd.index.tiers.aggregation_schema import NO_BUCKET, reductions
from dftindexd.index.tiers.groups import (
    UINT64_MAX,
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

__all__ = ("GROUP_COLUMNS", "check_group_by", "group_columns", "grouped_table", "take_first")

#: What a table of events or profiles may be grouped by, beside extra group keys.
GROUP_COLUMNS: Final = (
    *("cat", "func_name", "pid", "tid", "file_hash", "host_hash", "file_name", "host_name"),
    *("proc_name", "io_cat", "acc_pat", "time_range"),
)

_INT64_MAX: Final = 2**63 - 1


def check_group_by(group_by: Sequence[str], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return *group_by* without duplicates; a column that is not *allowed* is a QueryError."""
    if isinstance(group_by, str):
        raise QueryError(f"group_by is one text, {group_by!r}", hint="give a list of columns")
    for name in group_by:
        if name not in allowed:
            raise QueryError(f"unsupported group_by field: {name}", nearest_hint(name, allowed))
    return tuple(dict.fromkeys(group_by))


def group_columns(frame: Frame, names: Sequence[str]) -> Groups:
    """Return the groups of rows that are equal in the columns *names*; nulls are equal."""
    keys: list[Array] = []
    for name in names:
        column = frame[name]
        if isinstance(column, TextColumn):
            keys.append(column.codes)
        elif column.valid is None:
            keys.append(column.values)
        else:
            keys += [np.where(column.valid, column.values, 0), column.valid.astype(np.int8)]
    return group_rows(keys, frame.length)


def take_first(column: Column, groups: Groups) -> Column:
    """Return the value of a column that is the same within each group."""
    if isinstance(column, TextColumn):
        return TextColumn(column.codes[groups.first], column.values)
    valid = None if column.valid is None else column.valid[groups.first]
    return NumberColumn(column.values[groups.first], valid)


def grouped_table(
    frame: Frame, rows: Rows, tier: AggregationTier, group_by: Sequence[str], clock: Clock
) -> pa.Table:
    """Return *rows*, which *frame* describes, reduced to the columns *group_by*."""
    groups = group_columns(frame, group_by)
    columns: dict[str, Column] = {name: take_first(frame[name], groups) for name in group_by}
    columns |= _times_and_sizes(rows.columns, groups, clock)
    columns |= _metrics(rows.columns, groups, tier)
    columns |= _percentiles(rows, groups, tier)
    arrays: dict[str, pa.Array[Any]] = {name: to_arrow(made) for name, made in columns.items()}
    return pa.table(arrays)


class _Part:
    """Those rows of the groups that have something: a duration, bytes or a time."""

    def __init__(self, mask: npt.NDArray[np.bool_], groups: Groups) -> None:
        self._rows = slice(None) if mask.all() else np.flatnonzero(mask)
        self._groups = Groups(groups.ids[self._rows], groups.first)
        self.has = np.bincount(self._groups.ids, minlength=len(groups)) > 0

    def least(self, values: Array) -> Array:
        """Return the least value of each group, 0 for one without such rows."""
        limit = UINT64_MAX if values.dtype == np.uint64 else _INT64_MAX
        result = np.full(len(self._groups), limit, values.dtype)
        np.minimum.at(result, self._groups.ids, values[self._rows])
        return np.where(self.has, result, 0)

    def greatest(self, values: Array) -> Array:
        """Return the greatest of the values, which are not negative, of each group, else 0."""
        result = np.zeros(len(self._groups), values.dtype)
        np.maximum.at(result, self._groups.ids, values[self._rows])
        return result


def _times_and_sizes(rows: Columns, groups: Groups, clock: Clock) -> dict[str, Column]:
    every = _Part(np.ones(len(groups.ids), np.bool_), groups)
    sampled = _Part(rows["dur_min"] <= rows["dur_max"], groups)
    sized = _Part(rows["size_total"] > 0, groups)
    timed = _Part(rows["bucket"] != NO_BUCKET, groups)

    def seconds(values: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return values.astype(np.float64) / clock.resolution

    def times(values: Array) -> NumberColumn:
        return NumberColumn(seconds(values))

    def sizes(values: Array) -> NumberColumn:
        return NumberColumn(to_int64(values), sized.has)

    time, real_size = seconds(rows["dur_total"]), rows["size_total"].astype(np.float64)
    return {
        "count": NumberColumn(to_int64(exact_sums(rows["count"], groups))),
        "time": times(exact_sums(rows["dur_total"], groups)),
        "size": sizes(exact_sums(rows["size_total"], groups)),
        "time_sq": NumberColumn(float_sums(time * time, groups)),
        "size_sq": NumberColumn(float_sums(real_size * real_size, groups), sized.has),
        "time_min": times(sampled.least(rows["dur_min"])),
        "time_max": times(sampled.greatest(rows["dur_max"])),
        "size_min": sizes(sized.least(rows["size_min"])),
        "size_max": sizes(sized.greatest(rows["size_max"])),
        "time_call_min": times(every.least(rows["dur_total"])),
        "time_call_max": times(every.greatest(rows["dur_total"])),
        "size_call_min": sizes(sized.least(rows["size_total"])),
        "size_call_max": sizes(sized.greatest(rows["size_total"])),
        "time_start": NumberColumn(timed.least(rows["ts"]) - clock.origin, timed.has),
        "time_end": NumberColumn(timed.greatest(rows["te"]) - clock.origin, timed.has),
    }


def _percentiles(rows: Rows, groups: Groups, tier: AggregationTier) -> dict[str, Column]:
    sketches = {quantity: sketch.merged(groups.ids) for quantity, sketch in rows.sketches.items()}
    bounds: Columns = {}
    for quantity in sketches:
        bounds[f"{quantity}_min"] = minima(rows.columns[f"{quantity}_min"], groups)
        bounds[f"{quantity}_max"] = maxima(rows.columns[f"{quantity}_max"], groups)
    return {
        name: percentile_column(sketches[quantity], bounds, quantity, quantile)
        for name, (quantity, quantile) in percentile_names(tier).items()
    }


def _metrics(rows: Columns, groups: Groups, tier: AggregationTier) -> dict[str, Column]:
    names = metric_names(tier)
    if not names or not len(groups):
        return {
            f"{prefix}_{suffix}": metric_statistics(rows, quantity, suffix)
            for prefix, quantity in names.items()
            for suffix in STATISTIC_SUFFIXES
        }
    rules = {
        name: rule
        for name, rule in reductions(tier).items()
        if name.startswith(tuple(f"{quantity}_" for quantity in names.values()))
    }
    parts = {"group": groups.ids, **{name: rows[name] for name in rules}}
    merged = merge_rows(parts, ["group"], rules)
    return {
        f"{prefix}_{suffix}": metric_statistics(merged, quantity, suffix)
        for prefix, quantity in names.items()
        for suffix in STATISTIC_SUFFIXES
    }
