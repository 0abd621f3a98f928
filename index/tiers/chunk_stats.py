"""Tier 2: the bounds of time and duration in each chunk of a segment.

One row a segment in ``chunk_stats``, key ``segment_key(segment)``, value MessagePack: an array of
:class:`ChunkStats`, one a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import CHUNK_STATS, segment_key
from dftindexd.index.trace.columns import HAS_TS, RecordColumns
from dftindexd.index.trace.kernel import ChunkGroups
from dftindexd.index.trace.numbers import INT64_MAX, UINT64_MAX

__all__ = ("ChunkStats", "ChunkStatsBuilder", "decode_chunk_stats")


class ChunkStats(msgspec.Struct, frozen=True, array_like=True):
    """The bounds over a chunk's records, in microseconds; ``None`` where nothing has them.

    ``records`` counts all that are rows, ``sum_dur`` stops at 2**64-1. ``exact`` says that all
    times of the chunk's lines were written as they are here: only then may lines be passed over
    because of these bounds. It is false for other units, clamped numbers and the like.
    """

    records: int = 0
    min_ts: int | None = None
    max_ts: int | None = None
    max_te: int | None = None
    min_dur: int | None = None
    max_dur: int | None = None
    sum_dur: int = 0
    exact: bool = True


_Choose: TypeAlias = Callable[[int, int], int]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[ChunkStats])


class ChunkStatsBuilder:
    """Gathers a segment's statistics, chunk by chunk."""

    def __init__(self) -> None:
        self._chunks: list[ChunkStats] = []
        self._current = ChunkStats()

    def add(self, columns: RecordColumns, *, exact: bool) -> None:
        """Take a block of the current chunk."""
        self._current = _merge(self._current, _stats_of(columns, exact=exact))

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk."""
        if not groups.records:
            return
        found = ChunkStats(
            records=groups.records,
            min_ts=groups.min_ts,
            max_ts=groups.max_ts,
            max_te=groups.max_te,
            min_dur=groups.min_dur,
            max_dur=groups.max_dur,
            sum_dur=groups.sum_dur,
        )
        self._current = _merge(self._current, found)

    def end_chunk(self) -> None:
        """End the current chunk."""
        self._chunks.append(self._current)
        self._current = ChunkStats()

    def rows(self, segment_id: int) -> list[Row]:
        """Return the one row of a segment."""
        return [(CHUNK_STATS, segment_key(segment_id), _encoder.encode(self._chunks))]


def decode_chunk_stats(value: bytes) -> list[ChunkStats]:
    """Return a segment's chunks in order; a *value* that is not theirs is a StoreDamagedError."""
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError as error:
        raise StoreDamagedError(f"chunk statistics do not decode: {error}") from error


def _stats_of(columns: RecordColumns, *, exact: bool) -> ChunkStats:
    if not len(columns):
        return ChunkStats(exact=exact)
    timed = (columns.has & HAS_TS) != 0
    ts = columns.ts[timed]
    # Both are below 2**63, so their sum fits without a sign.
    ends = ts.astype(np.uint64) + columns.dur[timed].astype(np.uint64)
    return ChunkStats(
        records=len(columns),
        min_ts=int(ts.min()) if len(ts) else None,
        max_ts=int(ts.max()) if len(ts) else None,
        max_te=min(int(ends.max()), INT64_MAX) if len(ts) else None,
        min_dur=int(columns.dur.min()),
        max_dur=int(columns.dur.max()),
        sum_dur=min(_exact_sum(columns.dur), UINT64_MAX),
        exact=exact,
    )


def _exact_sum(durations: npt.NDArray[np.int64]) -> int:
    if int(durations.max()) <= INT64_MAX // len(durations):
        return int(durations.sum())
    return sum(durations.tolist())


def _merge(left: ChunkStats, right: ChunkStats) -> ChunkStats:
    return ChunkStats(
        records=left.records + right.records,
        min_ts=_pick(min, left.min_ts, right.min_ts),
        max_ts=_pick(max, left.max_ts, right.max_ts),
        max_te=_pick(max, left.max_te, right.max_te),
        min_dur=_pick(min, left.min_dur, right.min_dur),
        max_dur=_pick(max, left.max_dur, right.max_dur),
        sum_dur=min(left.sum_dur + right.sum_dur, UINT64_MAX),
        exact=left.exact and right.exact,
    )


def _pick(choose: _Choose, left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return choose(left, right)
