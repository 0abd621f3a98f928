"""Compiled: one line to its fields, in a scratch array; nothing else is changed but new texts.

A canonical line is one JSON object without odd spacing, escapes or repeated keys, with ``ph``
before ``args``, whose known fields are what tracers write. All others are for the reference.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace.kernel_layout import (
    ARGUMENT_SIZE,
    ARGUMENTS,
    DIVIDE,
    FIRST_GUESS,
    FULL_ARGUMENTS,
    FULL_TEXTS,
    GUESS_SIZE,
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
    *(
        "F_ARG_NAME",
        "F_ARG_VALUE",
        "F_CAT",
        "F_CODES",
        "F_COMMAND",
        "F_COUNT",
        "F_DUR",
        "F_EXECUTABLE",
    ),
    *("F_FHASH", "F_FILE", "F_FOLDED", "F_HAS", "F_HHASH", "F_HOST", "F_ID", "F_NAME"),
    *("F_OFFSET", "F_PHASE", "F_PHASE_INT", "F_PID", "F_QUOTED", "F_QUOTED_PID", "F_QUOTED_TIME"),
    *("F_RET", "F_TID", "F_TIMED", "F_TS", "F_VALUE_TEXT", "SLOW_LINE"),
    *("INT64_MAX", "read_line"),
)

#: Results of :func:`read_line` below 0; others are ends of lines. ``FULL_*`` come negated.
SLOW_LINE: Final = -100

INT64_MAX: Final = 2**63 - 1

F_KEYS: Final = 0  # which known keys were seen
F_ARG_KEYS: Final = 1
F_PHASE: Final = 2
F_PID: Final = 3
F_TID: Final = 4
F_TS: Final = 5
F_DUR: Final = 6
F_RET: Final = 7
F_OFFSET: Final = 8
F_COUNT: Final = 9
F_HAS: Final = 10
F_QUOTED_PID: Final = 11
F_QUOTED_TIME: Final = 12  # ts or dur
F_QUOTED: Final = 13  # ts or pid: a mark of v0
F_PHASE_INT: Final = 14
F_ID: Final = 15
F_TIMED: Final = 16  # ts or dur is there
F_FOLDED: Final = 17  # dft_cnt is there
F_VALUE_TEXT: Final = 18  # args.value is a text
F_ODD_NAME: Final = 19  # args.hostname or args.fname is no text
# Texts: begin and end.
F_NAME: Final = 20
F_CAT: Final = 22
F_HHASH: Final = 24
F_FHASH: Final = 26
F_COMMAND: Final = 28
F_EXECUTABLE: Final = 30
F_HOST: Final = 32
F_FILE: Final = 34
F_ARG_NAME: Final = 36
F_ARG_VALUE: Final = 38
# The value read last: where it begins and ends, and its number.
_BEGIN: Final = 40
_END: Final = 41
_NUMBER: Final = 42
F_CODES: Final = 43  # of name, category, host's, file's and string's hash
_CLEARED: Final = 40
# Guesses, one a place of a key in the line: two words of text, their masks, and the key's length.
# Nearly every line has the keys of the one before; then a key is known without looking for its end,
# and the processor need not wait for that end to go on.
_GUESSES: Final = 32
_ARGUMENT_GUESSES: Final = 16
_GUESSED: Final = 13  # the longest key, with quotes and colon in two words


def _word(key: bytes) -> int:
    return int.from_bytes(key[:8], "little")


_ID: Final = _word(b"id")
_PH: Final = _word(b"ph")
_TS: Final = _word(b"ts")
_PID: Final = _word(b"pid")
_TID: Final = _word(b"tid")
_DUR: Final = _word(b"dur")
_CAT: Final = _word(b"cat")
_RET: Final = _word(b"ret")
_NAME: Final = _word(b"name")
_ARGS: Final = _word(b"args")
_HHASH: Final = _word(b"hhash")
_FHASH: Final = _word(b"fhash")
_FNAME: Final = _word(b"fname")
_COUNT: Final = _word(b"count")
_VALUE: Final = _word(b"value")
_OFFSET: Final = _word(b"offset")
_DUR_SUM: Final = _word(b"dur_sum")
_DUR_MIN: Final = _word(b"dur_min")
_DUR_MAX: Final = _word(b"dur_max")
_DFT_CNT: Final = _word(b"dft_cnt")
_CMD_HASH: Final = _word(b"cmd_hash")
_HOSTNAME: Final = _word(b"hostname")
_EXEC_HASH: Final = _word(b"exec_has")

_ALL: Final = 0xFFFFFFFFFFFFFFFF
_GREATEST: Final = np.frombuffer(b"18446744073709551615", np.uint8)
_POWERS: Final = 10.0 ** np.arange(23)


@inlined
def _number(b: Any, i: np.int64, f: Any) -> np.int64:
    """Read the number at *i*; return its kind, with its end in the scratch array."""
    negative = byte_at(b, i) == 45
    begin = i + 1 if negative else i
    end = digits_end(b, begin)
    byte = byte_at(b, end)
    if end == begin or (byte_at(b, begin) == 48 and end > begin + 1):
        return np.int64(V_BAD)
    f[_END] = end
    if byte == 46 or byte == 101 or byte == 69:
        f[_END] = number_end(b, i)
        return np.int64(V_FLOAT) if f[_END] >= 0 else np.int64(V_BAD)
    value = whole_number(b, begin, end)
    if value < 0:
        if negative or end - begin > 20:
            f[_END] = number_end(b, i)
            return np.int64(V_FLOAT) if f[_END] >= 0 else np.int64(V_BAD)
        return np.int64(V_BIG)
    if negative:
        if value == 0:
            return np.int64(V_FLOAT)
        value = -value
    f[_NUMBER] = value
    return np.int64(V_INT)


@inlined
def _value(b: Any, i: np.int64, f: Any) -> np.int64:
    """Read any value at *i*; return its kind. A text begins after its quote; ``_END`` is the end.

    What is not plain is ``V_BAD``.
    """
    byte = byte_at(b, i)
    f[_BEGIN] = i
    if byte == 34:
        end = text_end(b, i + 1)
        if end < 0:
            return np.int64(V_BAD)
        f[_BEGIN] = i + 1
        f[_END] = end
        return np.int64(V_TEXT)
    if byte == 45 or (byte >= 48 and byte <= 57):
        return _number(b, i, f)
    if byte == 123 or byte == 91:
        f[_END] = skip_nested(b, i)
        return np.int64(V_NESTED) if f[_END] >= 0 else np.int64(V_BAD)
    word = load(b, i)
    if low_bytes(word, np.int64(4)) == np.uint64(0x65757274):
        f[_END] = i + 4
        return np.int64(V_TRUE)
    if low_bytes(word, np.int64(5)) == np.uint64(0x65736C6166):
        f[_END] = i + 5
        return np.int64(V_FALSE)
    if low_bytes(word, np.int64(4)) == np.uint64(0x6C6C756E):
        f[_END] = i + 4
        return np.int64(V_NULL)
    return np.int64(V_BAD)


@inlined
def _after(kind: np.int64, f: Any) -> np.int64:
    return f[_END] + 1 if kind == V_TEXT else f[_END]


@inlined
def _quoted(b: Any, f: Any, signed: bool) -> bool:
    """Turn a quoted number, read last, into a plain one; false where it is none."""
    begin = f[_BEGIN]
    negative = signed and byte_at(b, begin) == 45
    if negative:
        begin += 1
    if begin >= f[_END] or digits_end(b, begin) != f[_END]:
        return False
    value = whole_number(b, begin, f[_END])
    f[_NUMBER] = -value if negative else value
    return value >= 0


@inlined
def _natural(b: Any, kind: np.int64, f: Any) -> bool:
    """Make the value read last a number that is not negative; false where it is none."""
    if kind == V_TEXT:
        return _quoted(b, f, False)
    return kind == V_INT and f[_NUMBER] >= 0


@inlined
def _hash(b: Any, kind: np.int64, f: Any, field: np.int64) -> bool:
    """Take the value read last as a hash: a text, or a number as it is written."""
    if kind == V_BIG and f[_END] - f[_BEGIN] == 20:
        for k in range(20):
            byte = byte_at(b, f[_BEGIN] + k)
            if byte != _GREATEST[k]:
                if byte > _GREATEST[k]:
                    return False
                break
    elif kind != V_TEXT and kind != V_BIG and not (kind == V_INT and f[_NUMBER] >= 0):
        return False
    f[field] = f[_BEGIN]
    f[field + 1] = f[_END]
    return True


@helper
def _decimal(b: Any, begin: np.int64, end: np.int64) -> float:
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
def _is_finite(b: Any, begin: np.int64, end: np.int64) -> bool:
    """Tell whether a number is surely finite: at most two digits of exponent, or none at all."""
    for k in range(begin, end):
        if byte_at(b, k) == 101 or byte_at(b, k) == 69:
            digits = k + 2 if byte_at(b, k + 1) == 43 or byte_at(b, k + 1) == 45 else k + 1
            return bool(end - digits <= 2 and k - begin <= 100)
    return True


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
        code = intern(b, f[_BEGIN], f[_END], np.int64(PLAIN), st, slots, texts, arena)
        if code < 0:
            return np.int64(-FULL_TEXTS)
        arguments[n, 2] = code
    elif kind == V_INT:
        number = f[_NUMBER]
        real = np.float64(number)
        if is_time and st[MULTIPLY] != st[DIVIDE]:
            if number > INT64_MAX // st[MULTIPLY] or number < -(INT64_MAX // st[MULTIPLY]):
                return np.int64(SLOW_LINE)
            number = number * st[MULTIPLY] // st[DIVIDE]
            real = real * np.float64(st[MULTIPLY]) / np.float64(st[DIVIDE])
        arguments[n, 3] = number
        reals[n] = real
    elif kind in (V_FLOAT, V_BIG):
        real = _decimal(b, f[_BEGIN], f[_END])
        if np.isnan(real):
            if not _is_finite(b, f[_BEGIN], f[_END]):
                return np.int64(SLOW_LINE)
            arguments[n, 4] = f[_BEGIN]
            arguments[n, 5] = f[_END]
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
        if word == _HHASH:
            bit, result = np.int64(1), np.int64(1)
            ok = _hash(b, kind, f, np.int64(F_HHASH))
        elif word == _FHASH:
            bit, result = np.int64(2), np.int64(1)
            ok = _hash(b, kind, f, np.int64(F_FHASH))
        elif word == _COUNT:
            bit = np.int64(4)
            ok = kind == V_INT or (kind == V_TEXT and _quoted(b, f, True))
            f[F_COUNT] = f[_NUMBER]
            f[F_HAS] |= 8
        elif word == _FNAME:
            bit = np.int64(8)
            f[F_ODD_NAME] |= 1 if kind != V_TEXT else 0
            f[F_FILE] = f[_BEGIN]
            f[F_FILE + 1] = f[_END]
        elif word == _VALUE:
            bit = np.int64(16)
            ok = _metadata_text(b, kind, f, np.int64(F_ARG_VALUE))
            f[F_VALUE_TEXT] = 1 if kind == V_TEXT else 0
    elif length == 3:
        if word == _RET:
            bit = np.int64(32)
            ok = kind == V_INT or (kind == V_TEXT and _quoted(b, f, True))
            f[F_RET] = f[_NUMBER]
            f[F_HAS] |= 2
        elif word == _DUR:
            result = np.int64(2)
    elif length == 6:
        if word == _OFFSET:
            bit = np.int64(64)
            ok = kind == V_INT or (kind == V_TEXT and _quoted(b, f, True))
            f[F_OFFSET] = f[_NUMBER]
            f[F_HAS] |= 4
    elif length == 8:
        if word == _CMD_HASH:
            bit, result = np.int64(128), np.int64(1)
            ok = _hash(b, kind, f, np.int64(F_COMMAND)) and not (kind == V_INT and f[_NUMBER] == 0)
        elif word == _HOSTNAME:
            bit = np.int64(256)
            f[F_ODD_NAME] |= 1 if kind != V_TEXT else 0
            f[F_HOST] = f[_BEGIN]
            f[F_HOST + 1] = f[_END]
    elif length == 4:
        if word == _NAME:
            bit = np.int64(512)
            ok = _metadata_text(b, kind, f, np.int64(F_ARG_NAME))
    elif length == 7:
        if word == _DFT_CNT:
            bit = np.int64(1024)
            f[F_FOLDED] = 1
        elif word in (_DUR_SUM, _DUR_MIN, _DUR_MAX):
            result = np.int64(2)
    elif length == 9 and word == _EXEC_HASH and byte_at(b, key_end - 1) == 104:
        bit, result = np.int64(2048), np.int64(1)
        ok = _hash(b, kind, f, np.int64(F_EXECUTABLE))
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
    return bool(_hash(b, kind, f, field))


@inlined
def _key_length(b: Any, i: np.int64, f: Any, place: np.int64) -> np.int64:
    """Return the length of the key whose quote is at *i*, -1 where none with its colon is."""
    guess = FIRST_GUESS + GUESS_SIZE * min(place, np.int64(_GUESSES - 1))
    first = np.int64(load(b, i)) & f[guess + 2]
    second = np.int64(load(b, i + 8)) & f[guess + 3]
    if first == f[guess] and second == f[guess + 1]:
        return np.int64(f[guess + 4])
    if byte_at(b, i) != 34:
        return np.int64(-1)
    end = text_end(b, i + 1)
    if end < 0 or byte_at(b, end + 1) != 58:
        return np.int64(-1)
    length = end - i - 1
    if length <= _GUESSED:
        size = length + 3
        more = size - 8
        f[guess] = np.int64(low_bytes(load(b, i), min(size, np.int64(8))))
        f[guess + 2] = np.int64(low_bytes(np.uint64(_ALL), min(size, np.int64(8))))
        f[guess + 1] = np.int64(low_bytes(load(b, i + 8), more)) if more > 0 else np.int64(0)
        f[guess + 3] = np.int64(low_bytes(np.uint64(_ALL), more)) if more > 0 else np.int64(0)
        f[guess + 4] = length
    return length


@inlined
def _arguments(
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
    place = np.int64(_ARGUMENT_GUESSES)
    while True:
        length = _key_length(b, i, f, place)
        if length < 0:
            return np.int64(SLOW_LINE)
        place += 1
        begin = i + 1
        end = begin + length
        kind = _value(b, end + 2, f)
        if kind == V_BAD:
            return np.int64(SLOW_LINE)
        i = _after(kind, f)
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


@inlined
def _phase(b: Any, kind: np.int64, f: Any) -> bool:
    f[F_PHASE] = 5
    if kind == V_INT:
        f[F_PHASE_INT] = 1
        if f[_NUMBER] >= 1 and f[_NUMBER] <= 4:
            f[F_PHASE] = f[_NUMBER]
        return True
    if kind != V_TEXT:
        return False
    if f[_END] - f[_BEGIN] == 1:
        letter = byte_at(b, f[_BEGIN])
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
        if word == _PID:
            bit = np.int64(1)
            ok = _natural(b, kind, f)
            f[F_PID] = f[_NUMBER]
            if kind == V_TEXT:
                f[F_QUOTED_PID] = 1
                f[F_QUOTED] = 1
        elif word == _TID:
            bit = np.int64(2)
            ok = _natural(b, kind, f)
            f[F_TID] = f[_NUMBER]
        elif word == _DUR:
            bit = np.int64(4)
            ok = _natural(b, kind, f)
            f[F_DUR] = f[_NUMBER]
            f[F_TIMED] = 1
            if kind == V_TEXT:
                f[F_QUOTED_TIME] = 1
        elif word == _CAT:
            bit = np.int64(8)
            ok = kind == V_TEXT
            f[F_CAT] = f[_BEGIN]
            f[F_CAT + 1] = f[_END]
    elif length == 2:
        if word == _TS:
            bit = np.int64(16)
            ok = _natural(b, kind, f)
            f[F_TS] = f[_NUMBER]
            f[F_HAS] |= 1
            f[F_TIMED] = 1
            if kind == V_TEXT:
                f[F_QUOTED_TIME] = 1
                f[F_QUOTED] = 1
        elif word == _PH:
            bit = np.int64(32)
            ok = _phase(b, kind, f)
        elif word == _ID:
            bit = np.int64(64)
            f[F_ID] = 1
    elif length == 4:
        if word == _NAME:
            bit = np.int64(128)
            ok = kind == V_TEXT
            f[F_NAME] = f[_BEGIN]
            f[F_NAME + 1] = f[_END]
        elif word == _ARGS:
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
    for k in range(_CLEARED):
        f[k] = 0
    has_args = False
    place = np.int64(0)
    i += 1
    while True:
        length = _key_length(b, i, f, place)
        if length < 0:
            return np.int64(SLOW_LINE)
        place = min(place + 1, np.int64(_ARGUMENT_GUESSES - 1))
        begin = i + 1
        i = begin + length + 2
        word = np.int64(0)
        if length >= 2 and length <= 4:
            word = np.int64(low_bytes(load(b, begin), length))
        if word == _ARGS and byte_at(b, i) == 123:
            if has_args or f[F_PHASE] == 0:
                return np.int64(SLOW_LINE)
            has_args = True
            i = _arguments(b, i + 1, f, st, slots, texts, arena, stamps, arguments, reals, wanted)
            if i < 0:
                return i
        else:
            kind = _value(b, i, f)
            if kind == V_BAD:
                return np.int64(SLOW_LINE)
            i = _after(kind, f)
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
