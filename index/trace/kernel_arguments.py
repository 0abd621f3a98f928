"""Compiled: the members of ``args``, to fields in the scratch array and to rows of arguments.

Nothing else is changed but new texts, what nodes know, and the stamps of keys that the line has.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any

import numpy as np

from dftindexd.index.trace.kernel_fields import (
    F_ARG_NAME,
    F_ARG_VALUE,
    F_BEGIN,
    F_COMMAND,
    F_COMMAND_CODE,
    F_COUNT,
    F_END,
    F_EXECUTABLE,
    F_EXECUTABLE_CODE,
    F_FHASH,
    F_FHASH_CODE,
    F_FILE,
    F_FOLDED,
    F_HAS,
    F_HHASH,
    F_HHASH_CODE,
    F_HOST,
    F_KIND,
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
    P_CMD_HASH,
    P_COUNT,
    P_DFT_CNT,
    P_EXEC_HASH,
    P_FHASH,
    P_FNAME,
    P_HHASH,
    P_HOSTNAME,
    P_NAME,
    P_OFFSET,
    P_OTHER,
    P_RET,
    P_TIME,
    P_VALUE,
)
from dftindexd.index.trace.kernel_layout import (
    ARGUMENT_SIZE,
    ARGUMENTS,
    AT_ARGUMENTS,
    AT_REALS,
    AT_STAMPS,
    AT_WANTED,
    DIVIDE,
    FULL_ARGUMENTS,
    FULL_TEXTS,
    K_LINE,
    MULTIPLY,
    N_KEY_CODE,
    N_KEY_LENGTH,
    N_VALUE_IS,
    N_VALUE_LENGTH,
    PLAIN,
    ROOM_ARGUMENTS,
    ROWS,
    SERIAL,
    STAMP_SIZE,
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
    numbers_at,
    reals_at,
    text_end,
)
from dftindexd.index.trace.kernel_values import (
    after,
    decimal,
    is_finite,
    known_value,
    learn_value,
    plain_number,
    quoted,
    read_value,
    take_hash,
)

__all__ = ("emit_argument", "other_value", "read_argument", "text_value")

#: The longest text that is known again by its bytes, quotes included.
_KNOWN = 24


@helper
def _any_value(b: Any, st: Any, i: np.int64) -> np.int64:
    kind = read_value(b, st, i)
    return after(st, kind) if kind != V_BAD else np.int64(SLOW_LINE)


@inlined
def other_value(b: Any, st: Any, i: np.int64) -> np.int64:
    """Return where a value ends that nothing is done with, ``SLOW_LINE`` where it is odd."""
    if byte_at(b, i) == 34:
        end = text_end(b, i + 1)
        return end + 1 if end >= 0 else np.int64(SLOW_LINE)
    end, _ = plain_number(b, i)
    return end if end >= 0 else np.int64(_any_value(b, st, i))


@inlined
def text_value(
    b: Any, st: Any, i: np.int64, field: np.int64, code_field: np.int64, node: np.int64
) -> np.int64:
    """Take the text at *i*, most often the one that *node* had last, with its code.

    Return where it ends, ``SLOW_LINE`` where it is none, or a negated ``FULL_*``.
    """
    if known_value(b, st, i, node):
        length = st[node + N_VALUE_LENGTH]
        st[field] = i + 1
        st[field + 1] = i + length - 1
        st[code_field] = st[node + N_VALUE_IS]
        return i + length
    return np.int64(_new_text(b, st, i, field, code_field, node))


@helper
def _new_text(
    b: Any, st: Any, i: np.int64, field: np.int64, code_field: np.int64, node: np.int64
) -> np.int64:
    if byte_at(b, i) != 34:
        return np.int64(SLOW_LINE)
    end = text_end(b, i + 1)
    if end < 0:
        return np.int64(SLOW_LINE)
    code = intern(b, st, i + 1, end, np.int64(PLAIN))
    if code < 0:
        return np.int64(-FULL_TEXTS)
    st[field] = i + 1
    st[field + 1] = end
    st[code_field] = code
    if end + 1 - i <= _KNOWN:
        learn_value(b, st, i, end + 1, np.int64(0), code, node)
    return end + 1


@inlined
def _hash_fields(action: np.int64) -> tuple[np.int64, np.int64]:
    """Return where a hash and its code go."""
    if action == P_HHASH:
        return np.int64(F_HHASH), np.int64(F_HHASH_CODE)
    if action == P_FHASH:
        return np.int64(F_FHASH), np.int64(F_FHASH_CODE)
    if action == P_CMD_HASH:
        return np.int64(F_COMMAND), np.int64(F_COMMAND_CODE)
    return np.int64(F_EXECUTABLE), np.int64(F_EXECUTABLE_CODE)


@inlined
def _metadata_text(b: Any, st: Any, kind: np.int64, field: np.int64) -> bool:
    """Take a name or a hash of a metadata record; of other records they are of no interest."""
    if st[F_PHASE] != 4:
        return True
    if kind in (V_NESTED, V_NULL, V_TRUE, V_FALSE):
        return True  # no name: as if it were absent
    return bool(take_hash(b, st, kind, field))


@inlined
def _is_signed(b: Any, st: Any, kind: np.int64) -> bool:
    """Make the value read last a number; false where it is none."""
    return kind == V_INT or (kind == V_TEXT and quoted(b, st, True))


@helper
def _odd_argument(b: Any, st: Any, i: np.int64, action: np.int64) -> np.int64:
    """Take any value of an argument, whose kind goes to ``F_KIND``; return where it ends,
    ``SLOW_LINE`` where it is odd."""
    kind = read_value(b, st, i)
    if kind == V_BAD:
        return np.int64(SLOW_LINE)
    st[F_KIND] = kind
    end = after(st, kind)
    ok = True
    if action == P_RET:
        ok = _is_signed(b, st, kind)
        st[F_RET] = st[F_NUMBER]
        st[F_HAS] |= 2
    elif action == P_OFFSET:
        ok = _is_signed(b, st, kind)
        st[F_OFFSET] = st[F_NUMBER]
        st[F_HAS] |= 4
    elif action == P_COUNT:
        ok = _is_signed(b, st, kind)
        st[F_COUNT] = st[F_NUMBER]
        st[F_HAS] |= 8
    elif action == P_FNAME:
        st[F_ODD_NAME] |= 1 if kind != V_TEXT else 0
        st[F_FILE] = st[F_BEGIN]
        st[F_FILE + 1] = st[F_END]
    elif action == P_HOSTNAME:
        st[F_ODD_NAME] |= 1 if kind != V_TEXT else 0
        st[F_HOST] = st[F_BEGIN]
        st[F_HOST + 1] = st[F_END]
    elif action == P_NAME:
        ok = _metadata_text(b, st, kind, np.int64(F_ARG_NAME))
    elif action == P_VALUE:
        ok = _metadata_text(b, st, kind, np.int64(F_ARG_VALUE))
        st[F_VALUE_TEXT] = 1 if kind == V_TEXT else 0
    elif action == P_DFT_CNT:
        st[F_FOLDED] = 1
    elif action != P_OTHER and action != P_TIME:
        field, _ = _hash_fields(action)
        ok = take_hash(b, st, kind, field)
        if action == P_CMD_HASH and kind == V_INT and st[F_NUMBER] == 0:
            ok = False
    return end if ok else np.int64(SLOW_LINE)


@inlined
def _number_argument(
    b: Any, st: Any, i: np.int64, action: np.int64, field: np.int64, bit: np.int64
) -> np.int64:
    end, value = plain_number(b, i)
    if end < 0:
        return np.int64(_odd_argument(b, st, i, action))
    st[field] = value
    st[F_HAS] |= bit
    return end


@inlined
def read_argument(
    b: Any, st: Any, i: np.int64, action: np.int64, emits: bool, node: np.int64
) -> np.int64:
    """Take the value at *i* of an argument; return where it ends, below 0 as ``read_line``.

    Where the line *emits* its arguments the value read last is this one.
    """
    if emits:
        return np.int64(_odd_argument(b, st, i, action))
    if action == P_OTHER or action == P_TIME:
        return other_value(b, st, i)
    if action == P_RET:
        return _number_argument(b, st, i, action, np.int64(F_RET), np.int64(2))
    if action == P_OFFSET:
        return _number_argument(b, st, i, action, np.int64(F_OFFSET), np.int64(4))
    if action == P_COUNT:
        return _number_argument(b, st, i, action, np.int64(F_COUNT), np.int64(8))
    is_hash = (
        action == P_HHASH or action == P_FHASH or action == P_CMD_HASH or action == P_EXEC_HASH
    )
    if is_hash and byte_at(b, i) == 34:
        field, code_field = _hash_fields(action)
        return text_value(b, st, i, field, code_field, node)
    return np.int64(_odd_argument(b, st, i, action))


@helper
def emit_argument(
    b: Any, st: Any, i: np.int64, action: np.int64, listed: bool, node: np.int64
) -> np.int64:
    """Hand on the argument whose value begins at *i* and was read last; return 0, ``SLOW_LINE`` or
    a negated ``FULL_*``.

    Of a record that *listed* says is a counter or aggregated all are handed on but hashes, of any
    other those that the configuration names.
    """
    stamps, arguments = numbers_at(st[AT_STAMPS]), numbers_at(st[AT_ARGUMENTS])
    wanted, reals = numbers_at(st[AT_WANTED]), reals_at(st[AT_REALS])
    kind = st[F_KIND]
    key = st[node + N_KEY_CODE]
    if key < 0:
        end = i - 2
        begin = end - st[node + N_KEY_LENGTH]
        key = intern(b, st, begin, end, np.int64(PLAIN))
        if key < 0:
            return np.int64(-FULL_TEXTS)
        st[node + N_KEY_CODE] = key
    is_hash = (
        action == P_HHASH or action == P_FHASH or action == P_CMD_HASH or action == P_EXEC_HASH
    )
    if not listed or is_hash:
        is_wanted = False
        for k in range(st[WANTED]):
            if wanted[k] == key:
                is_wanted = True
        if not is_wanted:
            return np.int64(0)
    stamp = STAMP_SIZE * key + K_LINE
    if stamps[stamp] == st[SERIAL]:
        return np.int64(SLOW_LINE)
    stamps[stamp] = st[SERIAL]
    if kind in (V_NULL, V_NESTED):
        return np.int64(0)
    is_scaled = listed and action == P_TIME and st[MULTIPLY] != st[DIVIDE]
    if is_scaled and kind != V_INT:
        return np.int64(SLOW_LINE)
    n = st[ARGUMENTS]
    if n >= st[ROOM_ARGUMENTS]:
        return np.int64(-FULL_ARGUMENTS)
    place = n * ARGUMENT_SIZE
    for k in range(ARGUMENT_SIZE):
        arguments[place + k] = 0
    arguments[place + 0] = st[ROWS]
    arguments[place + 1] = key
    arguments[place + 2] = -1
    reals[n] = 0.0
    if kind == V_TEXT:
        code = intern(b, st, st[F_BEGIN], st[F_END], np.int64(PLAIN))
        if code < 0:
            return np.int64(-FULL_TEXTS)
        arguments[place + 2] = code
    elif kind == V_INT:
        number = st[F_NUMBER]
        real = np.float64(number)
        if is_scaled:
            if number > INT64_MAX // st[MULTIPLY] or number < -(INT64_MAX // st[MULTIPLY]):
                return np.int64(SLOW_LINE)
            number = number * st[MULTIPLY] // st[DIVIDE]
            real = real * np.float64(st[MULTIPLY]) / np.float64(st[DIVIDE])
        arguments[place + 3] = number
        reals[n] = real
    elif kind in (V_FLOAT, V_BIG):
        real = decimal(b, st[F_BEGIN], st[F_END])
        if np.isnan(real):
            if not is_finite(b, st[F_BEGIN], st[F_END]):
                return np.int64(SLOW_LINE)
            arguments[place + 4] = st[F_BEGIN]
            arguments[place + 5] = st[F_END]
        else:
            arguments[place + 3] = np.int64(real)
            reals[n] = real
    else:
        number = np.int64(1) if kind == V_TRUE else np.int64(0)
        arguments[place + 3] = number
        reals[n] = np.float64(number)
    st[ARGUMENTS] = n + 1
    return np.int64(0)
