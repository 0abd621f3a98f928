"""Compiled: the scan over a block of lines, and its one exported function, :func:`run`.

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
from dftindexd.index.trace.kernel_bins import count_event, lacks_room
from dftindexd.index.trace.kernel_groups import add_event, bucket_of, in_microseconds
from dftindexd.index.trace.kernel_keys import NAMES_OF_V0
from dftindexd.index.trace.kernel_line import read_line
from dftindexd.index.trace.kernel_metadata import date, may_name_unit, note, note_metadata
from dftindexd.index.trace.kernel_order import enter, number_kinds
from dftindexd.index.trace.kernel_tables import (
    find_group,
    free_slot,
    group_slot,
    intern,
    word_hash,
)
from dftindexd.index.trace.kernel_text import (
    byte_at,
    bytes_at,
    codes_at,
    helper,
    inlined,
    numbers_at,
    words_at,
)

__all__ = ("run",)

_ROW_SIZE: Final = len(at.ROW_FIELDS)
#: What ``ROW_FIELDS`` names after the first four.
_OF_A_ROW: Final = (
    *(fields.F_RET, fields.F_OFFSET, fields.F_COUNT, fields.F_PID, fields.F_TID),
    *(fields.F_CAT_CODE, fields.F_NAME_CODE, fields.F_HHASH_CODE, fields.F_FHASH_CODE),
    *(fields.F_COMMAND_CODE, fields.F_PHASE, fields.F_HAS),
)


@inlined
def _end_of_line(b: Any, i: np.int64) -> np.int64:
    while byte_at(b, i) != 10:
        i += 1
    return i


@helper
def _is_io(st: Any, code: np.int64) -> bool:
    """Tell whether a category is posix or stdio, in any case of its letters."""
    texts, arena = numbers_at(st[at.AT_TEXTS]), words_at(st[at.AT_ARENA])
    if texts[at.TEXT_SIZE * code + 2] != 5:
        return False
    lower = arena[texts[at.TEXT_SIZE * code + 1]] | np.uint64(0x2020202020)
    return bool(lower == np.uint64(0x7869736F70) or lower == np.uint64(0x6F69647473))


@inlined
def _know_text(b: Any, st: Any, field: np.int64, kind: np.int64) -> np.int64:
    return np.int64(intern(b, st, st[field], st[field + 1], kind))


@inlined
def _know_texts(b: Any, st: Any) -> bool:
    """Complete the codes of a line's texts, the executable's in place of a command that is not
    there; false where a table is full."""
    plain = np.int64(at.PLAIN)
    name = _know_text(b, st, np.int64(fields.F_NAME), plain)
    st[fields.F_NAME_CODE] = name
    cat = st[fields.F_CAT_CODE]
    if cat < 0:
        cat = _know_text(b, st, np.int64(fields.F_CAT), plain)
        st[fields.F_CAT_CODE] = cat
    host, file = st[fields.F_HHASH_CODE], st[fields.F_FHASH_CODE]
    if st[fields.F_QUOTED_PID] and st[fields.F_KEYS] & NAMES_OF_V0:
        kind = np.int64(at.HOST_NAME)
        host = _know_text(b, st, np.int64(fields.F_HOST), kind)
        kind = np.int64(at.FILE_NAME)
        file = _know_text(b, st, np.int64(fields.F_FILE), kind)
    else:
        if host < 0:
            host = _know_text(b, st, np.int64(fields.F_HHASH), plain)
        if file < 0:
            file = _know_text(b, st, np.int64(fields.F_FHASH), plain)
    st[fields.F_HHASH_CODE], st[fields.F_FHASH_CODE] = host, file
    string = st[fields.F_COMMAND_CODE]
    if st[fields.F_COMMAND + 1] == st[fields.F_COMMAND]:
        string = st[fields.F_EXECUTABLE_CODE]
        if string < 0:
            string = _know_text(b, st, np.int64(fields.F_EXECUTABLE), plain)
    elif string < 0:
        string = _know_text(b, st, np.int64(fields.F_COMMAND), plain)
    st[fields.F_COMMAND_CODE] = string
    return name >= 0 and cat >= 0 and host >= 0 and file >= 0 and string >= 0


@inlined
def _commit(b: Any, st: Any, begin: np.int64, end: np.int64) -> np.int64:
    """Let a line that was read take effect. Return 0, ``SLOW_LINE`` or a negated ``FULL_*``."""
    phase = st[fields.F_PHASE]
    ts, dur = st[fields.F_TS], st[fields.F_DUR]
    if phase != 4 and st[at.MULTIPLY] != st[at.DIVIDE]:
        ts, dur = in_microseconds(st, ts), in_microseconds(st, dur)
        if ts < 0 or dur < 0:
            return np.int64(fields.SLOW_LINE)
    if st[at.SIDE] + 3 > st[at.ROOM_SIDE]:
        return np.int64(-at.FULL_SIDE)
    if st[at.ORDER] >= st[at.ROOM_ORDER]:
        return np.int64(-at.FULL_ORDER)
    if not _know_texts(b, st):
        return np.int64(-at.FULL_TEXTS)
    name, cat = st[fields.F_NAME_CODE], st[fields.F_CAT_CODE]
    host, file = st[fields.F_HHASH_CODE], st[fields.F_FHASH_CODE]
    string = st[fields.F_COMMAND_CODE]
    is_grouped = phase == 4 or (st[at.FUSED] != 0 and phase != 2 and phase != 3)
    if is_grouped:
        full = lacks_room(st)
        if full:
            return -full
        bucket = np.int64(at.METADATA_BUCKET) if phase == 4 else bucket_of(st, ts, dur)
        group = find_group(
            st, cat << 32 | name, host << 32 | file, st[fields.F_PID], st[fields.F_TID], bucket
        )
        if group < 0:
            return np.int64(-at.FULL_GROUPS)
        place = group * at.GROUP_SIZE
    elif st[at.ROWS] >= st[at.ROOM_ROWS]:
        return np.int64(-at.FULL_ROWS)

    # From here on the line takes effect.
    groups = numbers_at(st[at.AT_GROUPS])
    if is_grouped:
        enter(st, group)
        stamps, strings = numbers_at(st[at.AT_STAMPS]), numbers_at(st[at.AT_STRINGS])
        stamp = at.STAMP_SIZE * string
        if stamps[stamp + at.K_CHUNK] != st[at.CHUNK]:
            stamps[stamp + at.K_CHUNK] = st[at.CHUNK]
            stamps[stamp + at.K_ROWS] = 0
            strings[st[at.STRINGS]] = string
            st[at.STRINGS] += 1
        if phase != 4:
            stamps[stamp + at.K_ROWS] += 1
        if groups[place + at.G_CHUNK_COUNT] == 0:
            groups[place + at.G_CHUNK_LINE] = st[at.LINE]
        groups[place + at.G_CHUNK_COUNT] += 1
    if st[at.DATED] == 0:
        date(st, begin, end, name == at.T_START)
    st[at.FAST] += 1
    if phase == 4:
        note_metadata(b, st, begin, end, name)
        return np.int64(0)
    if st[at.MULTIPLY] != st[at.DIVIDE] or st[fields.F_QUOTED_TIME]:
        st[at.INEXACT] = 1
    if phase == 1:
        st[at.COMPLETE] += 1
        if name == at.T_END and cat == at.T_DFTRACER:
            note(st, np.int64(at.END), begin, end)
    elif phase == 3 or (phase == 2 and st[fields.F_FOLDED]):
        st[at.AGGREGATED] = 1
    if is_grouped:
        if groups[place + at.G_COUNT] == 0 and name != 0 and name <= at.LAST_TRANSFER:
            groups[place + at.G_TRANSFER] = 1 if _is_io(st, cat) else 0
        add_event(st, group, ts, dur)
        count_event(st, name, ts, dur, st[fields.F_HAS] & 1 != 0)
        return np.int64(0)
    _hand_on(st, begin, ts, dur)
    return np.int64(0)


@helper
def _hand_on(st: Any, begin: np.int64, ts: np.int64, dur: np.int64) -> None:
    """Make the record a row; see ``ROW_FIELDS``."""
    enter(st, np.int64(at.ROW))
    rows, row = numbers_at(st[at.AT_ROWS]), st[at.ROWS] * _ROW_SIZE
    rows[row] = st[at.LINE]
    rows[row + 1] = begin
    rows[row + 2] = ts
    rows[row + 3] = dur
    for k in range(len(_OF_A_ROW)):
        rows[row + 4 + k] = st[_OF_A_ROW[k]]
    st[at.ROWS] += 1


@inlined
def _skipped(b: Any, st: Any, i: np.int64) -> bool:
    """Count a blank line or a bracket, which begins at *i* after its spaces; false where it is
    anything else."""
    byte = byte_at(b, i)
    bracket = byte if byte == 91 or byte == 93 else np.int64(0)
    if bracket:
        i += 1
    if byte_at(b, i) == 13:
        i += 1
    if byte_at(b, i) != 10:
        return False
    st[at.SKIPPED] += 1
    if bracket == 93:
        st[at.BRACKET] = 1
    return True


@inlined
def _scan(b: Any, st: Any, size: np.int64) -> np.int64:
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
            result = read_line(b, st, i)
            end = result
            if result >= 0:
                result = _commit(b, st, begin, end)
            if result < 0:
                st[at.ARGUMENTS] = mark
        elif _skipped(b, st, i):
            result = np.int64(0)
            end = _end_of_line(b, i)
        if result < 0 and result != fields.SLOW_LINE:
            return -result
        stops = False
        if result < 0:
            if st[at.SIDE] >= st[at.ROOM_SIDE]:
                return np.int64(at.FULL_SIDE)
            if st[at.ORDER] >= st[at.ROOM_ORDER]:
                return np.int64(at.FULL_ORDER)
            end = _end_of_line(b, begin)
            note(st, np.int64(at.SLOW), begin, end)
            enter(st, np.int64(at.LEFT))
            stops = may_name_unit(b, begin, end)
        st[at.POSITION] = end + 1
        st[at.LINE] += 1
        if stops:
            return np.int64(at.BARRIER)
    return np.int64(at.DONE)


@helper
def _spread_texts(st: Any) -> None:
    texts, slots, mask = (
        numbers_at(st[at.AT_TEXTS]),
        codes_at(st[at.AT_SLOTS]),
        st[at.ROOM_SLOTS] - 1,
    )
    for code in range(1, st[at.TEXTS]):  # the empty one is in no slot
        slots[free_slot(slots, texts[at.TEXT_SIZE * code], mask)] = code


@helper
def _spread_bins(st: Any) -> None:
    bins, slots = numbers_at(st[at.AT_BINS]), codes_at(st[at.AT_BIN_SLOTS])
    mask = st[at.ROOM_BIN_SLOTS] - 1
    for row in range(st[at.BINS]):
        hashed = word_hash(st[at.SEED], bins[row * at.BIN_SIZE + at.B_KEY])
        slots[free_slot(slots, hashed, mask)] = row + 1


@helper
def _spread_groups(st: Any) -> None:
    slots = codes_at(st[at.AT_GROUP_SLOTS])
    for group in range(st[at.GROUPS]):
        slots[group_slot(st, group)] = group + 1


@numba.njit(
    types.int64(types.int64),
    error_model="numpy",
    _nrt=False,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)
def run(address: np.int64) -> np.int64:
    """Do what the block at *address* says (``kernel_layout``)."""
    st = numbers_at(address)
    b = bytes_at(st[at.AT_BUFFER])
    operation, operand = st[at.OPERATION], st[at.OPERAND]
    if operation == at.SCAN:
        return np.int64(_scan(b, st, operand))
    if operation == at.ENTER:
        return np.int64(intern(b, st, np.int64(0), operand, np.int64(at.PLAIN)))
    if operation == at.SPREAD_TEXTS:
        _spread_texts(st)
    elif operation == at.SPREAD_GROUPS:
        _spread_groups(st)
    elif operation == at.SPREAD_BINS:
        _spread_bins(st)
    else:
        number_kinds(st, operand)
    return np.int64(0)
