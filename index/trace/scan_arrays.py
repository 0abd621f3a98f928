"""The arrays that the compiled scan works on: made, found by it, and made larger when it asks.

``kernel_layout`` says what lies where in them. Making them costs more than scanning a small trace,
so a process keeps those that were given back, set back to what they were at first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace import kernel_layout as at

__all__ = ("ScanArrays", "borrow", "give_back")

_GROWTH: Final = 4
_NEWLINE: Final = 10

#: So many arrays are kept, each of no more than so many bytes.
_KEPT: Final = 2
_KEPT_BYTES: Final = 4 << 20


def _address(array: npt.NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


_NUMBERS: Final = {name: number for number, name in enumerate(at.ARRAYS)}


class ScanArrays:
    """The arrays of the compiled code, and its state, which says where they lie."""

    def __init__(self) -> None:
        self._keep_state(np.zeros(at.STATE_SIZE, np.int64))
        arrays: dict[str, npt.NDArray[Any]] = {
            "buffer": np.full(at.PADDING, _NEWLINE, np.uint8),
            "slots": np.zeros(1024, np.int32),
            "texts": np.zeros((512, at.TEXT_SIZE), np.int64),
            "arena": np.zeros(4096, np.uint64),
            "stamps": np.zeros((512, at.STAMP_SIZE), np.int64),
            "group_slots": np.zeros(512, np.int32),
            "groups": np.zeros((256, at.GROUP_SIZE), np.int64),
            "squares": np.zeros((256, 3), np.float64),
            "touched": np.zeros(256, np.int64),
            "strings": np.zeros(512, np.int64),
            "rows": np.zeros((64, len(at.ROW_FIELDS)), np.int64),
            "arguments": np.zeros((256, at.ARGUMENT_SIZE), np.int64),
            "reals": np.zeros(256, np.float64),
            "side": np.zeros((128, at.SIDE_SIZE), np.int64),
            "wanted": np.zeros(0, np.int64),
            "bin_slots": np.zeros(512, np.int32),
            "bins": np.zeros((256, at.BIN_SIZE), np.int64),
            "times": np.zeros((256, 2), np.int64),
            "order": np.zeros(1024, np.int32),
            "group_codes": np.zeros(256, np.int32),
            "kind_slots": np.zeros(512, np.int32),
            "kinds": np.zeros((256, at.KIND_SIZE), np.int64),
        }
        for name, array in arrays.items():
            self.place(name, array)
        self._padded = self.arrays["buffer"]

    def _keep_state(self, st: npt.NDArray[np.int64]) -> None:
        self.st = st
        self._st_address = _address(st)
        self.arrays: dict[str, npt.NDArray[Any]] = {}

    def place(self, name: str, array: npt.NDArray[Any]) -> None:
        """Give the compiled code *array* under a name."""
        number = _NUMBERS[name]
        self.arrays[name] = array
        self._nbytes = 0
        self.st[at.ROOM + number] = len(array)
        self.st[at.AT + number] = _address(array)

    def ask(self, operation: int, operand: int = 0) -> int:
        """Have the compiled code do something; return its result."""
        self.st[at.OPERATION] = operation
        self.st[at.OPERAND] = operand
        return kernel_cache.run(self._st_address)

    def fresh(self) -> ScanArrays:
        """Return a copy that shares nothing."""
        copy = ScanArrays.__new__(ScanArrays)
        copy._keep_state(self.st.copy())
        for name, array in self.arrays.items():
            copy.place(name, array.copy())
        copy._padded = copy.arrays["buffer"]
        return copy

    def reset(self, first: ScanArrays) -> None:
        """Make these what a copy of *first* is, which they once were, but for their sizes."""
        if self.arrays["buffer"] is not self._padded:
            self.place("buffer", self._padded)
        arrays, st = self.arrays, self.st
        arrays["squares"][: st[at.GROUPS]] = 0  # the scan clears all else that it takes
        for name in ("slots", "stamps", "group_slots", "bin_slots"):
            arrays[name].fill(0)
        places = st[at.ROOM : at.AT + len(at.ARRAYS)].copy()
        st[: at.ROOT] = first.st[: at.ROOT]  # so that no shape of a line is known
        st[at.ROOM : at.AT + len(at.ARRAYS)] = places
        self.ask(at.SPREAD_TEXTS)

    def nbytes(self) -> int:
        """Return how many bytes the arrays have together."""
        if not self._nbytes:
            self._nbytes = sum(array.nbytes for array in self.arrays.values())
        return self._nbytes

    def place_text(self, text: bytes) -> None:
        """Give the compiled code a copy of *text* with the newlines that the scan relies on."""
        size = len(text) + at.PADDING
        padded = self._padded
        if size > len(padded):
            padded = self._padded = np.empty(2 * size, np.uint8)
        if self.arrays["buffer"] is not padded:
            self.place("buffer", padded)
        padded[: len(text)] = np.frombuffer(text, np.uint8)
        padded[len(text) : size] = _NEWLINE

    def widen(self, *names: str) -> None:
        for name in names:
            array = self.arrays[name]
            larger = np.zeros((_GROWTH * len(array), *array.shape[1:]), array.dtype)
            larger[: len(array)] = array
            self.place(name, larger)

    def _widen_slots(self, slots: str, table: str, spread: int) -> None:
        self.place(slots, np.zeros(2 * len(self.arrays[table]), np.int32))
        self.ask(spread)

    def grow(self, reason: int) -> None:
        """Make room for what the scan said was full."""
        is_arena = self.st[at.TEXTS] < len(self.arrays["texts"])
        if reason == at.FULL_GROUPS:
            self.widen("groups", "squares", "touched", "group_codes", "kind_slots", "kinds")
            self._widen_slots("group_slots", "groups", at.SPREAD_GROUPS)
        elif reason == at.FULL_TEXTS and is_arena:
            self.widen("arena")
        elif reason == at.FULL_TEXTS:
            self.widen("texts", "stamps", "strings")
            self._widen_slots("slots", "texts", at.SPREAD_TEXTS)
        elif reason == at.FULL_ROWS:
            self.widen("rows")
        elif reason == at.FULL_ARGUMENTS:
            self.widen("arguments", "reals")
        elif reason == at.FULL_SIDE:
            self.widen("side")
        elif reason == at.FULL_BINS:
            self.widen("bins")
            self._widen_slots("bin_slots", "bins", at.SPREAD_BINS)
        elif reason == at.FULL_TIMES:
            self.widen("times")
        elif reason == at.FULL_ORDER:
            self.widen("order")
        else:
            raise AssertionError(f"the scan stopped for an unknown reason: {reason}")

    def texts_from(self, code: int) -> Iterator[tuple[str, int]]:
        """Give the interned texts from *code* on, each with its kind."""
        texts, arena = self.arrays["texts"], self.arrays["arena"]
        count = int(self.st[at.TEXTS])
        if code >= count:
            return
        first = int(texts[code, 1])
        data = arena[first : self.st[at.ARENA]].tobytes()
        for _, word, meta in texts[code:count].tolist():
            begin = 8 * (word - first)
            yield data[begin : begin + (meta & 0xFFFFFFFF)].decode(), meta >> 32

    def enter(self, texts: tuple[str, ...]) -> list[int]:
        """Return the codes of *texts*, now interned."""
        codes = []
        for text in texts:
            data = text.encode()
            self.place_text(data)
            while (code := self.ask(at.ENTER, len(data))) < 0:
                self.grow(at.FULL_TEXTS)
            codes.append(code)
        return codes


_free: Final[list[ScanArrays]] = []


def borrow() -> ScanArrays:
    """Return tables with the texts that the scan knows, the caller's alone."""
    try:
        return _free.pop()
    except IndexError:
        return _template().fresh()


def give_back(tables: ScanArrays) -> None:
    """Take borrowed *tables* back, of which nothing may be used any more, for the next borrower.

    Those that are never given back are no harm: they go with their last user.
    """
    if len(_free) < _KEPT and tables.nbytes() <= _KEPT_BYTES:
        tables.reset(_template())
        _free.append(tables)


@cache
def _template() -> ScanArrays:
    tables = ScanArrays()
    st = tables.st
    st[at.TEXTS] = 1
    st[at.SEED] = int.from_bytes(os.urandom(8), "little", signed=True)
    st[at.CHUNK] = 1
    if tables.enter(at.KNOWN_TEXTS) != list(range(1, len(at.KNOWN_TEXTS) + 1)):
        raise AssertionError("the known texts do not have their codes")
    return tables
