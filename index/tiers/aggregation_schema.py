"""The stored form of the aggregation tier: one frame a segment and configuration.

A row is one key (kind, cat, name, pid, tid, hhash, fhash, bucket, extra group keys) with its
statistics over the records of one segment. Rows of several segments merge by adding counts, totals
and sums of squares and by taking minima and maxima, in any order (``docs/store-format.md``).

Key in ``aggregation``: ``segment_key(segment, tier_key(config))``. Value: a frame
(:mod:`dftindexd.index.tiers.frames`). With percentiles there is another of the sketches, whose key
ends with :func:`sketch_key`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import msgspec

from dftindexd.index.errors import CoreError
from dftindexd.index.model import AggregationTier
from dftindexd.index.tiers.frames import FrameSchema, NumberType
from dftindexd.index.tiers.groups import Reduction

__all__ = (
    "KIND_EVENT",
    "KIND_PROFILE",
    "KIND_SYSTEM",
    "NO_BUCKET",
    "STATISTICS",
    "check_tier",
    "extra_column",
    "key_columns",
    "metric_column",
    "quantities",
    "reductions",
    "row_schema",
    "sketch_key",
    "tier_key",
)

KIND_EVENT: Final = 0
KIND_PROFILE: Final = 1
KIND_SYSTEM: Final = 2

#: The bucket of records without a timestamp. It has no part in the time origin.
NO_BUCKET: Final = -1

#: The quantities with statistics; each has ``<q>_count``, ``_total``, ``_min``, ``_max`` and
#: ``_sq`` (sum of squares). ``_min > _max`` says that no sample was seen. ``_sq`` is NaN where
#: counters contributed to a total without their squares being known.
STATISTICS: Final = ("dur", "size", "offset")

_SKETCHES: Final = b"sketches"

_KEYS: Final = ("kind", "cat", "name", "pid", "tid", "hhash", "fhash", "bucket")


def check_tier(config: AggregationTier) -> None:
    """Refuse a configuration that cannot be built with a CoreError."""
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


def sketch_key(config: AggregationTier) -> bytes:
    """Return what identifies the sketches of a configuration with percentiles in keys."""
    return tier_key(config) + _SKETCHES


@cache
def row_schema(config: AggregationTier) -> FrameSchema:
    """Return the columns of a stored frame: the extra group keys may be null."""
    numbers: list[tuple[str, NumberType]] = [
        ("kind", "uint64"),
        ("pid", "uint64"),
        ("tid", "uint64"),
        ("bucket", "int64"),
        ("count", "uint64"),
        ("ts", "int64"),
        ("te", "int64"),
    ]
    for quantity in quantities(config):
        numbers += [(f"{quantity}_{what}", "uint64") for what in ("count", "total", "min", "max")]
    numbers += [(f"{quantity}_sq", "float64") for quantity in quantities(config)]
    texts = ("cat", "name", "hhash", "fhash")
    return FrameSchema(tuple(numbers), texts, key_columns(config)[len(_KEYS) :])
