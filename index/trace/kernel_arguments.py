"""Compiled: the members of ``args``, to fields in the scratch array and to rows of arguments.

Nothing else is changed but new texts and the stamps of keys that the line has.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any

import numpy as np

from dftindexd.index.trace.kernel_fields import (
    F_ARG_KEYS,
    F_ARG_NAME,
    F_ARG_VALUE,
    F_BEGIN,
    F_COMMAND,
    F_COUNT,
    F_END,
    F_EXECUTABLE,
    F_FHASH,
    F_FILE,
    F_FOLDED,
    F_HAS,
    F_HHASH,
    F_HOST,
    F_NUMBER,
    F_ODD_NAME,
    F_OFFSET,
    F_PHASE,
    F_RET,
    F_VALUE_TEXT,
    INT64_MAX,
    SLOW_LINE,
)
from dftindexd.index.trace.kernel_keys import (
    ARGUMENT_GUESSES,
    K_CMD_HASH,
    K_COUNT,
    K_DFT_CNT,
    K_DUR,
    K_DUR_MAX,
    K_DUR_MIN,
    K_DUR_SUM,
    K_EXEC_HASH,
    K_FHASH,
    K_FNAME,
    K_HHASH,
    K_HOSTNAME,
    K_NAME,
    K_OFFSET,
    K_RET,
    K_VALUE,
    key_length,
)
from dftindexd.index.trace.kernel_layout import (
    ARGUMENT_SIZE,
    ARGUMENTS,
    DIVIDE,
    FULL_ARGUMENTS,
    FULL_TEXTS,
    MULTIPLY,
    PLAIN,
    ROWS,
    SERIAL,
    WANTED,
)
from dftindexd.index.trace.kernel_tables import intern
from dftindexd.index.trace.kernel_text import (
    V_BAD,
    V_BIG,
    V_FALSE,
    V_FLOAT,
    V_INT,
    V_NESTED,
    V_NULL,
    V_TEXT,
    V_TRUE,
    byte_at,
    helper,
    inlined,
    load,
    low_bytes,
)
from dftindexd.index.trace.kernel_values import (
    after,
    decimal,
    is_finite,
    quoted,
    read_value,
    take_hash,
)

__all__ = ("read_arguments",)


@helper
def _emit(
    b: Any,
    kind: np.int64,
    key_begin: np.int64,
    key_end: np.int64,
    always: bool,
    is_time: bool,
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
    """Hand on an argument; return 0, ``SLOW_LINE`` or a negated ``FULL_*``."""
    key = intern(b, key_begin, key_end, np.int64(PLAIN), st, slots, texts, arena)
    if key < 0:
        return np.int64(-FULL_TEXTS)
    if not always:
        for k in range(st[WANTED]):
            if wanted[k] == key:
                always = True
        if not always:
            return np.int64(0)
    if stamps[key, 0] == st[SERIAL]:
        return np.int64(SLOW_LINE)
    stamps[key, 0] = st[SERIAL]
    if kind in (V_NULL, V_NESTED):
        return np.int64(0)
    if is_time and st[MULTIPLY] != st[DIVIDE] and kind != V_INT:
        return np.int64(SLOW_LINE)
    n = st[ARGUMENTS]
    if n >= len(arguments):
        return np.int64(-FULL_ARGUMENTS)
    for k in range(ARGUMENT_SIZE):
        arguments[n, k] = 0
    arguments[n, 0] = st[ROWS]
    arguments[n, 1] = key
    arguments[n, 2] = -1
    reals[n] = 0.0
    if kind == V_TEXT:
        code = intern(b, f[F_BEGIN], f[F_END], np.int64(PLAIN), st, slots, texts, arena)
        if code < 0:
            return np.int64(-FULL_TEXTS)
        arguments[n, 2] = code
    elif kind == V_INT:
        number = f[F_NUMBER]
        real = np.float64(number)
        if is_time and st[MULTIPLY] != st[DIVIDE]:
            if number > INT64_MAX // st[MULTIPLY] or number < -(INT64_MAX // st[MULTIPLY]):
                return np.int64(SLOW_LINE)
            number = number * st[MULTIPLY] // st[DIVIDE]
            real = real * np.float64(st[MULTIPLY]) / np.float64(st[DIVIDE])
        arguments[n, 3] = number
        reals[n] = real
    elif kind in (V_FLOAT, V_BIG):
        real = decimal(b, f[F_BEGIN], f[F_END])
        if np.isnan(real):
            if not is_finite(b, f[F_BEGIN], f[F_END]):
                return np.int64(SLOW_LINE)
            arguments[n, 4] = f[F_BEGIN]
            arguments[n, 5] = f[F_END]
        else:
            arguments[n, 3] = np.int64(real)
            reals[n] = real
    else:
        number = np.int64(1) if kind == V_TRUE else np.int64(0)
        arguments[n, 3] = number
        reals[n] = np.float64(number)
    st[ARGUMENTS] = n + 1
    return np.int64(0)


@inlined
def _argument(
    b: Any, word: np.int64, length: np.int64, kind: np.int64, key_end: np.int64, f: Any
) -> np.int64:
    """Take a known argument. Return 1 for one that has its own column, 2 for a duration, 0 for
    any other; ``SLOW_LINE`` where its value is odd, or for a key seen before."""
    bit = np.int64(0)
    result = np.int64(0)
    ok = True
    if length == 5:
        if word == K_HHASH:
            bit, result = np.int64(1), np.int64(1)
            ok = take_hash(b, kind, f, np.int64(F_HHASH))
        elif word == K_FHASH:
            bit, result = np.int64(2), np.int64(1)
            ok = take_hash(b, kind, f, np.int64(F_FHASH))
        elif word == K_COUNT:
            bit = np.int64(4)
            ok = kind == V_INT or (kind == V_TEXT and quoted(b, f, True))
            f[F_COUNT] = f[F_NUMBER]
            f[F_HAS] |= 8
        elif word == K_FNAME:
            bit = np.int64(8)
            f[F_ODD_NAME] |= 1 if kind != V_TEXT else 0
            f[F_FILE] = f[F_BEGIN]
            f[F_FILE + 1] = f[F_END]
        elif word == K_VALUE:
            bit = np.int64(16)
            ok = _metadata_text(b, kind, f, np.int64(F_ARG_VALUE))
            f[F_VALUE_TEXT] = 1 if kind == V_TEXT else 0
    elif length == 3:
        if word == K_RET:
            bit = np.int64(32)
            ok = kind == V_INT or (kind == V_TEXT and quoted(b, f, True))
            f[F_RET] = f[F_NUMBER]
            f[F_HAS] |= 2
        elif word == K_DUR:
            result = np.int64(2)
    elif length == 6:
        if word == K_OFFSET:
            bit = np.int64(64)
            ok = kind == V_INT or (kind == V_TEXT and quoted(b, f, True))
            f[F_OFFSET] = f[F_NUMBER]
            f[F_HAS] |= 4
    elif length == 8:
        if word == K_CMD_HASH:
            bit, result = np.int64(128), np.int64(1)
            ok = take_hash(b, kind, f, np.int64(F_COMMAND)) and not (
                kind == V_INT and f[F_NUMBER] == 0
            )
        elif word == K_HOSTNAME:
            bit = np.int64(256)
            f[F_ODD_NAME] |= 1 if kind != V_TEXT else 0
            f[F_HOST] = f[F_BEGIN]
            f[F_HOST + 1] = f[F_END]
    elif length == 4:
        if word == K_NAME:
            bit = np.int64(512)
            ok = _metadata_text(b, kind, f, np.int64(F_ARG_NAME))
    elif length == 7:
        if word == K_DFT_CNT:
            bit = np.int64(1024)
            f[F_FOLDED] = 1
        elif word in (K_DUR_SUM, K_DUR_MIN, K_DUR_MAX):
            result = np.int64(2)
    elif length == 9 and word == K_EXEC_HASH and byte_at(b, key_end - 1) == 104:
        bit, result = np.int64(2048), np.int64(1)
        ok = take_hash(b, kind, f, np.int64(F_EXECUTABLE))
    if not ok or f[F_ARG_KEYS] & bit:
        return np.int64(SLOW_LINE)
    f[F_ARG_KEYS] |= bit
    return result


@inlined
def _metadata_text(b: Any, kind: np.int64, f: Any, field: np.int64) -> bool:
    """Take a name or a hash of a metadata record; of other records they are of no interest."""
    if f[F_PHASE] != 4:
        return True
    if kind in (V_NESTED, V_NULL, V_TRUE, V_FALSE):
        return True  # no name: as if it were absent
    return bool(take_hash(b, kind, f, field))


@inlined
def read_arguments(
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
    """Read the members of ``args`` from *i* on; return the position after its brace."""
    listed = f[F_PHASE] == 2 or f[F_PHASE] == 3
    emits = listed or (st[WANTED] > 0 and f[F_PHASE] != 4)
    if byte_at(b, i) == 125:
        return i + 1
    place = np.int64(ARGUMENT_GUESSES)
    while True:
        length = key_length(b, i, f, place)
        if length < 0:
            return np.int64(SLOW_LINE)
        place += 1
        begin = i + 1
        end = begin + length
        kind = read_value(b, end + 2, f)
        if kind == V_BAD:
            return np.int64(SLOW_LINE)
        i = after(kind, f)
        column = np.int64(0)
        if length >= 3 and length <= 9:
            word = np.int64(low_bytes(load(b, begin), min(length, np.int64(8))))
            column = _argument(b, word, length, kind, end, f)
            if column < 0:
                return column
        if emits:
            always = listed and column != 1
            is_time = listed and column == 2
            result = _emit(
                b, kind, begin, end, always, is_time, f, st,
                slots, texts, arena, stamps, arguments, reals, wanted,
            )  # fmt: skip
            if result < 0:
                return result
        byte = byte_at(b, i)
        i += 1
        if byte == 125:
            return i
        if byte != 44:
            return np.int64(SLOW_LINE)
