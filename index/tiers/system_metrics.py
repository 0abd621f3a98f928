"""Tier 3, system metrics: means of the samples that the tracer's service takes of a host.

A sample is a counter of the category ``sys`` that does not stand for a number of calls. The stored
form is long: a row for each (host, name, bucket) with an empty ``metric`` that counts its samples,
and one for each numeric argument with the sum of its values. Sums merge by adding.

Key in ``system_metrics``: ``segment_key(segment, tier_key(config))``. Value: an Arrow IPC stream.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dftindexd.index.model import AggregationTier, Row
from dftindexd.index.store.layout import SYSTEM_METRICS, segment_key
from dftindexd.index.tiers.aggregation import text_column
from dftindexd.index.tiers.aggregation_schema import (
    NO_BUCKET,
    TEXT,
    batch_to_ipc,
    check_tier,
    tier_key,
)
from dftindexd.index.tiers.groups import Array, Columns, Reduction, RowAccumulator
from dftindexd.index.tiers.record_kinds import KIND_METRIC, Arguments, record_kinds
from dftindexd.index.trace.columns import HAS_TS, Interner, RecordColumns

__all__ = ("METRIC_KEYS", "METRIC_REDUCTIONS", "METRIC_SCHEMA", "SystemMetricsBuilder")

METRIC_KEYS: Final = ("hhash", "name", "bucket", "metric")

METRIC_REDUCTIONS: Final[dict[str, Reduction]] = {
    "samples": "sum",
    "total": "float_sum",
    "ts": "min",
    "te": "max",
}

#: ``ts`` and ``te`` are the times of the first and the last sample, in microseconds.
METRIC_SCHEMA: Final = pa.schema(
    [
        pa.field("hhash", TEXT, nullable=False),
        pa.field("name", TEXT, nullable=False),
        pa.field("bucket", pa.int64(), nullable=False),
        pa.field("metric", TEXT, nullable=False),
        pa.field("samples", pa.uint64(), nullable=False),
        pa.field("total", pa.float64(), nullable=False),
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("te", pa.int64(), nullable=False),
    ]
)


class SystemMetricsBuilder:
    """Builds the system metrics of one segment from blocks of its records."""

    def __init__(self, config: AggregationTier) -> None:
        check_tier(config)
        self._config = config
        self._rows = RowAccumulator(METRIC_KEYS, METRIC_REDUCTIONS)

    @property
    def min_bucket(self) -> int | None:
        """The smallest bucket so far; samples without a timestamp do not count."""
        rows = self._rows.result()
        if rows is None:
            return None
        buckets = rows["bucket"][rows["bucket"] != NO_BUCKET]
        return int(buckets.min()) if len(buckets) else None

    def add(self, columns: RecordColumns, texts: Interner) -> None:
        """Take in a block of records; all but samples of the system metrics are ignored."""
        if not len(columns):
            return
        samples = record_kinds(columns, Arguments(columns, texts), texts) == KIND_METRIC
        records = np.flatnonzero(samples)
        if not len(records):
            return
        self._add(columns, records, np.zeros(len(records), np.int32), np.zeros(len(records)))
        # An argument without a name would pass for the row that counts the samples.
        named = (columns.arg_text < 0) & (columns.arg_key != 0)
        numeric = np.flatnonzero(samples[columns.arg_row] & named)
        self._add(
            columns,
            columns.arg_row[numeric],
            columns.arg_key[numeric],
            columns.arg_float[numeric],
        )

    def _add(self, columns: RecordColumns, records: Array, metric: Array, value: Array) -> None:
        ts = columns.ts[records]
        timed = (columns.has[records] & HAS_TS) != 0
        width = max(self._config.interval_us, 1)
        rows: Columns = {
            "hhash": columns.hhash[records],
            "name": columns.name[records],
            "bucket": np.where(timed, ts // width * width, NO_BUCKET),
            "metric": metric,
            "samples": np.ones(len(records), np.uint64),
            "total": value,
            "ts": np.where(timed, ts, 0),
            "te": np.where(timed, ts, 0),
        }
        self._rows.add(rows)

    def rows(self, segment_id: int, texts: Interner) -> list[Row]:
        """Return the one row of a segment, also where it has no samples."""
        rows = self._rows.result()
        key = segment_key(segment_id, tier_key(self._config))
        if rows is None:
            return [(SYSTEM_METRICS, key, _no_samples())]
        arrays = [_stored(field, rows[field.name], texts) for field in METRIC_SCHEMA]
        batch = pa.RecordBatch.from_arrays(arrays, schema=METRIC_SCHEMA)
        return [(SYSTEM_METRICS, key, batch_to_ipc(batch))]


@cache
def _no_samples() -> bytes:
    arrays = [pa.array([], field.type) for field in METRIC_SCHEMA]
    return batch_to_ipc(pa.RecordBatch.from_arrays(arrays, schema=METRIC_SCHEMA))


def _stored(field: pa.Field[Any], values: Array, texts: Interner) -> pa.Array[Any]:
    if pa.types.is_dictionary(field.type):
        return text_column(values, texts.texts)
    stored: pa.Array[Any] = pa.array(values, field.type)
    return stored
