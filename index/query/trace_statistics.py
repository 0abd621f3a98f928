"""What tier 2 says of one trace as a whole, without its text."""

from __future__ import annotations

import msgspec

from dftindexd.index.model import TraceRecord
from dftindexd.index.query.source import RowSource, segment_rows
from dftindexd.index.store.layout import CHUNK_STATS, MANIFEST
from dftindexd.index.tiers.chunk_stats import (
    decode_chunk_details,
    decode_chunk_stats,
    merge_chunk_stats,
)
from dftindexd.index.tiers.distributions import merge_distributions
from dftindexd.index.tiers.manifest import decode_manifest

__all__ = ("TraceStatistics", "statistics_of")


class TraceStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a trace, counted: times in microseconds, ``None`` where nothing has them.

    ``max_te`` is when the last of them ends, ``squares`` the sum of the squares of durations.
    ``categories`` are as they are written; ``threads`` have the key ``PID:TID``.
    """

    records: int
    min_ts: int | None
    max_te: int | None
    min_dur: int | None
    max_dur: int | None
    total_dur: int
    squares: float
    categories: dict[str, int]
    names: dict[str, int]
    threads: dict[str, int]


def statistics_of(source: RowSource, record: TraceRecord) -> TraceStatistics:
    """Return those of *record*, which is of a set with a manifest."""
    (rows,) = segment_rows(source, CHUNK_STATS, [record])
    (manifests,) = segment_rows(source, MANIFEST, [record])
    stats = merge_chunk_stats([chunk for row in rows for chunk in decode_chunk_stats(row)])
    spread = merge_distributions(
        chunk.distributions for row in rows for chunk in decode_chunk_details(row)
    )
    categories: dict[str, int] = {}
    for row in manifests:
        for chunk in decode_manifest(row):
            for kind in chunk.kinds:
                categories[kind.cat] = categories.get(kind.cat, 0) + kind.count
    return TraceStatistics(
        records=stats.records,
        min_ts=stats.min_ts,
        max_te=stats.max_te,
        min_dur=stats.min_dur,
        max_dur=stats.max_dur,
        total_dur=spread.total(),
        squares=spread.squares(),
        categories=categories,
        names=spread.name_counts(),
        threads={f"{pid}:{tid}": count for (pid, tid), count in spread.threads.items()},
    )
