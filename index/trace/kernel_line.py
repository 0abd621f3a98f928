"""Compiled: one line to its fields, in a scratch array; nothing else is changed but new texts.

A canonical line is one JSON object without odd spacing, escapes or repeated keys, with ``ph``
before ``args``, whose known fields are what tracers write. All others are for the reference.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace.kernel_arguments import (
    emit_argument,
    other_value,
    read_argument,
    text_value,
)
from dftindexd.index.trace.kernel_fields import (
    CLEARED,
    F_BEGIN,
    F_CAT,
    F_CAT_CODE,
    F_DUR,
    F_END,
    F_EXECUTABLE_CODE,
    F_HAS,
    F_KEYS,
    F_NAME,
    F_NAME_CODE,
    F_NUMBER,
    F_ODD_NAME,
    F_PHASE,
    F_PHASE_INT,
    F_PID,
    F_QUOTED,
    F_QUOTED_PID,
    F_QUOTED_TIME,
    F_TID,
    F_TIMED,
    F_TS,
    SLOW_LINE,
)
from dftindexd.index.trace.kernel_keys import (
    A_ARGS,
    A_CAT,
    A_DUR,
    A_END_ARGS,
    A_END_BOTH,
    A_END_RECORD,
    A_ID,
    A_NAME,
    A_OTHER,
    A_PH,
    A_PID,
    A_TID,
    A_TS,
    FIRST_ARGUMENT,
    HASHES,
    NAMES_OF_V0,
)
from dftindexd.index.trace.kernel_layout import (
    N_KEYS,
    N_META,
    N_VALUE_IS,
    N_VALUE_LENGTH,
    SCRATCH,
    WANTED,
)
from dftindexd.index.trace.kernel_shapes import action_of, find_piece, learn_piece, root
from dftindexd.index.trace.kernel_text import V_BAD, V_INT, V_TEXT, byte_at, helper, inlined
from dftindexd.index.trace.kernel_values import (
    after,
    known_value,
    learn_value,
    natural,
    plain_number,
    read_value,
)

__all__ = ("read_line",)

#: The longest value that is known again by its bytes, less one for what follows it.
_KNOWN: Final = 23


@inlined
def _phase(b: Any, st: Any, kind: np.int64) -> bool:
    st[F_PHASE] = 5
    if kind == V_INT:
        st[F_PHASE_INT] = 1
        if st[F_NUMBER] >= 1 and st[F_NUMBER] <= 4:
            st[F_PHASE] = st[F_NUMBER]
        return True
    if kind != V_TEXT:
        return False
    if st[F_END] - st[F_BEGIN] == 1:
        letter = byte_at(b, st[F_BEGIN])
        if letter == 88:
            st[F_PHASE] = 1
        elif letter == 67:
            st[F_PHASE] = 2
        elif letter == 65:
            st[F_PHASE] = 3
        elif letter == 77:
            st[F_PHASE] = 4
    return True


@helper
def _odd_field(b: Any, st: Any, i: np.int64, action: np.int64) -> np.int64:
    """Take any value of a field; return where it ends, ``SLOW_LINE`` where it is odd."""
    kind = read_value(b, st, i)
    if kind == V_BAD:
        return np.int64(SLOW_LINE)
    ok = True
    if action == A_PID:
        ok = natural(b, st, kind)
        st[F_PID] = st[F_NUMBER]
        if kind == V_TEXT:
            st[F_QUOTED_PID] = 1
            st[F_QUOTED] = 1
    elif action == A_TID:
        ok = natural(b, st, kind)
        st[F_TID] = st[F_NUMBER]
    elif action == A_DUR:
        ok = natural(b, st, kind)
        st[F_DUR] = st[F_NUMBER]
        if kind == V_TEXT:
            st[F_QUOTED_TIME] = 1
    elif action == A_TS:
        ok = natural(b, st, kind)
        st[F_TS] = st[F_NUMBER]
        if kind == V_TEXT:
            st[F_QUOTED_TIME] = 1
            st[F_QUOTED] = 1
    elif action == A_PH:
        ok = _phase(b, st, kind)
    elif action == A_NAME or action == A_CAT:
        ok = kind == V_TEXT
    return after(st, kind) if ok else np.int64(SLOW_LINE)


@inlined
def _phase_field(b: Any, st: Any, i: np.int64, node: np.int64) -> np.int64:
    """Take the phase; what a node knows is the phase, plus 8 where it is a number."""
    if known_value(b, st, i, node):
        st[F_PHASE] = st[node + N_VALUE_IS] & 7
        st[F_PHASE_INT] = st[node + N_VALUE_IS] >> 3
        return i + st[node + N_VALUE_LENGTH]
    end = _odd_field(b, st, i, np.int64(A_PH))
    if end >= 0 and end - i <= _KNOWN:
        phase = st[F_PHASE] | (st[F_PHASE_INT] << 3)
        learn_value(b, st, i, end, np.int64(1), phase, node)
    return end


@inlined
def _number_field(b: Any, st: Any, i: np.int64, action: np.int64, field: np.int64) -> np.int64:
    end, value = plain_number(b, i)
    if end < 0:
        return np.int64(_odd_field(b, st, i, action))
    st[field] = value
    return end


@inlined
def _id_field(
    b: Any, st: Any, i: np.int64, action: np.int64, field: np.int64, node: np.int64
) -> np.int64:
    """Take a pid or tid, most often the one that the line before had."""
    if known_value(b, st, i, node):
        st[field] = st[node + N_VALUE_IS]
        return i + st[node + N_VALUE_LENGTH]
    end, value = plain_number(b, i)
    if end < 0:
        return np.int64(_odd_field(b, st, i, action))
    st[field] = value
    learn_value(b, st, i, end, np.int64(1), value, node)
    return end


@inlined
def _field(b: Any, st: Any, i: np.int64, action: np.int64, node: np.int64) -> np.int64:
    """Take the value at *i* of the record's own field; return where it ends, below 0 as
    :func:`read_line`."""
    if action == A_OTHER or action == A_ID:
        return other_value(b, st, i)
    if action == A_TS:
        st[F_HAS] |= 1
        st[F_TIMED] = 1
        return _number_field(b, st, i, action, np.int64(F_TS))
    if action == A_DUR:
        st[F_TIMED] = 1
        return _number_field(b, st, i, action, np.int64(F_DUR))
    if action == A_PID:
        return _id_field(b, st, i, action, np.int64(F_PID), node)
    if action == A_TID:
        return _id_field(b, st, i, action, np.int64(F_TID), node)
    if action == A_PH:
        return _phase_field(b, st, i, node)
    if action == A_CAT:
        return text_value(b, st, i, np.int64(F_CAT), np.int64(F_CAT_CODE), node)
    end = np.int64(_odd_field(b, st, i, action))
    if end >= 0:
        st[F_NAME] = st[F_BEGIN]
        st[F_NAME + 1] = st[F_END]
    return end


@inlined
def _is_whole(b: Any, st: Any, i: np.int64) -> bool:
    """Tell whether the line ends at *i* and has what a record must have."""
    if byte_at(b, i) != 10 or st[F_PHASE] == 0:
        return False
    if st[F_PHASE] != 4 and st[F_HAS] & 1 == 0:
        return False
    # The names of v0 stand for hashes; with hashes beside them the reference decides.
    if st[F_QUOTED_PID] == 0 or st[F_KEYS] & NAMES_OF_V0 == 0:
        return True
    return st[F_ODD_NAME] == 0 and st[F_KEYS] & HASHES == 0


@inlined
def read_line(b: Any, st: Any, i: np.int64) -> np.int64:
    """Read the object whose brace is at *i*; return where its line's newline is.

    Below 0: ``SLOW_LINE``, or a negated ``FULL_*``.
    """
    for k in range(SCRATCH, SCRATCH + CLEARED):
        st[k] = 0
    for k in range(F_NAME_CODE, F_EXECUTABLE_CODE + 1):
        st[k] = -1
    node = root(st)
    in_args = False
    listed = False
    emits = False
    i += 1
    while True:
        piece = find_piece(b, st, i, node)
        if piece == 0:
            piece = learn_piece(b, st, i, node, in_args)
            if piece < 0:
                return np.int64(SLOW_LINE)
        node = piece
        meta = st[node + N_META]
        i += meta & 0xFF
        action = action_of(meta)
        if action >= FIRST_ARGUMENT:
            begin = i
            i = read_argument(b, st, i, action, emits, node)
            if i >= 0 and emits:
                result = emit_argument(b, st, begin, action, listed, node)
                if result < 0:
                    return result
        elif action == A_ARGS:
            if st[F_PHASE] == 0:
                return np.int64(SLOW_LINE)
            in_args = True
            listed = st[F_PHASE] == 2 or st[F_PHASE] == 3
            emits = listed or (st[WANTED] > 0 and st[F_PHASE] != 4)
        elif action == A_END_BOTH or action == A_END_RECORD:
            break
        elif action == A_END_ARGS:
            in_args = False
        else:
            i = _field(b, st, i, action, node)
        if i < 0:
            return i
    st[F_KEYS] = st[node + N_KEYS]
    if byte_at(b, i) == 44:
        i += 1
    if byte_at(b, i) == 13:
        i += 1
    return i if _is_whole(b, st, i) else np.int64(SLOW_LINE)
