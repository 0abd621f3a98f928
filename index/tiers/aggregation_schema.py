"""The stored form of the aggregation tier: one Arrow record batch a segment and configuration.

A row is one key (kind, cat, name, pid, tid, hhash, fhash, bucket, extra group keys) with its
statistics over the records of one segment. Rows of several segments merge by adding counts, totals
and sums of squares and by taking minima and maxima, in any order (``docs/store-format.md``).

Key in ``aggregation``: ``segment_key(segment, tier_key(config))``. Value: an Arrow IPC stream.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import msgspec
import pyarrow as pa

from dftindexd.index.errors import CoreError
from dftindexd.index.model import AggregationTier
from dftindexd.index.tiers.groups import Reduction

__all__ = (
    "KIND_EVENT",
    "KIND_PROFILE",
    "KIND_SYSTEM",
    "NO_BUCKET",
    "STATISTICS",
    "TEXT",
    "batch_from_ipc",
    "batch_to_ipc",
    "check_tier",
    "extra_column",
    "key_columns",
    "metric_column",
    "quantities",
    "reductions",
    "row_schema",
    "tier_key",
)

KIND_EVENT: Final = 0
KIND_PROFILE: Final = 1
KIND_SYSTEM: Final = 2

#: The bucket of records without a timestamp. It has no part in the time origin.
NO_BUCKET: Final = -1

TEXT: Final = pa.dictionary(pa.int32(), pa.utf8())

#: The quantities with statistics; each has ``<q>_count``, ``_total``, ``_min``, ``_max`` and
#: ``_sq`` (sum of squares). ``_min > _max`` says that no sample was seen. ``_sq`` is NaN where
#: counters contributed to a total without their squares being known.
STATISTICS: Final = ("dur", "size", "offset")

_KEYS: Final = ("kind", "cat", "name", "pid", "tid", "hhash", "fhash", "bucket")


def check_tier(config: AggregationTier) -> None:
    """Refuse a configuration that cannot be built with a CoreError."""
    if config.percentiles:
        raise CoreError(
            "percentiles are not supported by the aggregation tier",
            hint="set compute_percentiles to false",
        )
    if config.interval_us < 0:
        raise CoreError(
            f"the aggregation interval is negative: {config.interval_us} us",
            hint="give a time_interval_ms of 0 or more",
        )


def extra_column(group_key: str) -> str:
    """Return the stored column of an extra group key."""
    return f"key:{group_key}"


def metric_column(field: str) -> str:
    """Return the stored quantity of a custom metric field."""
    return f"metric:{field}"


def quantities(config: AggregationTier) -> tuple[str, ...]:
    """Return every quantity that has statistics, custom metrics last."""
    metrics = (metric_column(field) for field in config.custom_metric_fields)
    return tuple(dict.fromkeys((*STATISTICS, *metrics)))


def key_columns(config: AggregationTier) -> tuple[str, ...]:
    """Return the columns that together are the key of a row."""
    return tuple(dict.fromkeys((*_KEYS, *(extra_column(key) for key in config.group_keys))))


def reductions(config: AggregationTier) -> dict[str, Reduction]:
    """Return how each column that is not of the key merges."""
    rules: dict[str, Reduction] = {"count": "sum"}
    for quantity in quantities(config):
        rules[f"{quantity}_count"] = "sum"
        rules[f"{quantity}_total"] = "sum"
        rules[f"{quantity}_min"] = "min"
        rules[f"{quantity}_max"] = "max"
        rules[f"{quantity}_sq"] = "float_sum"
    rules["ts"] = "min"
    rules["te"] = "max"
    return rules


@cache
def tier_key(config: AggregationTier) -> bytes:
    """Return the eight bytes that identify a configuration in keys."""
    return hashlib.blake2b(msgspec.json.encode(config), digest_size=8).digest()


@cache
def row_schema(config: AggregationTier) -> pa.Schema:
    """Return the schema of a stored batch: no column holds nulls but the extra group keys."""
    fields = [
        pa.field("kind", pa.uint8(), nullable=False),
        pa.field("cat", TEXT, nullable=False),
        pa.field("name", TEXT, nullable=False),
        pa.field("pid", pa.uint64(), nullable=False),
        pa.field("tid", pa.uint64(), nullable=False),
        pa.field("hhash", TEXT, nullable=False),
        pa.field("fhash", TEXT, nullable=False),
        pa.field("bucket", pa.int64(), nullable=False),
        pa.field("count", pa.uint64(), nullable=False),
    ]
    for quantity in quantities(config):
        fields += [
            pa.field(f"{quantity}_count", pa.uint64(), nullable=False),
            pa.field(f"{quantity}_total", pa.uint64(), nullable=False),
            pa.field(f"{quantity}_min", pa.uint64(), nullable=False),
            pa.field(f"{quantity}_max", pa.uint64(), nullable=False),
            pa.field(f"{quantity}_sq", pa.float64(), nullable=False),
        ]
    fields += [
        pa.field("ts", pa.int64(), nullable=False),
        pa.field("te", pa.int64(), nullable=False),
    ]
    fields += [pa.field(name, TEXT) for name in key_columns(config)[len(_KEYS) :]]
    return pa.schema(fields)


def batch_to_ipc(batch: pa.RecordBatch) -> bytes:
    """Return *batch* as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def batch_from_ipc(value: bytes) -> pa.RecordBatch:
    """Return the one batch of a stored value; its columns view *value* without a copy."""
    with pa.ipc.open_stream(value) as reader:
        return reader.read_next_batch()
