"""Columns as queries work on them: texts as codes, numbers with their nulls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dftindexd.index.tiers.groups import Array, dense_codes

__all__ = ("Column", "Frame", "NumberColumn", "TextColumn", "to_arrow")


@dataclass(frozen=True, slots=True)
class TextColumn:
    """Codes into *values*, which are distinct; -1 is null."""

    codes: npt.NDArray[np.int64]
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """int64 or float64 *values*; ``valid`` is ``None`` where none is null."""

    values: Array
    valid: npt.NDArray[np.bool_] | None = None


Column: TypeAlias = TextColumn | NumberColumn


class Frame:
    """Named columns of one length, each computed when it is first asked for."""

    def __init__(self, length: int, columns: Mapping[str, Callable[[], Column]]) -> None:
        self.length = length
        self._makers = columns
        self._made: dict[str, Column] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(self._makers)

    def __getitem__(self, name: str) -> Column:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._makers[name]()
        return made

    def numbers(self, name: str) -> NumberColumn:
        """Return a column that holds numbers."""
        column = self[name]
        if not isinstance(column, NumberColumn):
            raise TypeError(f"column {name} holds texts")
        return column


def to_arrow(column: Column) -> pa.Array[Any]:
    """Return a column as Arrow: a dictionary of utf8, int64 or double."""
    if isinstance(column, NumberColumn):
        mask = None if column.valid is None else ~column.valid
        return pa.array(column.values, mask=mask)
    codes, values = column.codes, column.values
    if len(values) > len(codes):  # a short answer does not carry every text of the store
        indices, used = dense_codes(codes)
        kept = used >= 0
        values = [values[code] for code in used[kept].tolist()]
        codes = np.where(kept, np.cumsum(kept) - 1, -1)[indices] if len(used) else codes
    null = codes < 0
    places = pa.array(codes, pa.int32(), mask=null if null.any() else None)
    return pa.DictionaryArray.from_arrays(places, pa.array(values, pa.utf8()))
