"""What a store holds of some traces, as it is stored, in a table with a row a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa

from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.query.source import RowSource, segment_rows
from dftindexd.index.store.layout import (
    AGGREGATION,
    CHECKPOINTS,
    CHUNK_STATS,
    HASH_TABLES,
    MANIFEST,
    SYSTEM_METRICS,
)
from dftindexd.index.tier_sets import Sets, best
from dftindexd.index.tiers.aggregation_schema import tier_key
from dftindexd.index.tiers.event_order import ORDER_SUFFIX

__all__ = ("segments_table",)

_OF_CHUNKS: Final = (CHECKPOINTS, CHUNK_STATS, HASH_TABLES)
_OF_TIER: Final = (AGGREGATION, SYSTEM_METRICS)
_EVENT_ORDER: Final = "event_order"


def segments_table(source: RowSource, sets: Mapping[bytes, Sets], wanted: TierConfig) -> pa.Table:
    """Return the rows of every segment of those traces that have a set with chunks, a manifest
    and the aggregation of *wanted*."""
    records = _records(sets, wanted)
    listed = list(records.values())
    columns: dict[str, pa.Array[Any]] = {
        "name": pa.array(list(records), pa.binary()),
        "record": pa.array(map(msgspec.msgpack.encode, listed), pa.large_binary()),
    }
    tier = b"" if wanted.aggregation is None else tier_key(wanted.aggregation)
    for families, suffix in ((_OF_CHUNKS, b""), (_OF_TIER, tier)):
        for family in families:
            values = segment_rows(source, family, listed, suffix)
            columns[family] = pa.array(values, pa.large_list(pa.large_binary()))
    orders = segment_rows(source, MANIFEST, listed, ORDER_SUFFIX)
    columns[_EVENT_ORDER] = pa.array(orders, pa.large_list(pa.large_binary()))
    return pa.table(columns)


def _records(sets: Mapping[bytes, Sets], wanted: TierConfig) -> dict[bytes, TraceRecord]:
    def has_all(tiers: TierConfig) -> bool:
        is_aggregated = tiers.aggregation is not None and tiers.aggregation == wanted.aggregation
        return tiers.checkpoints and tiers.manifest and is_aggregated

    found = ((name, best(one, has_all)) for name, one in sets.items())
    return {name: record for name, record in found if record is not None and not record.quarantined}
