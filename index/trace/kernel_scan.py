"""Compiled: the scan over a block of lines, its one exported function.

Lines are read one by one. A canonical one takes effect here: an event enters its group, a metadata
record the side list (and a group, for its values), any other record the rows that are handed on. A
line takes effect as a whole or, where a table is full, not at all, so that the scan can begin with
it again. Any other line enters the side list, for the reference. That holds as long as no later
line depends on it; only the unit of times can, and a line that might name one is a barrier.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numba import types

from dftindexd.index.trace import kernel_fields as fields
from dftindexd.index.trace import kernel_layout as at
from dftindexd.index.trace.kernel_line import read_line
from dftindexd.index.trace.kernel_tables import find_group, group_slot, intern, text_slot
from dftindexd.index.trace.kernel_text import byte_at, helper, inlined, load, low_bytes

__all__ = ("enter", "scan", "spread_groups", "spread_texts")

_U0: Final = np.uint64(0)
_UMAX: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_IMAX: Final = np.uint64(0x7FFFFFFFFFFFFFFF)
_TIME_METRIC: Final = np.frombuffer(b"time_metric", np.uint8)
_TIME_WORD: Final = np.uint64(int.from_bytes(b"time_met", "little"))


@inlined
def _end_of_line(b: Any, i: np.int64) -> np.int64:
    while byte_at(b, i) != 10:
        i += 1
    return i


@helper
def _may_name_unit(b: Any, i: np.int64, end: np.int64) -> bool:
    """Tell whether the line holds ``time_metric``, or an escape that could hide it."""
    while i < end:
        byte = byte_at(b, i)
        if byte == 116 and load(b, i) == _TIME_WORD:
            return True
        if byte == 92 and byte_at(b, i + 1) == 117:
            return True
        i += 1
    return False


@helper
def _is_time_metric(b: Any, begin: np.int64, end: np.int64) -> bool:
    if end - begin != 11:
        return False
    for k in range(11):
        if byte_at(b, begin + k) != _TIME_METRIC[k]:
            return False
    return True


@helper
def _set_unit(b: Any, begin: np.int64, end: np.int64, st: Any) -> None:
    length = end - begin
    if length < 2 or length > 3:
        return
    word = np.int64(low_bytes(load(b, begin), length))
    multiply, divide = 0, 0
    if word == 0x5355:  # US
        multiply, divide = 1, 1
    elif word == 0x534E:  # NS
        multiply, divide = 1, 1000
    elif word == 0x534D:  # MS
        multiply, divide = 1000, 1
    elif word == 0x434553:  # SEC
        multiply, divide = 1_000_000, 1
    if divide:
        st[at.MULTIPLY] = multiply
        st[at.DIVIDE] = divide


@helper
def _note(side: Any, st: Any, kind: np.int64, begin: np.int64, end: np.int64) -> None:
    n = st[at.SIDE]
    side[n, at.SIDE_KIND] = kind
    side[n, at.SIDE_BEGIN] = begin
    side[n, at.SIDE_END] = end
    side[n, at.SIDE_LINE] = st[at.LINE]
    st[at.SIDE] = n + 1


@helper
def _shows_generation(f: Any, phase: np.int64) -> bool:
    return bool(
        f[fields.F_PHASE_INT] or f[fields.F_QUOTED] or phase == 4 or f[fields.F_HHASH + 1] > 0
    )


@helper
def _date(side: Any, st: Any, f: Any, begin: np.int64, end: np.int64, is_start: bool) -> None:
    """Note a record that shows the generation; the reference says which."""
    shows = _shows_generation(f, f[fields.F_PHASE])
    if shows or is_start:
        _note(side, st, np.int64(at.DATE), begin, end)
    if shows:
        st[at.DATED] = 1


@helper
def _metadata(
    b: Any, f: Any, st: Any, side: Any, begin: np.int64, end: np.int64, name: np.int64
) -> None:
    st[at.METADATA] += 1
    if f[fields.F_TIMED]:
        st[at.INEXACT] = 1
    if name < at.T_FH or name > at.T_CM:
        return
    kind = name - at.T_FH + at.FH
    has_both = f[fields.F_ARG_NAME + 1] > f[fields.F_ARG_NAME] and (
        f[fields.F_ARG_VALUE + 1] > f[fields.F_ARG_VALUE]
    )
    if not has_both:
        return
    if name == at.T_CM:
        if not f[fields.F_VALUE_TEXT] or not _is_time_metric(
            b, f[fields.F_ARG_NAME], f[fields.F_ARG_NAME + 1]
        ):
            return
        _set_unit(b, f[fields.F_ARG_VALUE], f[fields.F_ARG_VALUE + 1], st)
    _note(side, st, kind, begin, end)
    n = st[at.SIDE] - 1
    side[n, at.SIDE_NAME] = f[fields.F_ARG_NAME]
    side[n, at.SIDE_NAME + 1] = f[fields.F_ARG_NAME + 1]
    side[n, at.SIDE_VALUE] = f[fields.F_ARG_VALUE]
    side[n, at.SIDE_VALUE + 1] = f[fields.F_ARG_VALUE + 1]


@inlined
def _in_microseconds(time: np.int64, st: Any) -> np.int64:
    """Return a time in microseconds, -1 where it would have to be clamped."""
    if st[at.MULTIPLY] > 1:
        if time > fields.INT64_MAX // st[at.MULTIPLY]:
            return np.int64(-1)
        return np.int64(time * st[at.MULTIPLY])
    return np.int64(time // st[at.DIVIDE])


@inlined
def _bucket(ts: np.int64, dur: np.int64, st: Any) -> np.int64:
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
def _plus(left: np.int64, right: np.int64) -> np.int64:
    """Add unsigned numbers; the sum stops at the greatest."""
    total = np.uint64(left) + np.uint64(right)
    return np.int64(_UMAX if total < np.uint64(left) else total)


@inlined
def _sample(group: Any, squares: Any, first: np.int64, which: np.int64, value: np.int64) -> None:
    if group[first] == 0:
        group[first + 2] = value
        group[first + 3] = value
    elif value < group[first + 2]:
        group[first + 2] = value
    elif value > group[first + 3]:
        group[first + 3] = value
    group[first] += 1
    group[first + 1] = _plus(group[first + 1], value)
    real = np.float64(value)
    squares[which] += real * real


@inlined
def _add_event(group: Any, squares: Any, f: Any, st: Any, ts: np.int64, dur: np.int64) -> None:
    end = np.int64(min(np.uint64(ts) + np.uint64(dur), _IMAX))
    if group[at.G_COUNT] == 0:
        group[at.G_TS] = ts
        group[at.G_TE] = end
    else:
        group[at.G_TS] = min(group[at.G_TS], ts)
        group[at.G_TE] = max(group[at.G_TE], end)
    group[at.G_COUNT] += 1
    _sample(group, squares, np.int64(at.G_DUR), np.int64(0), dur)
    if f[fields.F_HAS] & 2 and group[at.G_TRANSFER] and f[fields.F_RET] >= 0:
        _sample(group, squares, np.int64(at.G_SIZE), np.int64(1), f[fields.F_RET])
    if f[fields.F_HAS] & 4:
        offset = max(f[fields.F_OFFSET], np.int64(0))
        _sample(group, squares, np.int64(at.G_OFFSET), np.int64(2), offset)
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
    st[at.SUM_DUR] = _plus(st[at.SUM_DUR], dur)


@helper
def _is_io(code: np.int64, texts: Any, arena: Any) -> bool:
    """Tell whether a category is posix or stdio, in any case of its letters."""
    if texts[code, 2] != 5:
        return False
    lower = arena[texts[code, 1]] | np.uint64(0x2020202020)
    return bool(lower == np.uint64(0x7869736F70) or lower == np.uint64(0x6F69647473))


@inlined
def _commit(
    b: Any, begin: np.int64, end: np.int64, f: Any, st: Any, slots: Any, texts: Any, arena: Any,
    stamps: Any, group_slots: Any, groups: Any, squares: Any, touched: Any, strings: Any,
    rows: Any, side: Any,
) -> np.int64:  # fmt: skip
    """Let a line that was read take effect. Return 0, ``SLOW_LINE`` or a negated ``FULL_*``."""
    phase = f[fields.F_PHASE]
    ts, dur = f[fields.F_TS], f[fields.F_DUR]
    if phase != 4 and st[at.MULTIPLY] != st[at.DIVIDE]:
        ts, dur = _in_microseconds(ts, st), _in_microseconds(dur, st)
        if ts < 0 or dur < 0:
            return np.int64(fields.SLOW_LINE)
    if st[at.SIDE] + 3 > len(side):
        return np.int64(-at.FULL_SIDE)
    plain = np.int64(at.PLAIN)
    host_kind, file_kind = plain, plain
    host_field, file_field = fields.F_HHASH, fields.F_FHASH
    if f[fields.F_QUOTED_PID] and f[fields.F_ARG_KEYS] & (8 | 256):
        host_kind, file_kind = np.int64(at.HOST_NAME), np.int64(at.FILE_NAME)
        host_field, file_field = fields.F_HOST, fields.F_FILE
    string_field = fields.F_COMMAND
    if f[fields.F_COMMAND + 1] == f[fields.F_COMMAND]:
        string_field = fields.F_EXECUTABLE
    for which in range(5):
        kind = plain
        if which == 0:
            field = fields.F_NAME
        elif which == 1:
            field = fields.F_CAT
        elif which == 2:
            field, kind = host_field, host_kind
        elif which == 3:
            field, kind = file_field, file_kind
        else:
            field = string_field
        code = intern(b, f[field], f[field + 1], kind, st, slots, texts, arena)
        if code < 0:
            return np.int64(-at.FULL_TEXTS)
        f[fields.F_CODES + which] = code
    name, cat = f[fields.F_CODES], f[fields.F_CODES + 1]
    host, file, string = f[fields.F_CODES + 2], f[fields.F_CODES + 3], f[fields.F_CODES + 4]
    is_grouped = phase == 4 or (st[at.FUSED] != 0 and phase != 2 and phase != 3)
    if is_grouped:
        bucket = np.int64(at.METADATA_BUCKET) if phase == 4 else _bucket(ts, dur, st)
        group = find_group(
            st, groups, group_slots, touched,
            cat << 32 | name, host << 32 | file, f[fields.F_PID], f[fields.F_TID], bucket,
        )  # fmt: skip
        if group < 0:
            return np.int64(-at.FULL_GROUPS)
    elif st[at.ROWS] >= len(rows):
        return np.int64(-at.FULL_ROWS)

    # From here on the line takes effect.
    if is_grouped:
        if stamps[string, 1] != st[at.CHUNK]:
            stamps[string, 1] = st[at.CHUNK]
            strings[st[at.STRINGS]] = string
            st[at.STRINGS] += 1
        if groups[group, at.G_CHUNK_COUNT] == 0:
            groups[group, at.G_CHUNK_LINE] = st[at.LINE]
        groups[group, at.G_CHUNK_COUNT] += 1
    if st[at.DATED] == 0:
        _date(side, st, f, begin, end, name == at.T_START)
    st[at.FAST] += 1
    if phase == 4:
        _metadata(b, f, st, side, begin, end, name)
        return np.int64(0)
    if st[at.MULTIPLY] != st[at.DIVIDE] or f[fields.F_QUOTED_TIME]:
        st[at.INEXACT] = 1
    if phase == 1:
        st[at.COMPLETE] += 1
        if name == at.T_END and cat == at.T_DFTRACER:
            _note(side, st, np.int64(at.END), begin, end)
    elif phase == 3 or (phase == 2 and f[fields.F_FOLDED]):
        st[at.AGGREGATED] = 1
    if is_grouped:
        if groups[group, at.G_COUNT] == 0 and name != 0 and name <= at.LAST_TRANSFER:
            groups[group, at.G_TRANSFER] = 1 if _is_io(cat, texts, arena) else 0
        _add_event(groups[group], squares[group], f, st, ts, dur)
        return np.int64(0)
    row = rows[st[at.ROWS]]
    row[0], row[1], row[2], row[3] = st[at.LINE], begin, ts, dur
    row[4], row[5], row[6] = f[fields.F_RET], f[fields.F_OFFSET], f[fields.F_COUNT]
    row[7], row[8], row[9], row[10] = f[fields.F_PID], f[fields.F_TID], cat, name
    row[11], row[12], row[13] = host, file, string
    row[14], row[15] = phase, f[fields.F_HAS]
    st[at.ROWS] += 1
    return np.int64(0)


@inlined
def _skipped(b: Any, i: np.int64, st: Any) -> bool:
    """Count an empty line or a bracket; false where it is anything else."""
    if byte_at(b, i) == 10:
        st[at.SKIPPED] += 1
        return True
    if (byte_at(b, i) == 91 or byte_at(b, i) == 93) and byte_at(b, i + 1) == 10:
        st[at.SKIPPED] += 1
        if byte_at(b, i) == 93:
            st[at.BRACKET] = 1
        return True
    return False


_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_I64: Final = types.int64[::1]
_I64S: Final = types.int64[:, ::1]
_I32: Final = types.int32[::1]
_U64S: Final = types.uint64[::1]
_F64: Final = types.float64[::1]
_F64S: Final = types.float64[:, ::1]


@numba.njit(
    types.int64(
        *(_BYTES, types.int64, _I64, _I64, _I32, _I64S, _U64S, _I64S),
        *(_I32, _I64S, _F64S, _I64, _I64, _I64S, _I64S, _F64, _I64S, _I64),
    ),
    cache=True,
    error_model="numpy",
    _nrt=False,
)
def scan(
    b: Any, size: np.int64, st: Any, f: Any, slots: Any, texts: Any, arena: Any, stamps: Any,
    group_slots: Any, groups: Any, squares: Any, touched: Any, strings: Any,
    rows: Any, arguments: Any, reals: Any, side: Any, wanted: Any,
) -> np.int64:  # fmt: skip
    """Read the lines of ``b[:size]`` from ``st[POSITION]`` on; return why it stopped."""
    while st[at.POSITION] < size:
        begin = st[at.POSITION]
        i = begin
        while byte_at(b, i) == 32:
            i += 1
        result = np.int64(fields.SLOW_LINE)
        if byte_at(b, i) == 123:
            mark = st[at.ARGUMENTS]
            st[at.SERIAL] += 1
            result = read_line(b, i, f, st, slots, texts, arena, stamps, arguments, reals, wanted)
            end = result
            if result >= 0:
                result = _commit(
                    b, begin, end, f, st, slots, texts, arena, stamps,
                    group_slots, groups, squares, touched, strings, rows, side,
                )  # fmt: skip
            if result < 0:
                st[at.ARGUMENTS] = mark
        elif _skipped(b, begin, st):
            result = np.int64(0)
            end = _end_of_line(b, begin)
        if result < 0 and result != fields.SLOW_LINE:
            return -result
        stops = False
        if result < 0:
            if st[at.SIDE] >= len(side):
                return np.int64(at.FULL_SIDE)
            end = _end_of_line(b, begin)
            _note(side, st, np.int64(at.SLOW), begin, end)
            stops = _may_name_unit(b, begin, end)
        st[at.POSITION] = end + 1
        st[at.LINE] += 1
        if stops:
            return np.int64(at.BARRIER)
    return np.int64(at.DONE)


@numba.njit(types.int64(_BYTES, types.int64, _I64, _I32, _I64S, _U64S), cache=True)
def enter(b: Any, size: np.int64, st: Any, slots: Any, texts: Any, arena: Any) -> np.int64:
    """Return the code of the plain text ``b[:size]``, negative where a table is full."""
    return intern(b, np.int64(0), size, np.int64(at.PLAIN), st, slots, texts, arena)


@numba.njit(types.void(_I64S, types.int64, _I32), cache=True)
def spread_texts(texts: Any, count: np.int64, slots: Any) -> None:
    """Enter *count* texts (the empty one is none) into empty, larger *slots*."""
    for code in range(1, count):
        slots[text_slot(texts[code, 0], slots)] = code


@numba.njit(types.void(types.int64, _I64S, types.int64, _I32), cache=True)
def spread_groups(seed: np.int64, groups: Any, count: np.int64, slots: Any) -> None:
    """Enter *count* groups into empty, larger *slots*."""
    for group in range(count):
        slots[group_slot(seed, group, groups, slots)] = group + 1
