"""Compiled: an event enters its group, and the bounds of its chunk."""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace import kernel_fields as fields
from dftindexd.index.trace import kernel_layout as at
from dftindexd.index.trace.kernel_tables import plus
from dftindexd.index.trace.kernel_text import inlined, numbers_at, reals_at

__all__ = ("add_event", "bucket_of", "in_microseconds")

_IMAX: Final = np.uint64(0x7FFFFFFFFFFFFFFF)


@inlined
def in_microseconds(st: Any, time: np.int64) -> np.int64:
    """Return a time in microseconds, -1 where it would have to be clamped."""
    if st[at.MULTIPLY] > 1:
        if time > fields.INT64_MAX // st[at.MULTIPLY]:
            return np.int64(-1)
        return np.int64(time * st[at.MULTIPLY])
    return np.int64(time // st[at.DIVIDE])


@inlined
def bucket_of(st: Any, ts: np.int64, dur: np.int64) -> np.int64:
    middle = np.uint64(ts)
    if st[at.MIDPOINT]:
        middle += np.uint64(dur >> 1)
    time = np.int64(min(middle, _IMAX))
    width = st[at.INTERVAL]
    ahead = time - st[at.BUCKET_LOW]
    if ahead < 0 or ahead >= width:
        st[at.BUCKET_LOW] = time // width * width
    return np.int64(st[at.BUCKET_LOW])


@inlined
def _sample(st: Any, first: np.int64, which: np.int64, value: np.int64) -> None:
    groups, squares = numbers_at(st[at.AT_GROUPS]), reals_at(st[at.AT_SQUARES])
    if groups[first] == 0:
        groups[first + 2] = value
        groups[first + 3] = value
    elif value < groups[first + 2]:
        groups[first + 2] = value
    elif value > groups[first + 3]:
        groups[first + 3] = value
    groups[first] += 1
    groups[first + 1] = plus(groups[first + 1], value)
    real = np.float64(value)
    squares[which] += real * real


@inlined
def _bound(st: Any, bit: np.int64, least: np.int64, number: np.int64) -> None:
    """Let the bounds of an argument of the chunk's records include *number*."""
    if st[at.SEEN] & bit:
        st[least] = min(st[least], number)
        st[least + 1] = max(st[least + 1], number)
    else:
        st[least] = st[least + 1] = number


@inlined
def add_event(st: Any, group: np.int64, ts: np.int64, dur: np.int64) -> None:
    groups, place, first = numbers_at(st[at.AT_GROUPS]), group * at.GROUP_SIZE, 3 * group
    end = np.int64(min(np.uint64(ts) + np.uint64(dur), _IMAX))
    if groups[place + at.G_COUNT] == 0:
        groups[place + at.G_TS] = ts
        groups[place + at.G_TE] = end
    else:
        groups[place + at.G_TS] = min(groups[place + at.G_TS], ts)
        groups[place + at.G_TE] = max(groups[place + at.G_TE], end)
    groups[place + at.G_COUNT] += 1
    _sample(st, place + at.G_DUR, first, dur)
    if st[fields.F_HAS] & 2 and groups[place + at.G_TRANSFER] and st[fields.F_RET] >= 0:
        _sample(st, place + at.G_SIZE, first + 1, st[fields.F_RET])
    if st[fields.F_HAS] & 4:
        offset = max(st[fields.F_OFFSET], np.int64(0))
        _sample(st, place + at.G_OFFSET, first + 2, offset)
    if st[at.CHUNK_RECORDS] == 0:
        st[at.MIN_TS] = st[at.MAX_TS] = ts
        st[at.MAX_TE] = end
        st[at.MIN_DUR] = st[at.MAX_DUR] = dur
    else:
        st[at.MIN_TS] = min(st[at.MIN_TS], ts)
        st[at.MAX_TS] = max(st[at.MAX_TS], ts)
        st[at.MAX_TE] = max(st[at.MAX_TE], end)
        st[at.MIN_DUR] = min(st[at.MIN_DUR], dur)
        st[at.MAX_DUR] = max(st[at.MAX_DUR], dur)
    st[at.CHUNK_RECORDS] += 1
    st[at.FUSED_RECORDS] += 1
    st[at.SUM_DUR] = plus(st[at.SUM_DUR], dur)
    has = st[fields.F_HAS]
    if has & 2:
        _bound(st, np.int64(2), np.int64(at.MIN_RET), st[fields.F_RET])
    if has & 4:
        _bound(st, np.int64(4), np.int64(at.MIN_OFFSET), st[fields.F_OFFSET])
    if has & 8:
        _bound(st, np.int64(8), np.int64(at.MIN_COUNT), st[fields.F_COUNT])
    st[at.SEEN] |= has
