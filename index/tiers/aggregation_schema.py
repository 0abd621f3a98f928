"""The stored form of the aggregation tier: one Arrow record batch a segment and configuration.

A row is one key (kind, cat, name, pid, tid, hhash, fhash, bucket, extra group keys) with its
statistics over the records of one segment. Rows of several segments merge by adding counts, totals
and sums of squares and by taking minima and maxima, in any order (``docs/store-format.md``).

Key in ``aggregation``: ``segment_key(segment, tier_key(config))``. Value: an Arrow IPC stream.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
import pyarrow as pa

from dftindexd.index.model import AggregationTier

__all__ = (
    "KIND_EVENT",
    "KIND_PROFILE",
    "KIND_SYSTEM",
    "STATISTICS",
    "TEXT",
    "batch_from_ipc",
    "batch_to_ipc",
    "extra_column",
    "row_schema",
    "tier_key",
)

KIND_EVENT: Final = 0
KIND_PROFILE: Final = 1
KIND_SYSTEM: Final = 2

TEXT: Final = pa.dictionary(pa.int32(), pa.utf8())

#: The quantities with statistics; each has ``<q>_count``, ``_total``, ``_min``, ``_max`` and ``_sq``
#: (sum of squares). ``_min > _max`` says that no sample was seen. ``_sq`` is NaN where counters
#: contributed to a total without their squares being known.
STATISTICS: Final = ("dur", "size", "offset")


def extra_column(group_key: str) -> str:
    """Return the stored column of an extra group key."""
    return f"key:{group_key}"


def tier_key(config: AggregationTier) -> bytes:
    """Return the eight bytes that identify a configuration in keys."""
    return hashlib.blake2b(msgspec.json.encode(config), digest_size=8).digest()


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
    for quantity in STATISTICS:
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
    fields += [pa.field(extra_column(key), TEXT) for key in config.group_keys]
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
