"""Compiled: which key of a record or of its arguments a text is, and what is done with its value.

The actions of a record's own keys and of its arguments' are different numbers, and so are the bits
that tell which of them a line had.
"""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace.kernel_text import byte_at, helper, load, low_bytes

__all__ = (
    "A_ARGS",
    "A_CAT",
    "A_DUR",
    "A_END_ARGS",
    "A_END_BOTH",
    "A_END_RECORD",
    "A_ID",
    "A_NAME",
    "A_OTHER",
    "A_PH",
    "A_PID",
    "A_TID",
    "A_TS",
    "FIRST_ARGUMENT",
    "HASHES",
    "NAMES_OF_V0",
    "P_CMD_HASH",
    "P_COUNT",
    "P_DFT_CNT",
    "P_EXEC_HASH",
    "P_FHASH",
    "P_FNAME",
    "P_HHASH",
    "P_HOSTNAME",
    "P_NAME",
    "P_OFFSET",
    "P_OTHER",
    "P_RET",
    "P_TIME",
    "P_VALUE",
    "argument_of",
    "bit_of",
    "field_of",
)

A_OTHER: Final = 0
A_NAME: Final = 1
A_CAT: Final = 2
A_PID: Final = 3
A_TID: Final = 4
A_TS: Final = 5
A_DUR: Final = 6
A_PH: Final = 7
A_ARGS: Final = 8
A_ID: Final = 9
#: The braces that end the arguments, the record, and both.
A_END_ARGS: Final = 10
A_END_RECORD: Final = 11
A_END_BOTH: Final = 12

#: Actions from this one on are of arguments.
FIRST_ARGUMENT: Final = 16
P_OTHER: Final = 16
P_HHASH: Final = 17
P_FHASH: Final = 18
P_RET: Final = 19
P_OFFSET: Final = 20
P_COUNT: Final = 21
P_CMD_HASH: Final = 22
P_EXEC_HASH: Final = 23
P_FNAME: Final = 24
P_HOSTNAME: Final = 25
P_NAME: Final = 26
P_VALUE: Final = 27
P_DFT_CNT: Final = 28
P_TIME: Final = 29  #: a duration, or a sum or bound of some

#: The bits of arguments that are hashes, and of those that v0 has in their place.
HASHES: Final = 1 << P_HHASH | 1 << P_FHASH | 1 << P_CMD_HASH | 1 << P_EXEC_HASH
NAMES_OF_V0: Final = 1 << P_FNAME | 1 << P_HOSTNAME


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


@helper
def field_of(b: Any, begin: np.int64, length: np.int64) -> np.int64:
    """Return the action of the record's own key at *begin*."""
    if length < 2 or length > 4:
        return np.int64(A_OTHER)
    word = np.int64(low_bytes(load(b, begin), length))
    if word == _NAME:
        return np.int64(A_NAME)
    if word == _CAT:
        return np.int64(A_CAT)
    if word == _PID:
        return np.int64(A_PID)
    if word == _TID:
        return np.int64(A_TID)
    if word == _TS:
        return np.int64(A_TS)
    if word == _DUR:
        return np.int64(A_DUR)
    if word == _PH:
        return np.int64(A_PH)
    if word == _ARGS:
        return np.int64(A_ARGS)
    if word == _ID:
        return np.int64(A_ID)
    return np.int64(A_OTHER)


@helper
def argument_of(b: Any, begin: np.int64, length: np.int64) -> np.int64:
    """Return the action of the argument's key at *begin*."""
    if length < 3 or length > 9:
        return np.int64(P_OTHER)
    word = np.int64(low_bytes(load(b, begin), min(length, np.int64(8))))
    if length == 9:
        is_hash = word == _EXEC_HASH and byte_at(b, begin + 8) == 104
        return np.int64(P_EXEC_HASH) if is_hash else np.int64(P_OTHER)
    if word == _HHASH:
        return np.int64(P_HHASH)
    if word == _FHASH:
        return np.int64(P_FHASH)
    if word == _RET:
        return np.int64(P_RET)
    if word == _OFFSET:
        return np.int64(P_OFFSET)
    if word == _COUNT:
        return np.int64(P_COUNT)
    if word == _CMD_HASH:
        return np.int64(P_CMD_HASH)
    if word == _FNAME:
        return np.int64(P_FNAME)
    if word == _HOSTNAME:
        return np.int64(P_HOSTNAME)
    if word == _NAME:
        return np.int64(P_NAME)
    if word == _VALUE:
        return np.int64(P_VALUE)
    if word == _DFT_CNT:
        return np.int64(P_DFT_CNT)
    if word in (_DUR, _DUR_SUM, _DUR_MIN, _DUR_MAX):
        return np.int64(P_TIME)
    return np.int64(P_OTHER)


@helper
def bit_of(action: np.int64) -> np.int64:
    """Return the bit of a key that a line may have once, 0 for any other."""
    if action in (A_OTHER, A_END_ARGS, A_END_RECORD, A_END_BOTH, P_OTHER, P_TIME):
        return np.int64(0)
    return np.int64(1) << action
