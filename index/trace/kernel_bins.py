"""Compiled: what is counted of each chunk's events by bins of durations and of times.

Durations have a table like those of ``kernel_tables``, its slots at most half full. Times come
nearly in order: a few recent bins are kept by their last bits, and when one gives way to another
its count so far is added to a list, in which a bin may be more than once.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.sketch import BIN_BEGINS, ZERO_BIN, bins_of
from dftindexd.index.trace import kernel_layout as at
from dftindexd.index.trace.kernel_tables import plus, word_hash
from dftindexd.index.trace.kernel_text import (
    bit_length,
    bits_of,
    codes_at,
    float_of,
    inlined,
    numbers_at,
)

__all__ = ("count_event", "lacks_room")

# A duration's bin by its bit length and the seven bits after its first: the bin of the least number
# that has them, which is that of the number, or the one before it: bins are wider than that.
_SHARE: Final = 7
_LEAST: Final = np.array(
    [
        ((1 << _SHARE | low) << bits - 1 >> _SHARE) if bits else 0
        for bits in range(64)
        for low in range(1 << _SHARE)
    ],
    np.int64,
)
_FIRST_BINS: Final = bins_of(_LEAST)
_LAST_OF_BINS: Final = np.append(BIN_BEGINS[1:] - 1, np.iinfo(np.int64).max)
_GREATEST: Final = np.where(_FIRST_BINS < 0, 0, _LAST_OF_BINS[_FIRST_BINS])


@inlined
def lacks_room(st: Any) -> np.int64:
    """Return the ``FULL_*`` of a table that has no place for one more event, else 0."""
    if st[at.BINS] >= st[at.ROOM_BINS] or 2 * st[at.BINS] + 2 > st[at.ROOM_BIN_SLOTS]:
        return np.int64(at.FULL_BINS)
    if st[at.TIMES] >= st[at.ROOM_TIMES]:
        return np.int64(at.FULL_TIMES)
    return np.int64(0)


@inlined
def _key(dur: np.int64) -> np.int64:
    """Return the key of a duration, without its name."""
    bits = bit_length(dur)
    low = (dur << (64 - bits)) >> (63 - _SHARE) & ((1 << _SHARE) - 1) if bits else np.int64(0)
    place = bits << _SHARE | low
    which = np.int64(_FIRST_BINS[place])
    if dur > _GREATEST[place]:
        which += 1
    return np.int64(bits << 16 | (which - ZERO_BIN))


@inlined
def _find(st: Any, key: np.int64) -> np.int64:
    """Return where a bin of durations lies, a new one if there is none."""
    bins, slots = numbers_at(st[at.AT_BINS]), codes_at(st[at.AT_BIN_SLOTS])
    mask = st[at.ROOM_BIN_SLOTS] - 1
    slot = word_hash(st[at.SEED], key) & mask
    while True:
        row = np.int64(slots[slot]) - 1
        if row < 0:
            break
        if bins[row * at.BIN_SIZE + at.B_KEY] == key:
            return row * at.BIN_SIZE
        slot = (slot + 1) & mask
    row = st[at.BINS]
    st[at.BINS] = row + 1
    slots[slot] = row + 1
    place = row * at.BIN_SIZE
    bins[place + at.B_KEY] = key
    bins[place + at.B_COUNT] = 0
    bins[place + at.B_TOTAL] = 0
    bins[place + at.B_SQUARES] = 0
    return place


@inlined
def _count_time(st: Any, ts: np.int64) -> None:
    which = ts // at.TIME_BIN_US
    place = at.RECENT_TIMES + 2 * (which & (at.RECENT - 1))
    if st[place] != which:
        if st[place + 1] != 0:
            times = numbers_at(st[at.AT_TIMES])
            times[2 * st[at.TIMES]] = st[place]
            times[2 * st[at.TIMES] + 1] = st[place + 1]
            st[at.TIMES] += 1
        st[place] = which
        st[place + 1] = 0
    st[place + 1] += 1


@inlined
def _bound_name(st: Any, name: np.int64, dur: np.int64) -> None:
    """Let the bounds of the durations of a name in this chunk include *dur*."""
    stamps, stamp = numbers_at(st[at.AT_STAMPS]), name * at.STAMP_SIZE
    if stamps[stamp + at.K_NAMED] == st[at.CHUNK]:
        stamps[stamp + at.K_LEAST] = min(stamps[stamp + at.K_LEAST], dur)
        stamps[stamp + at.K_GREATEST] = max(stamps[stamp + at.K_GREATEST], dur)
        return
    stamps[stamp + at.K_NAMED] = st[at.CHUNK]
    stamps[stamp + at.K_LEAST] = dur
    stamps[stamp + at.K_GREATEST] = dur


@inlined
def count_event(st: Any, name: np.int64, ts: np.int64, dur: np.int64, is_timed: bool) -> None:
    """Count one event in the bin of its duration and, with a time, in that of the time."""
    place = _find(st, (name << 32) | _key(dur))
    bins = numbers_at(st[at.AT_BINS])
    bins[place + at.B_COUNT] += 1
    bins[place + at.B_TOTAL] = plus(bins[place + at.B_TOTAL], dur)
    real = np.float64(dur)
    bins[place + at.B_SQUARES] = bits_of(float_of(bins[place + at.B_SQUARES]) + real * real)
    _bound_name(st, name, dur)
    if is_timed:
        _count_time(st, ts)
