"""Records as columns: the one form between reading lines and building tiers.

Whoever reads lines fills these columns, and every tier is built from them, so that a record gives
the same result whichever way its line was read. Metadata records (``ph`` "M" or 4) are not rows:
they go to the hash tables and the trace's facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = (
    "HAS_COUNT",
    "HAS_OFFSET",
    "HAS_RET",
    "HAS_TS",
    "PHASE_AGGREGATED",
    "PHASE_COMPLETE",
    "PHASE_COUNTER",
    "PHASE_OTHER",
    "Interner",
    "RecordColumns",
)

PHASE_COMPLETE: Final = 1  #: ``ph`` "X" or 1
PHASE_COUNTER: Final = 2  #: ``ph`` "C" or 2
PHASE_AGGREGATED: Final = 3  #: ``ph`` "A" or 3
PHASE_OTHER: Final = 5  #: any other ``ph``; aggregated as an event

HAS_TS: Final = 1
HAS_RET: Final = 2
HAS_OFFSET: Final = 4
HAS_COUNT: Final = 8


class Interner:
    """Texts as small integers, in order of first sight; code 0 is always the empty text."""

    __slots__ = ("_codes", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = [""]
        self._codes: dict[str, int] = {"": 0}

    def code(self, text: str) -> int:
        """Return the code of *text*, a new one at first sight."""
        found = self._codes.get(text)
        if found is None:
            found = self._codes[text] = len(self.texts)
            self.texts.append(text)
        return found

    def codes(self, texts: Iterable[str]) -> list[int]:
        """Return the code of each of *texts*."""
        known, listed = self._codes, self.texts
        found = []
        for text in texts:
            code = known.get(text)
            if code is None:
                code = known[text] = len(listed)
                listed.append(text)
            found.append(code)
        return found

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """Some consecutive records of a trace, one array element a record unless said otherwise.

    ``cat`` (as written, not lower-cased), ``name``, ``hhash``, ``fhash`` and ``shash`` (the command
    hash, else the executable's) are codes of the segment's :class:`Interner`, 0 where absent.
    ``ts`` and ``dur`` are microseconds, whatever unit the trace is in, clamped to 0..2**63-1.
    ``ret``, ``offset`` and ``count`` hold the argument's value (0 where absent; ``has`` has the bit
    ``HAS_*`` only for one that is a number).

    The ``arg_*`` arrays hold further arguments in sparse form, one element an argument, rows
    ascending: all those of counters and aggregated records, and of other records the ones that the
    tier configuration names. ``arg_text`` is a code, or -1 for a number, which ``arg_int``
    (truncated, clamped to int64) and ``arg_float`` hold.
    """

    line: npt.NDArray[np.int64]
    uc_offset: npt.NDArray[np.int64]
    phase: npt.NDArray[np.uint8]
    cat: npt.NDArray[np.int32]
    name: npt.NDArray[np.int32]
    pid: npt.NDArray[np.uint64]
    tid: npt.NDArray[np.uint64]
    ts: npt.NDArray[np.int64]
    dur: npt.NDArray[np.int64]
    hhash: npt.NDArray[np.int32]
    fhash: npt.NDArray[np.int32]
    shash: npt.NDArray[np.int32]
    ret: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    has: npt.NDArray[np.uint8]
    arg_row: npt.NDArray[np.int32]
    arg_key: npt.NDArray[np.int32]
    arg_text: npt.NDArray[np.int32]
    arg_int: npt.NDArray[np.int64]
    arg_float: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ts)
