"""Rows of bytes made column by column: numbers of any width side by side, for many rows at once."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ("PackedRows",)

_SEVEN: Final = np.uint64(7)
_LOW: Final = np.uint8(0x7F)

_Array: TypeAlias = npt.NDArray[Any]


class PackedRows:
    """*length* rows, each at most *width* bytes long; a column goes to the end of every row, or of
    the rows that are named."""

    def __init__(self, length: int, width: int) -> None:
        self._width = width
        self._bytes = np.zeros(length * width, np.uint8)
        self._begins = np.arange(length) * width
        self._ends = self._begins.copy()

    def add_fixed(self, numbers: _Array, kind: str, rows: _Array | None = None) -> None:
        """Add numbers of numpy's type *kind*, such as ``>f8``, as they lie in memory."""
        data = np.ascontiguousarray(numbers.astype(kind))
        size = data.dtype.itemsize
        ends = self._ends if rows is None else self._ends[rows]
        parts = data.view(np.uint8).reshape(len(ends), size)
        for place in range(size):
            self._bytes[ends + place] = parts[:, place]
        self._ends[slice(None) if rows is None else rows] += size

    def add_varint(self, numbers: _Array, rows: _Array | None = None) -> None:
        """Add numbers that are not negative as LEB128."""
        left = numbers.astype(np.uint64)
        places = np.arange(len(self._ends)) if rows is None else rows
        ends = self._ends[places]
        while len(places):
            rest = left >> _SEVEN
            goes_on = rest != 0
            self._bytes[ends] = left.astype(np.uint8) & _LOW | goes_on.astype(np.uint8) << 7
            ends += 1
            self._ends[places] = ends
            places, ends, left = places[goes_on], ends[goes_on], rest[goes_on]

    def _sizes(self) -> _Array:
        sizes = self._ends - self._begins
        if len(sizes) and sizes.max() > self._width:
            raise IndexError(f"a row of {sizes.max()} bytes in {self._width}")
        return sizes

    def rows(self) -> list[bytes]:
        """Return the rows."""
        self._sizes()
        data = self._bytes.tobytes()
        pairs = zip(self._begins.tolist(), self._ends.tolist(), strict=True)
        return [data[begin:end] for begin, end in pairs]

    def joined(self) -> bytes:
        """Return the rows one after the other."""
        table = self._bytes.reshape(-1, self._width)
        return table[np.arange(self._width) < self._sizes()[:, None]].tobytes()
