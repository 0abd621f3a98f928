"""Rows of bytes made column by column: numbers of any width side by side, for many rows at once."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ("PackedRows",)

_SEVEN: Final = np.uint64(7)
_LOW: Final = np.uint64(0x7F)
_MORE: Final = np.uint64(0x80)

_Array: TypeAlias = npt.NDArray[Any]


class PackedRows:
    """*length* rows, each at most *width* bytes long; a column goes to the end of every row, or of
    the rows that are named."""

    def __init__(self, length: int, width: int) -> None:
        self._width = width
        self._bytes = np.zeros((length, width), np.uint8)
        self._ends = np.zeros(length, np.int64)
        self._every = np.arange(length)

    def add_fixed(self, numbers: _Array, kind: str, rows: _Array | None = None) -> None:
        """Add numbers of numpy's type *kind*, such as ``>f8``, as they lie in memory."""
        data = np.ascontiguousarray(numbers.astype(kind))
        size = data.dtype.itemsize
        places, columns = self._places(rows)
        parts = data.view(np.uint8).reshape(len(places), size)
        self._bytes[places[:, None], columns[:, None] + np.arange(size)] = parts
        self._ends[places] += size

    def add_varint(self, numbers: _Array, rows: _Array | None = None) -> None:
        """Add numbers that are not negative as LEB128."""
        left = numbers.astype(np.uint64)
        places, columns = self._places(rows)
        while len(places):
            rest = left >> _SEVEN
            goes_on = rest != 0
            self._bytes[places, columns] = (left & _LOW) | np.where(goes_on, _MORE, np.uint64(0))
            self._ends[places] += 1
            places, columns, left = places[goes_on], columns[goes_on] + 1, rest[goes_on]

    def _places(self, rows: _Array | None) -> tuple[_Array, _Array]:
        places = self._every if rows is None else rows
        return places, self._ends[places].copy()

    def rows(self) -> list[bytes]:
        """Return the rows."""
        data, width = self._bytes.tobytes(), self._width
        begins = range(0, len(data), width)
        ends = self._ends.tolist()
        return [data[begin : begin + end] for begin, end in zip(begins, ends, strict=True)]

    def joined(self) -> bytes:
        """Return the rows one after the other."""
        return self._bytes[np.arange(self._width) < self._ends[:, None]].tobytes()
