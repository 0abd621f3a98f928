"""Traces as a daemon has them indexed, for a store in another format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from dftindexd.client.sync_client import Client
from dftindexd.index.model import AggregationTier, FileStamp, TierConfig, TraceRecord
from dftindexd.index.publish.aggregation import AggregatedTrace
from dftindexd.protocol.errors import InvalidArgumentError, NotFoundError
from dftindexd.protocol.index_requests import IndexHead, IndexSegmentsRequest, IndexSetsRequest

__all__ = ("Indexed", "IndexedTrace", "indexed_traces")

#: Of so many traces the rows are asked for at once.
_AT_ONCE: Final = 1000


class IndexedTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace: its place, its record, and its rows of each family, one a segment."""

    path: bytes
    name: bytes
    record: TraceRecord
    checkpoints: list[bytes]
    chunk_stats: list[bytes]
    event_order: list[bytes]
    hash_tables: list[bytes]
    aggregation: list[bytes]
    system_metrics: list[bytes]

    @property
    def aggregated(self) -> AggregatedTrace:
        """What is merged with other traces."""
        return AggregatedTrace(self.hash_tables, self.aggregation, self.system_metrics)

    @property
    def stamp(self) -> FileStamp:
        """The file as it was indexed."""
        return self.record.stamp


def _usable_tier(tiers: TierConfig, directory: str) -> AggregationTier:
    """Return the aggregation that is published.

    :raises InvalidArgumentError: there is none, or one that means something else there, as daemons
        of this version never have it.
    """
    tier = tiers.aggregation
    is_whole = tiers.checkpoints and tiers.manifest
    if tier is None or not is_whole or tier.bucket_by != "midpoint":
        raise InvalidArgumentError(
            f"the daemon keeps {directory} without what is published",
            "run a daemon of the version of this client (`dftindexd-client version` tells both)",
        )
    return tier


class Indexed(NamedTuple):
    """What a daemon has of a directory: the aggregation, the traces by name, and why others are
    left out."""

    tier: AggregationTier
    traces: Iterator[IndexedTrace]
    left_out: dict[str, str]


def indexed_traces(client: Client, directory: str) -> Indexed:
    """Return what is kept of *directory*, a real path.

    :raises NotFoundError: nobody watches it, or there is no trace in it.
    :raises InvalidArgumentError: it is kept without what is published.
    """
    place = os.fsencode(directory)
    found = client.fetch(IndexSetsRequest(directory=place))
    head = found.head
    if not isinstance(head, IndexHead):
        raise TypeError(f"the daemon answered with {type(head).__name__}")
    rows = found.to_pylist()
    quarantined = {row["name"]: row["quarantined"] for row in rows if row["quarantined"]}
    names = sorted({row["name"] for row in rows} - quarantined.keys())
    if not names:
        raise NotFoundError(
            f"there are no indexed traces in {directory}",
            "name a directory that has traces itself, not only below it",
        )
    tier = _usable_tier(msgspec.json.decode(head.tiers, type=TierConfig), directory)
    left_out = {os.fsdecode(os.path.join(place, name)): why for name, why in quarantined.items()}
    return Indexed(tier, _traces(client, place, names), left_out)


def _traces(client: Client, place: bytes, names: Sequence[bytes]) -> Iterator[IndexedTrace]:
    for begin in range(0, len(names), _AT_ONCE):
        part = tuple(names[begin : begin + _AT_ONCE])
        answer = client.fetch(IndexSegmentsRequest(directory=place, names=part), timeout=None)
        rows = {row["name"]: row for row in answer.to_pylist()}
        for name in part:
            if name not in rows:
                raise NotFoundError(
                    f"{os.fsdecode(os.path.join(place, name))} is not indexed with all tiers yet",
                    "see `dftindexd-client list`, which says why, and publish again",
                )
            row = rows[name]
            record = msgspec.msgpack.decode(row.pop("record"), type=TraceRecord)
            yield IndexedTrace(path=os.path.join(place, name), record=record, **row)
