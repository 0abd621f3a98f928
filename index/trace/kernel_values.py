"""Compiled: the values of a line, read into the scratch array of ``kernel_fields``.

A value that is odd, though it may be JSON, is ``V_BAD`` or refused: its line is for the reference.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace.kernel_fields import F_BEGIN, F_END, F_NUMBER
from dftindexd.index.trace.kernel_layout import N_VALUE, N_VALUE_IS, N_VALUE_LENGTH
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
    digits_end,
    helper,
    inlined,
    load,
    low_bytes,
    number_end,
    skip_nested,
    text_end,
    whole_number,
)

__all__ = (
    "after",
    "decimal",
    "is_finite",
    "known_value",
    "learn_value",
    "natural",
    "plain_number",
    "quoted",
    "read_value",
    "take_hash",
)

_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_GREATEST: Final = np.frombuffer(b"18446744073709551615", np.uint8)
_POWERS: Final = 10.0 ** np.arange(23)


@inlined
def _number(b: Any, st: Any, i: np.int64) -> np.int64:
    """Read the number at *i*; return its kind, with its end in the scratch array."""
    negative = byte_at(b, i) == 45
    begin = i + 1 if negative else i
    end = digits_end(b, begin)
    byte = byte_at(b, end)
    if end == begin or (byte_at(b, begin) == 48 and end > begin + 1):
        return np.int64(V_BAD)
    st[F_END] = end
    if byte == 46 or byte == 101 or byte == 69:
        st[F_END] = number_end(b, i)
        return np.int64(V_FLOAT) if st[F_END] >= 0 else np.int64(V_BAD)
    value = whole_number(b, begin, end)
    if value < 0:
        if negative or end - begin > 20:
            st[F_END] = number_end(b, i)
            return np.int64(V_FLOAT) if st[F_END] >= 0 else np.int64(V_BAD)
        return np.int64(V_BIG)
    if negative:
        if value == 0:
            return np.int64(V_FLOAT)
        value = -value
    st[F_NUMBER] = value
    return np.int64(V_INT)


@inlined
def read_value(b: Any, st: Any, i: np.int64) -> np.int64:
    """Read any value at *i*; return its kind. A text begins after its quote; ``F_END`` is the end.

    What is not plain is ``V_BAD``.
    """
    byte = byte_at(b, i)
    st[F_BEGIN] = i
    if byte == 34:
        end = text_end(b, i + 1)
        if end < 0:
            return np.int64(V_BAD)
        st[F_BEGIN] = i + 1
        st[F_END] = end
        return np.int64(V_TEXT)
    if byte == 45 or (byte >= 48 and byte <= 57):
        return _number(b, st, i)
    if byte == 123 or byte == 91:
        st[F_END] = skip_nested(b, i)
        return np.int64(V_NESTED) if st[F_END] >= 0 else np.int64(V_BAD)
    word = load(b, i)
    if low_bytes(word, np.int64(4)) == np.uint64(0x65757274):
        st[F_END] = i + 4
        return np.int64(V_TRUE)
    if low_bytes(word, np.int64(5)) == np.uint64(0x65736C6166):
        st[F_END] = i + 5
        return np.int64(V_FALSE)
    if low_bytes(word, np.int64(4)) == np.uint64(0x6C6C756E):
        st[F_END] = i + 4
        return np.int64(V_NULL)
    return np.int64(V_BAD)


@inlined
def after(st: Any, kind: np.int64) -> np.int64:
    return st[F_END] + 1 if kind == V_TEXT else st[F_END]


@inlined
def plain_number(b: Any, i: np.int64) -> tuple[np.int64, np.int64]:
    """Return where the number at *i* ends and what it is, if it is a plain integer that is not
    negative and a member or the end of an object follows; else ends at -1."""
    end = digits_end(b, i)
    count = end - i
    following = byte_at(b, end)
    if count == 0 or count > 18 or (following != 44 and following != 125):
        return np.int64(-1), np.int64(0)
    if byte_at(b, i) == 48 and count > 1:
        return np.int64(-1), np.int64(0)
    return end, whole_number(b, i, end)


@inlined
def known_value(b: Any, st: Any, i: np.int64, node: np.int64) -> bool:
    """Tell whether the value at *i* is the one that *node* had last."""
    place = node + N_VALUE
    if np.int64(load(b, i)) & st[place + 3] != st[place]:
        return False
    return bool(
        st[node + N_VALUE_LENGTH] < 8
        or (
            np.int64(load(b, i + 8)) & st[place + 4] == st[place + 1]
            and np.int64(load(b, i + 16)) & st[place + 5] == st[place + 2]
        )
    )


@helper
def learn_value(
    b: Any,
    st: Any,
    i: np.int64,
    end: np.int64,
    followed: np.int64,
    meaning: np.int64,
    node: np.int64,
) -> None:
    """Let *node* know the value from *i* to *end*; *followed* is 1 where what follows it must be
    the same too. Both together are at most 24 bytes."""
    place = node + N_VALUE
    for k in range(3):
        size = min(max(end + followed - i - 8 * k, np.int64(0)), np.int64(8))
        word, mask = np.uint64(0), np.uint64(0)
        if size > 0:
            word, mask = low_bytes(load(b, i + 8 * k), size), low_bytes(_ALL, size)
        st[place + k] = np.int64(word)
        st[place + 3 + k] = np.int64(mask)
    st[node + N_VALUE_LENGTH] = end - i
    st[node + N_VALUE_IS] = meaning


@inlined
def quoted(b: Any, st: Any, signed: bool) -> bool:
    """Turn a quoted number, read last, into a plain one; false where it is none."""
    begin = st[F_BEGIN]
    negative = signed and byte_at(b, begin) == 45
    if negative:
        begin += 1
    if begin >= st[F_END] or digits_end(b, begin) != st[F_END]:
        return False
    value = whole_number(b, begin, st[F_END])
    st[F_NUMBER] = -value if negative else value
    return value >= 0


@inlined
def natural(b: Any, st: Any, kind: np.int64) -> bool:
    """Make the value read last a number that is not negative; false where it is none."""
    if kind == V_TEXT:
        return quoted(b, st, False)
    return kind == V_INT and st[F_NUMBER] >= 0


@inlined
def take_hash(b: Any, st: Any, kind: np.int64, field: np.int64) -> bool:
    """Take the value read last as a hash: a text, or a number as it is written."""
    if kind == V_BIG and st[F_END] - st[F_BEGIN] == 20:
        for k in range(20):
            byte = byte_at(b, st[F_BEGIN] + k)
            if byte != _GREATEST[k]:
                if byte > _GREATEST[k]:
                    return False
                break
    elif kind != V_TEXT and kind != V_BIG and not (kind == V_INT and st[F_NUMBER] >= 0):
        return False
    st[field] = st[F_BEGIN]
    st[field + 1] = st[F_END]
    return True


@helper
def decimal(b: Any, begin: np.int64, end: np.int64) -> float:
    """Return a plain decimal number where that is exact in floating point, else NaN."""
    negative = byte_at(b, begin) == 45
    if negative:
        begin += 1
    point = digits_end(b, begin)
    if byte_at(b, point) != 46 or end - begin > 16 or digits_end(b, point + 1) != end:
        return np.nan
    places = end - point - 1
    mantissa = whole_number(b, begin, point)
    for k in range(point + 1, end):
        mantissa = mantissa * 10 + (np.int64(byte_at(b, k)) - 48)
    real = np.float64(mantissa) / _POWERS[places]
    return -real if negative else real


@helper
def is_finite(b: Any, begin: np.int64, end: np.int64) -> bool:
    """Tell whether a number is surely finite: at most two digits of exponent, or none at all."""
    for k in range(begin, end):
        if byte_at(b, k) == 101 or byte_at(b, k) == 69:
            digits = k + 2 if byte_at(b, k + 1) == 43 or byte_at(b, k + 1) == 45 else k + 1
            return bool(end - digits <= 2 and k - begin <= 100)
    return True
