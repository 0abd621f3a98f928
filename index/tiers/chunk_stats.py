"""Tier 2: the bounds of numbers in each chunk of a segment, and their distributions.

One row a segment in ``chunk_stats``, key ``segment_key(segment)``, value MessagePack: an array of
:class:`ChunkStats`, one a chunk, and what :mod:`~dftindexd.index.tiers.distributions` describes.
Queries decode only the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import CHUNK_STATS, segment_key
from dftindexd.index.tiers.chunk_contents import ChunkContents
from dftindexd.index.tiers.distributions import (
    ChunkDetails,
    DistributionsBuilder,
    decode_distributions,
)
from dftindexd.index.trace.columns import HAS_COUNT, HAS_OFFSET, HAS_RET, HAS_TS, RecordColumns
from dftindexd.index.trace.numbers import INT64_MAX, UINT64_MAX

if TYPE_CHECKING:
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = (
    "Bounds",
    "ChunkStats",
    "ChunkStatsBuilder",
    "decode_chunk_details",
    "decode_chunk_stats",
    "merge_chunk_stats",
)

#: The least and the greatest number, ``None`` where nothing has one.
Bounds: TypeAlias = tuple[int, int] | None


class ChunkStats(msgspec.Struct, frozen=True, array_like=True):
    """The bounds over a chunk's records, in microseconds; ``None`` where nothing has them.

    ``records`` counts all that are rows, ``timed`` those of them with a time stamp; ``sum_dur``
    stops at 2**64-1. ``ret``, ``offset`` and ``count`` are of the rows that have such a number.

    ``exact`` says that all times of the chunk's lines were written as they are here, and that
    nothing but rows has times. ``unit`` is the trace's unit of time, ``""`` where it changed within
    the chunk: bounds of time say nothing then.
    """

    records: int = 0
    timed: int = 0
    min_ts: int | None = None
    max_ts: int | None = None
    max_te: int | None = None
    min_dur: int | None = None
    max_dur: int | None = None
    sum_dur: int = 0
    ret: Bounds = None
    offset: Bounds = None
    count: Bounds = None
    exact: bool = True
    unit: str = "US"


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    chunks: list[ChunkStats]
    details: msgspec.Raw


_Choose: TypeAlias = Callable[[int, int], int]

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Stored)


class ChunkStatsBuilder:
    """Gathers a segment's statistics, chunk by chunk."""

    def __init__(self) -> None:
        self._chunks: list[ChunkStats] = []
        self._parts: list[ChunkStats] = []
        self._distributions = DistributionsBuilder()

    def add(self, columns: RecordColumns, *, exact: bool) -> None:
        """Take a block of the current chunk."""
        if len(columns):
            self._parts.append(_stats_of(columns, exact=exact))
            self._distributions.add(columns)
        elif not exact:
            self._parts.append(ChunkStats(exact=False))

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk."""
        if not groups.records:
            return
        self._distributions.add_groups(groups)
        found = ChunkStats(
            records=groups.records,
            timed=groups.records,
            min_ts=groups.min_ts,
            max_ts=groups.max_ts,
            max_te=groups.max_te,
            min_dur=groups.min_dur,
            max_dur=groups.max_dur,
            sum_dur=groups.sum_dur,
            ret=groups.ret_bounds,
            offset=groups.offset_bounds,
            count=groups.count_bounds,
        )
        self._parts.append(found)

    def end_chunk(self, contents: ChunkContents, unit: str) -> None:
        """End the current chunk, which had these *contents* and this *unit* of time."""
        merged = merge_chunk_stats(self._parts)
        self._chunks.append(
            merged if unit == merged.unit else msgspec.structs.replace(merged, unit=unit)
        )
        self._parts = []
        self._distributions.end_chunk(contents)

    def rows(self, segment_id: int, texts: list[str]) -> list[Row]:
        """Return the one row of a segment."""
        stored = _Stored(self._chunks, msgspec.Raw(self._distributions.encode(texts)))
        return [(CHUNK_STATS, segment_key(segment_id), _encoder.encode(stored))]


def decode_chunk_stats(value: bytes) -> list[ChunkStats]:
    """Return a segment's chunks in order; a *value* that is not theirs is a StoreDamagedError."""
    return _decode(value).chunks


def decode_chunk_details(value: bytes) -> list[ChunkDetails]:
    """Return the distributions of a segment's chunks, as :func:`decode_chunk_stats` does."""
    return decode_distributions(bytes(_decode(value).details))


def _decode(value: bytes) -> _Stored:
    try:
        return _decoder.decode(value)
    except ValueError as error:
        raise StoreDamagedError(f"chunk statistics do not decode: {error}") from error


def merge_chunk_stats(parts: list[ChunkStats]) -> ChunkStats:
    """Return the statistics of several chunks, or parts of one, together."""
    if not parts:
        return ChunkStats()
    merged = parts[0]
    for part in parts[1:]:
        merged = _merge(merged, part)
    return merged


def _stats_of(columns: RecordColumns, *, exact: bool) -> ChunkStats:
    timed = (columns.has & HAS_TS) != 0
    ts = columns.ts[timed]
    # Both are below 2**63, so their sum fits without a sign.
    ends = ts.astype(np.uint64) + columns.dur[timed].astype(np.uint64)
    return ChunkStats(
        records=len(columns),
        timed=len(ts),
        min_ts=int(ts.min()) if len(ts) else None,
        max_ts=int(ts.max()) if len(ts) else None,
        max_te=min(int(ends.max()), INT64_MAX) if len(ts) else None,
        min_dur=int(columns.dur.min()),
        max_dur=int(columns.dur.max()),
        sum_dur=min(_exact_sum(columns.dur), UINT64_MAX),
        ret=_bounds(columns.ret, columns.has, HAS_RET),
        offset=_bounds(columns.offset, columns.has, HAS_OFFSET),
        count=_bounds(columns.count, columns.has, HAS_COUNT),
        exact=exact,
    )


def _bounds(numbers: npt.NDArray[np.int64], has: npt.NDArray[np.uint8], bit: int) -> Bounds:
    found = numbers[(has & bit) != 0]
    return (int(found.min()), int(found.max())) if len(found) else None


def _exact_sum(durations: npt.NDArray[np.int64]) -> int:
    if int(durations.max()) <= INT64_MAX // len(durations):
        return int(durations.sum())
    return sum(durations.tolist())


def _merge(left: ChunkStats, right: ChunkStats) -> ChunkStats:
    return ChunkStats(
        records=left.records + right.records,
        timed=left.timed + right.timed,
        min_ts=_pick(min, left.min_ts, right.min_ts),
        max_ts=_pick(max, left.max_ts, right.max_ts),
        max_te=_pick(max, left.max_te, right.max_te),
        min_dur=_pick(min, left.min_dur, right.min_dur),
        max_dur=_pick(max, left.max_dur, right.max_dur),
        sum_dur=min(left.sum_dur + right.sum_dur, UINT64_MAX),
        ret=_widest(left.ret, right.ret),
        offset=_widest(left.offset, right.offset),
        count=_widest(left.count, right.count),
        exact=left.exact and right.exact,
        unit=left.unit if left.unit == right.unit else "",
    )


def _pick(choose: _Choose, left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return choose(left, right)


def _widest(left: Bounds, right: Bounds) -> Bounds:
    if left is None or right is None:
        return right if left is None else left
    return min(left[0], right[0]), max(left[1], right[1])
