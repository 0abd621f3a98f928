"""Compiled: JSON values in a buffer of lines.

**The invariant that keeps every step inside the buffer:** every scanned line ends with a newline,
and ``PADDING`` readable bytes follow the last one. No function passes a newline, and none looks at
more than 16 bytes from a position before or at it. Positions are given and returned as int64; -1
says that the line is for the reference: escapes, control characters, bytes that are not UTF-8, odd
spacing, odd numbers.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

__all__ = (
    "INLINED",
    "V_BAD",
    "V_BIG",
    "V_FALSE",
    "V_FLOAT",
    "V_INT",
    "V_NESTED",
    "V_NULL",
    "V_TEXT",
    "V_TRUE",
    "bit_length",
    "bits_of",
    "byte_at",
    "bytes_at",
    "codes_at",
    "digits_end",
    "eight_digits",
    "first_byte",
    "float_of",
    "helper",
    "inlined",
    "load",
    "low_bytes",
    "number_end",
    "numbers_at",
    "reals_at",
    "skip_nested",
    "text_end",
    "whole_number",
    "words_at",
)

V_BAD: Final = -1
V_TEXT: Final = 0
V_INT: Final = 1
V_FLOAT: Final = 2  #: a number that is no plain integer of 64 bits
V_BIG: Final = 3  #: digits of more than 63 bits, at most 20
V_TRUE: Final = 4
V_FALSE: Final = 5
V_NULL: Final = 6
V_NESTED: Final = 7

_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_QUOTES: Final = np.uint64(0x2222222222222222)
_BACKSLASHES: Final = np.uint64(0x5C5C5C5C5C5C5C5C)
_BLANKS: Final = np.uint64(0x2020202020202020)
_ZEROS: Final = np.uint64(0x3030303030303030)
_NO_DIGITS: Final = np.uint64(0x7676767676767676)
_U3: Final = np.uint64(3)
_U8: Final = np.uint64(8)
_U16: Final = np.uint64(16)
_U32: Final = np.uint64(32)
_U64: Final = np.uint64(64)
_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_LANES8: Final = np.uint64(0x00FF00FF00FF00FF)
_LANES16: Final = np.uint64(0x0000FFFF0000FFFF)
_LANE32: Final = np.uint64(0x00000000FFFFFFFF)
_TEN: Final = np.uint64(10)
_HUNDRED: Final = np.uint64(100)
_MYRIAD: Final = np.uint64(10_000)

_MAX_DEPTH: Final = 30
#: Numbers with more digits are left to the reference, which may refuse them.
_MAX_NUMBER: Final = 300


#: Marks a function that only compiled code calls: it gets no entry from Python.
_OPTIONS: Final[dict[str, Any]] = {
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    "error_model": "numpy",
    "_nrt": False,  # nothing is allocated, so nothing needs to be counted
}
helper: Final = numba.njit(**_OPTIONS)

#: The functions that become part of their callers, when the whole is optimised.
INLINED: Final[list[Any]] = []


def inlined(function: Any) -> Any:
    """Mark a small function, or one with a single caller: it becomes part of its caller."""
    compiled = helper(function)
    INLINED.append(compiled)
    return compiled


def _pointer_to(item: Any) -> Any:
    """Return what makes a pointer from an address."""
    result = types.CPointer(item)

    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(result))

        return result(types.int64), generate

    return pointer


#: The arrays of ``kernel_layout`` by their addresses: of 8, 32 and 64 bits, signed and not, and of
#: floating point numbers.
bytes_at: Final = _pointer_to(types.uint8)
codes_at: Final = _pointer_to(types.int32)
numbers_at: Final = _pointer_to(types.int64)
words_at: Final = _pointer_to(types.uint64)
reals_at: Final = _pointer_to(types.float64)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Return the eight bytes at *index* as a little-endian number."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        place = builder.gep(args[0], [args[1]])
        word = builder.bitcast(place, ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(array, types.int64), generate


@intrinsic
def byte_at(typing: Any, array: Any, index: Any) -> Any:
    """Return the byte at *index*, which counts from the beginning."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(builder.gep(args[0], [args[1]])), args[1].type)

    return types.int64(array, types.int64), generate


@intrinsic
def float_of(typing: Any, bits: Any) -> Any:
    """Return the number whose bits are those of an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


@intrinsic
def bits_of(typing: Any, number: Any) -> Any:
    """Return the bits of a floating point number as an integer."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def _trailing_zeros(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def _leading_zeros(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


@inlined
def bit_length(number: np.int64) -> np.int64:
    """Return how many bits *number*, not negative, takes."""
    return np.int64(64 - _leading_zeros(number))


@inlined
def first_byte(mask: np.uint64) -> np.int64:
    """Return the index of the first byte whose high bit is set in *mask*, not 0."""
    return np.int64(_trailing_zeros(mask) >> _U3)


@inlined
def low_bytes(word: np.uint64, count: np.int64) -> np.uint64:
    """Return *word* with only its first *count* bytes, of which there are 1 to 8."""
    return word & (_ALL >> ((_U8 - np.uint64(count)) * _U8))


@inlined
def _stops(word: np.uint64) -> np.uint64:
    """Mark the first byte that is a quote, a backslash, a control character or not ASCII."""
    quote = word ^ _QUOTES
    backslash = word ^ _BACKSLASHES
    marks = ((quote - _ONES) & ~quote) | ((backslash - _ONES) & ~backslash)
    return (marks | ((word - _BLANKS) & ~word) | word) & _HIGH


@helper
def _utf8_length(b: Any, i: np.int64) -> np.int64:
    """Return how long the character that is not ASCII at *i* is, 0 where it is not UTF-8."""
    first = byte_at(b, i)
    second = byte_at(b, i + 1)
    if second & 0xC0 != 0x80 or first < 0xC2 or first > 0xF4:
        return np.int64(0)
    if first < 0xE0:
        return np.int64(2)
    if byte_at(b, i + 2) & 0xC0 != 0x80:
        return np.int64(0)
    if first < 0xF0:
        if (first == 0xE0 and second < 0xA0) or (first == 0xED and second >= 0xA0):
            return np.int64(0)
        return np.int64(3)
    if byte_at(b, i + 3) & 0xC0 != 0x80:
        return np.int64(0)
    if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second >= 0x90):
        return np.int64(0)
    return np.int64(4)


@inlined
def text_end(b: Any, i: np.int64) -> np.int64:
    """Return where the text that begins at *i* has its closing quote, -1 if it is not plain."""
    while True:
        marks = _stops(load(b, i))
        if marks == 0:
            i += 8
            continue
        i += first_byte(marks)
        byte = byte_at(b, i)
        if byte == 34:
            return i
        if byte < 128:
            return np.int64(-1)
        length = _utf8_length(b, i)
        if length == 0:
            return np.int64(-1)
        i += length


@inlined
def _digit_stops(word: np.uint64) -> np.uint64:
    digits = word ^ _ZEROS
    return ((digits + _NO_DIGITS) | digits) & _HIGH


@inlined
def eight_digits(word: np.uint64, count: np.int64) -> np.uint64:
    """Return the number that the first *count* (1 to 8) bytes of *word* spell."""
    value = (word ^ _ZEROS) << ((_U8 - np.uint64(count)) * _U8)
    value = (value * _TEN + (value >> _U8)) & _LANES8
    value = (value * _HUNDRED + (value >> _U16)) & _LANES16
    return (value * _MYRIAD + (value >> _U32)) & _LANE32


@inlined
def digits_end(b: Any, i: np.int64) -> np.int64:
    """Return where the digits at *i* end."""
    while True:
        stops = _digit_stops(load(b, i))
        if stops != 0:
            return i + first_byte(stops)
        i += 8


@inlined
def whole_number(b: Any, i: np.int64, end: np.int64) -> np.int64:
    """Return the number that the digits from *i* to *end* spell, negative beyond 63 bits."""
    count = end - i
    if count > 19:
        return np.int64(-1)
    value = np.uint64(0)
    if count > 8:
        if count > 16:
            value = eight_digits(load(b, i), np.int64(count - 16))
            i += count - 16
            value = value * np.uint64(100_000_000) + eight_digits(load(b, i), np.int64(8))
            i += 8
        else:
            value = eight_digits(load(b, i), np.int64(count - 8))
            i += count - 8
        value = value * np.uint64(100_000_000) + eight_digits(load(b, i), np.int64(8))
    elif count > 0:
        value = eight_digits(load(b, i), count)
    return np.int64(value)  # beyond 63 bits it is negative


@helper
def number_end(b: Any, i: np.int64) -> np.int64:
    """Return where the JSON number at *i* ends, -1 where it is none or a very long one."""
    begin = i
    if byte_at(b, i) == 45:
        i += 1
    end = digits_end(b, i)
    if end == i or (byte_at(b, i) == 48 and end > i + 1):
        return np.int64(-1)
    i = end
    if byte_at(b, i) == 46:
        end = digits_end(b, i + 1)
        if end == i + 1:
            return np.int64(-1)
        i = end
    if byte_at(b, i) == 101 or byte_at(b, i) == 69:
        i += 1
        if byte_at(b, i) == 43 or byte_at(b, i) == 45:
            i += 1
        end = digits_end(b, i)
        if end == i:
            return np.int64(-1)
        i = end
    if i - begin > _MAX_NUMBER:
        return np.int64(-1)
    return i


@helper
def _scalar_end(b: Any, i: np.int64) -> np.int64:
    byte = byte_at(b, i)
    if byte == 34:
        end = text_end(b, i + 1)
        return end + 1 if end >= 0 else np.int64(-1)
    if (
        byte == 116
        and byte_at(b, i + 1) == 114
        and byte_at(b, i + 2) == 117
        and byte_at(b, i + 3) == 101
    ):
        return i + 4
    if (
        byte == 102
        and byte_at(b, i + 1) == 97
        and byte_at(b, i + 2) == 108
        and byte_at(b, i + 3) == 115
        and byte_at(b, i + 4) == 101
    ):
        return i + 5
    if (
        byte == 110
        and byte_at(b, i + 1) == 117
        and byte_at(b, i + 2) == 108
        and byte_at(b, i + 3) == 108
    ):
        return i + 4
    return number_end(b, i)


@helper
def skip_nested(b: Any, i: np.int64) -> np.int64:
    """Return the end of the object or list at *i*, -1 where it is not plain JSON or very deep."""
    objects = np.int64(0)  # a bit a level, the innermost lowest: whether it is an object
    depth = 0
    while True:
        # A value begins at i.
        byte = byte_at(b, i)
        if byte == 123 or byte == 91:
            if depth == _MAX_DEPTH:
                return np.int64(-1)
            depth += 1
            is_object = byte == 123
            objects = (objects << 1) | (1 if is_object else 0)
            i += 1
            if byte_at(b, i) != (125 if is_object else 93):
                if is_object:
                    i = _key_end(b, i)
                    if i < 0:
                        return i
                continue
        else:
            i = _scalar_end(b, i)
            if i < 0:
                return i
        # A value ended before i, or an empty object or list is about to.
        while byte_at(b, i) == (125 if objects & 1 else 93):
            i += 1
            depth -= 1
            objects >>= 1
            if depth == 0:
                return i
        if byte_at(b, i) != 44:
            return np.int64(-1)
        i += 1
        if objects & 1:
            i = _key_end(b, i)
            if i < 0:
                return i


@helper
def _key_end(b: Any, i: np.int64) -> np.int64:
    """Return where the value begins whose key begins at *i*."""
    if byte_at(b, i) != 34:
        return np.int64(-1)
    i = text_end(b, i + 1)
    if i < 0 or byte_at(b, i + 1) != 58:
        return np.int64(-1)
    return i + 2
