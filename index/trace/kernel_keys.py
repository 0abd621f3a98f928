"""Compiled: the keys of a line, their lengths guessed and their texts compared as words."""

# Compiled by numba, whose decorators and calls have no types.

from __future__ import annotations

from typing import Any, Final

import numpy as np

from dftindexd.index.trace.kernel_layout import FIRST_GUESS, GUESS_SIZE
from dftindexd.index.trace.kernel_text import byte_at, inlined, load, low_bytes, text_end

__all__ = (
    "ARGUMENT_GUESSES",
    "K_ARGS",
    "K_CAT",
    "K_CMD_HASH",
    "K_COUNT",
    "K_DFT_CNT",
    "K_DUR",
    "K_DUR_MAX",
    "K_DUR_MIN",
    "K_DUR_SUM",
    "K_EXEC_HASH",
    "K_FHASH",
    "K_FNAME",
    "K_HHASH",
    "K_HOSTNAME",
    "K_ID",
    "K_NAME",
    "K_OFFSET",
    "K_PH",
    "K_PID",
    "K_RET",
    "K_TID",
    "K_TS",
    "K_VALUE",
    "key_length",
)

# Guesses, one a place of a key in the line: two words of text, their masks, and the key's length.
# Nearly every line has the keys of the one before; then a key is known without looking for its end,
# and the processor need not wait for that end to go on.
_GUESSES: Final = 32
ARGUMENT_GUESSES: Final = 16
_GUESSED: Final = 13  # the longest key, with quotes and colon in two words


def _word(key: bytes) -> int:
    return int.from_bytes(key[:8], "little")


K_ID: Final = _word(b"id")
K_PH: Final = _word(b"ph")
K_TS: Final = _word(b"ts")
K_PID: Final = _word(b"pid")
K_TID: Final = _word(b"tid")
K_DUR: Final = _word(b"dur")
K_CAT: Final = _word(b"cat")
K_RET: Final = _word(b"ret")
K_NAME: Final = _word(b"name")
K_ARGS: Final = _word(b"args")
K_HHASH: Final = _word(b"hhash")
K_FHASH: Final = _word(b"fhash")
K_FNAME: Final = _word(b"fname")
K_COUNT: Final = _word(b"count")
K_VALUE: Final = _word(b"value")
K_OFFSET: Final = _word(b"offset")
K_DUR_SUM: Final = _word(b"dur_sum")
K_DUR_MIN: Final = _word(b"dur_min")
K_DUR_MAX: Final = _word(b"dur_max")
K_DFT_CNT: Final = _word(b"dft_cnt")
K_CMD_HASH: Final = _word(b"cmd_hash")
K_HOSTNAME: Final = _word(b"hostname")
K_EXEC_HASH: Final = _word(b"exec_has")

_ALL: Final = 0xFFFFFFFFFFFFFFFF


@inlined
def key_length(b: Any, i: np.int64, f: Any, place: np.int64) -> np.int64:
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
