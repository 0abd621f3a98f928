"""Tier 3, system metrics: means of the samples that the tracer's service takes of a host.

A sample is a counter of the category ``sys`` that does not stand for a number of calls. The stored
form is long: a row for each (host, name, bucket) with an empty ``metric`` that counts its samples,
and one for each numeric argument with the sum of its values. Sums merge by adding.

Key in ``system_metrics``: ``segment_key(segment, tier_key(config))``. Value: a frame
(:mod:`dftindexd.index.tiers.frames`).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from dftindexd.index.model import AggregationTier, Row
from dftindexd.index.store.layout import SYSTEM_METRICS, segment_key
from dftindexd.index.tiers.aggregation_schema import NO_BUCKET, check_tier, tier_key
from dftindexd.index.tiers.frames import FrameSchema, empty_frame, encode_frame
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
METRIC_SCHEMA: Final = FrameSchema(
    numbers=(
        ("bucket", "int64"),
        ("samples", "uint64"),
        ("total", "float64"),
        ("ts", "int64"),
        ("te", "int64"),
    ),
    texts=("hhash", "name", "metric"),
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

    @property
    def held(self) -> int:
        """About how many rows there are so far."""
        return self._rows.held

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
            return [(SYSTEM_METRICS, key, empty_frame(METRIC_SCHEMA))]
        return [(SYSTEM_METRICS, key, encode_frame(METRIC_SCHEMA, rows, texts.texts))]
