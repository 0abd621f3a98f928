"""Compiled: one line to its fields, in a scratch array; nothing else is changed but new texts.

A canonical line is one JSON object without odd spacing, escapes or repeated keys, with ``ph``
before ``args``, whose known fields are what tracers write. All others are for the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dftindexd.index.trace.kernel_arguments import read_arguments
from dftindexd.index.trace.kernel_fields import (
    CLEARED,
    F_ARG_KEYS,
    F_BEGIN,
    F_CAT,
    F_DUR,
    F_END,
    F_HAS,
    F_ID,
    F_KEYS,
    F_NAME,
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
    ARGUMENT_GUESSES,
    K_ARGS,
    K_CAT,
    K_DUR,
    K_ID,
    K_NAME,
    K_PH,
    K_PID,
    K_TID,
    K_TS,
    key_length,
)
from dftindexd.index.trace.kernel_text import (
    V_BAD,
    V_INT,
    V_TEXT,
    byte_at,
    inlined,
    load,
    low_bytes,
)
from dftindexd.index.trace.kernel_values import after, natural, read_value

__all__ = ("read_line",)


@inlined
def _phase(b: Any, kind: np.int64, f: Any) -> bool:
    f[F_PHASE] = 5
    if kind == V_INT:
        f[F_PHASE_INT] = 1
        if f[F_NUMBER] >= 1 and f[F_NUMBER] <= 4:
            f[F_PHASE] = f[F_NUMBER]
        return True
    if kind != V_TEXT:
        return False
    if f[F_END] - f[F_BEGIN] == 1:
        letter = byte_at(b, f[F_BEGIN])
        if letter == 88:
            f[F_PHASE] = 1
        elif letter == 67:
            f[F_PHASE] = 2
        elif letter == 65:
            f[F_PHASE] = 3
        elif letter == 77:
            f[F_PHASE] = 4
    return True


@inlined
def _field(b: Any, word: np.int64, length: np.int64, kind: np.int64, f: Any) -> bool:
    """Take a field of the record; false where it is odd or was seen before."""
    bit = np.int64(0)
    ok = True
    if length == 3:
        if word == K_PID:
            bit = np.int64(1)
            ok = natural(b, kind, f)
            f[F_PID] = f[F_NUMBER]
            if kind == V_TEXT:
                f[F_QUOTED_PID] = 1
                f[F_QUOTED] = 1
        elif word == K_TID:
            bit = np.int64(2)
            ok = natural(b, kind, f)
            f[F_TID] = f[F_NUMBER]
        elif word == K_DUR:
            bit = np.int64(4)
            ok = natural(b, kind, f)
            f[F_DUR] = f[F_NUMBER]
            f[F_TIMED] = 1
            if kind == V_TEXT:
                f[F_QUOTED_TIME] = 1
        elif word == K_CAT:
            bit = np.int64(8)
            ok = kind == V_TEXT
            f[F_CAT] = f[F_BEGIN]
            f[F_CAT + 1] = f[F_END]
    elif length == 2:
        if word == K_TS:
            bit = np.int64(16)
            ok = natural(b, kind, f)
            f[F_TS] = f[F_NUMBER]
            f[F_HAS] |= 1
            f[F_TIMED] = 1
            if kind == V_TEXT:
                f[F_QUOTED_TIME] = 1
                f[F_QUOTED] = 1
        elif word == K_PH:
            bit = np.int64(32)
            ok = _phase(b, kind, f)
        elif word == K_ID:
            bit = np.int64(64)
            f[F_ID] = 1
    elif length == 4:
        if word == K_NAME:
            bit = np.int64(128)
            ok = kind == V_TEXT
            f[F_NAME] = f[F_BEGIN]
            f[F_NAME + 1] = f[F_END]
        elif word == K_ARGS:
            return False  # no object, or a second one
    if not ok or f[F_KEYS] & bit:
        return False
    f[F_KEYS] |= bit
    return True


@inlined
def read_line(
    b: Any,
    i: np.int64,
    f: Any,
    st: Any,
    slots: Any,
    texts: Any,
    arena: Any,
    stamps: Any,
    arguments: Any,
    reals: Any,
    wanted: Any,
) -> np.int64:
    """Read the object whose brace is at *i*; return where its line's newline is.

    Below 0: ``SLOW_LINE``, or a negated ``FULL_*``.
    """
    for k in range(CLEARED):
        f[k] = 0
    has_args = False
    place = np.int64(0)
    i += 1
    while True:
        length = key_length(b, i, f, place)
        if length < 0:
            return np.int64(SLOW_LINE)
        place = min(place + 1, np.int64(ARGUMENT_GUESSES - 1))
        begin = i + 1
        i = begin + length + 2
        word = np.int64(0)
        if length >= 2 and length <= 4:
            word = np.int64(low_bytes(load(b, begin), length))
        if word == K_ARGS and byte_at(b, i) == 123:
            if has_args or f[F_PHASE] == 0:
                return np.int64(SLOW_LINE)
            has_args = True
            i = read_arguments(
                b, i + 1, f, st, slots, texts, arena, stamps, arguments, reals, wanted
            )
            if i < 0:
                return i
        else:
            kind = read_value(b, i, f)
            if kind == V_BAD:
                return np.int64(SLOW_LINE)
            i = after(kind, f)
            if word != 0 and not _field(b, word, length, kind, f):
                return np.int64(SLOW_LINE)
        byte = byte_at(b, i)
        i += 1
        if byte == 125:
            break
        if byte != 44:
            return np.int64(SLOW_LINE)
    if byte_at(b, i) == 44:
        i += 1
    if byte_at(b, i) == 13:
        i += 1
    if byte_at(b, i) != 10 or f[F_PHASE] == 0:
        return np.int64(SLOW_LINE)
    if f[F_PHASE] != 4 and f[F_HAS] & 1 == 0:
        return np.int64(SLOW_LINE)
    # The names of v0 stand for hashes; with hashes beside them the reference decides.
    is_v0 = f[F_QUOTED_PID] != 0 and f[F_ARG_KEYS] & (8 | 256) != 0
    if is_v0 and (f[F_ODD_NAME] != 0 or f[F_ARG_KEYS] & (1 | 2 | 128 | 2048) != 0):
        return np.int64(SLOW_LINE)
    return i
