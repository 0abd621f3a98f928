"""The sets ``events``, ``profiles`` and ``system``: the aggregation tier as views have it."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.query.selected import AnalyzerQuery, Part, analyzer_part
from dftindexd.index.query.source import RowSource, origin_of
from dftindexd.views.schema import LARGEST_TIME_US, TIME
from dftindexd.views.sets import VIEW_SETS

__all__ = ("AGGREGATED", "AggregatedSet", "aggregated_table")

Column: TypeAlias = "pa.ChunkedArray[Any]"
AggregatedSet: TypeAlias = Literal["events", "profiles", "system"]

#: The sets that come from the aggregation tier, each with the part of it that it shows.
AGGREGATED: Final[dict[AggregatedSet, Part]] = {
    "events": "events",
    "profiles": "profiles",
    "system": "metrics",
}

#: What only makes sense beside the question of an analyzer.
_LEFT_OUT: Final = frozenset(("acc_pat", "time_range"))
#: With it ``time_range`` is the bucket's begin, in microseconds from the origin.
_BY_MICROSECOND: Final = AnalyzerQuery(time_granularity=1e-6)


def aggregated_table(source: RowSource, prepared: PreparedRows, name: AggregatedSet) -> pa.Table:
    """Return one of the sets, for the records of *prepared*."""
    table = analyzer_part(source, prepared, AGGREGATED[name], _BY_MICROSECOND)
    if name == "system":
        begin = table["time_bucket"].cast(pa.int64())
        times = {"begin": begin, "end": pc.add(begin, prepared.tier.interval_us)}
        replaced = {"time_bucket"}
    else:
        origin = origin_of(prepared.records)
        times = {
            "time_bin": pc.add(table["time_range"].cast(pa.int64()), origin),
            "begin": pc.add(table["time_start"].cast(pa.int64()), origin),
            "end": pc.add(table["time_end"].cast(pa.int64()), origin),
        }
        replaced = {"time_start", "time_end"}
    columns = {
        column: table[column]
        for column in table.column_names
        if column not in replaced and column not in _LEFT_OUT
    }
    columns |= {column: _times(values) for column, values in times.items()}
    return pa.table({column: _plain(name, column, values) for column, values in columns.items()})


def _plain(name: str, column: str, values: Column) -> Column:
    """Return a column as its set has it; further columns without a dictionary."""
    documented = VIEW_SETS[name].arrow
    if column in documented.names:
        return values.cast(documented.field(column).type)
    is_coded = pa.types.is_dictionary(values.type)
    return values.cast(values.type.value_type) if is_coded else values


def _times(microseconds: Column) -> Column:
    largest = pa.scalar(LARGEST_TIME_US, pa.int64())
    bounded: Column = pc.min_element_wise(microseconds, largest, skip_nulls=False)
    times: Column = pc.multiply(bounded, 1000)
    return times.cast(TIME)
