"""Grouping and reducing of integer columns: the one kernel under all merging of rows.

Everything is vectorised; groups are numbered in the order of their first row, so a result depends
on nothing but its input. Sums of unsigned integers are exact and stop at ``2**64 - 1`` instead of
wrapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = (
    "UINT64_MAX",
    "Array",
    "Columns",
    "Groups",
    "Reduction",
    "RowAccumulator",
    "compact_codes",
    "concatenate_columns",
    "dense_codes",
    "distinct_codes",
    "exact_sums",
    "float_sums",
    "group_rows",
    "maxima",
    "merge_rows",
    "minima",
)

Array: TypeAlias = npt.NDArray[Any]

#: Columns of one length by name.
Columns: TypeAlias = dict[str, Array]

#: How a column of merged rows comes from those of its parts.
Reduction: TypeAlias = Literal["sum", "float_sum", "min", "max"]

UINT64_MAX: Final = 2**64 - 1

_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_EXACT_FLOAT: Final = 2**53
_SPAN_LIMIT: Final = 2**62
_SMALL_SPAN: Final = 1024
_MERGE_AT_LEAST: Final = 65_536
#: More numbers are quicker hashed by Arrow than sorted by numpy.
_SORTED_AT_MOST: Final = 131_072


@dataclass(frozen=True, slots=True)
class Groups:
    """Which group each row is in (``ids``), and the first row of each group."""

    ids: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def trivial(self) -> bool:
        """Whether every row is its own group, so that there is nothing to reduce."""
        return len(self.first) == len(self.ids)


def dense_codes(values: Array) -> tuple[npt.NDArray[np.int64], Array]:
    """Return codes of integers from 0 in order of first sight, and the value of each code."""
    if len(values) > _SORTED_AT_MOST:
        return _hashed_codes(values)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.ones(len(values), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    first = order[begins]
    by_sight = np.argsort(first)
    codes = np.empty(len(first), np.int64)
    codes[by_sight] = np.arange(len(first))
    placed = np.empty(len(values), np.int64)
    placed[order] = codes[np.cumsum(begins) - 1]
    return placed, values[first[by_sight]]


def _hashed_codes(values: Array) -> tuple[npt.NDArray[np.int64], Array]:
    import pyarrow as pa  # late: few parser workers ever need it

    # By their buffers: pa.array and to_numpy import pandas, where it is, which takes longer.
    column: pa.Array[Any] = pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values.data)]
    )
    encoded = column.dictionary_encode()
    codes = _numbers_of(encoded.indices, np.dtype(np.int32))
    return codes.astype(np.int64), _numbers_of(encoded.dictionary, values.dtype)


def _numbers_of(array: pa.Array[Any], dtype: np.dtype[Any]) -> Array:
    _, data = array.buffers()
    if data is None:
        raise AssertionError("an array of numbers without any")
    numbers: Array = np.frombuffer(memoryview(data), dtype, len(array))
    return numbers


def compact_codes(
    codes: npt.NDArray[np.signedinteger[Any]],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return for codes (not negative) their places among the *used* ones, and those, ascending.

    The same as :func:`dense_codes` but for the order, and quicker.
    """
    span = int(codes.max()) + 1 if len(codes) else 0
    if span > 4 * len(codes) + _SMALL_SPAN:
        distinct, inverse = np.unique(codes, return_inverse=True)
        return inverse.astype(np.int32), distinct.astype(np.int64)
    seen = np.zeros(span, np.bool_)
    seen[codes] = True
    used = np.flatnonzero(seen)
    places = np.zeros(span, np.int32)
    places[used] = np.arange(len(used), dtype=np.int32)
    return places[codes], used


def distinct_codes(codes: Array) -> npt.NDArray[np.int64]:
    """Return the distinct codes (not negative), ascending: what ``np.unique`` does, quicker."""
    span = int(codes.max()) + 1 if len(codes) else 0
    if span > 4 * len(codes) + _SMALL_SPAN:
        return np.unique(codes).astype(np.int64)
    seen = np.zeros(span, np.bool_)
    seen[codes] = True
    return np.flatnonzero(seen)


def group_rows(columns: Sequence[Array], length: int) -> Groups:
    """Return the groups of equal rows of integer *columns* that all have *length* elements."""
    if not length:
        nothing = np.zeros(0, np.int64)
        return Groups(nothing, nothing)
    packed, span = _pack(columns, length)
    if span == 1:
        return Groups(np.zeros(length, np.int64), np.zeros(1, np.int64))
    ids, values = dense_codes(packed)
    first = np.full(len(values), length, np.int64)
    np.minimum.at(first, ids, np.arange(length))
    return Groups(ids, first)


def _pack(columns: Sequence[Array], length: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return one integer for each row, equal for equal rows, and an upper bound of them."""
    packed = np.zeros(length, np.int64)
    span = 1
    for column in columns:
        low, width = int(column.min()), int(column.max()) - int(column.min()) + 1
        if width == 1:
            continue
        if span * width >= _SPAN_LIMIT:
            codes, values = dense_codes(column)
            width = len(values)
        else:
            codes = (column - column.dtype.type(low)).astype(np.int64)
        if span * width >= _SPAN_LIMIT:
            packed, known = dense_codes(packed)
            span = len(known)
        packed = codes if span == 1 else packed * width + codes
        span *= width
    return packed, span


def exact_sums(values: Array, groups: Groups) -> npt.NDArray[np.uint64]:
    """Return the sum of non-negative integers in each group, at most ``2**64 - 1``."""
    count = len(groups)
    if not len(values):
        return np.zeros(count, np.uint64)
    if int(values.max()) * len(values) < _EXACT_FLOAT:
        return np.bincount(groups.ids, weights=values, minlength=count).astype(np.uint64)
    wide = values.astype(np.uint64)
    low, high = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    np.add.at(low, groups.ids, wide & _LOW)
    np.add.at(high, groups.ids, wide >> _HALF)
    high += low >> _HALF
    sums = (high << _HALF) | (low & _LOW)
    sums[high > _LOW] = UINT64_MAX
    return sums


def float_sums(values: Array, groups: Groups) -> npt.NDArray[np.float64]:
    """Return the sum of floating point *values* in each group."""
    weights = values.astype(np.float64, copy=False)
    return np.bincount(groups.ids, weights=weights, minlength=len(groups)).astype(np.float64)


def minima(values: Array, groups: Groups) -> Array:
    """Return the least value of each group."""
    result = values[groups.first]
    np.minimum.at(result, groups.ids, values)
    return result


def maxima(values: Array, groups: Groups) -> Array:
    """Return the greatest value of each group."""
    result = values[groups.first]
    np.maximum.at(result, groups.ids, values)
    return result


def merge_rows(columns: Columns, keys: Sequence[str], rules: Mapping[str, Reduction]) -> Columns:
    """Merge rows with equal *keys*; *rules* has the reduction of every other column."""
    length = len(next(iter(columns.values())))
    groups = group_rows([columns[key] for key in keys], length)
    if groups.trivial:
        return columns
    merged: Columns = {key: columns[key][groups.first] for key in keys}
    reducers = {"sum": exact_sums, "float_sum": float_sums, "min": minima, "max": maxima}
    for name, rule in rules.items():
        merged[name] = reducers[rule](columns[name], groups)
    return merged


def concatenate_columns(parts: Sequence[Columns]) -> Columns:
    """Return the rows of all *parts*, which have the same columns, in order."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class RowAccumulator:
    """Rows gathered block by block; its memory is bounded by the number of distinct keys."""

    def __init__(self, keys: Sequence[str], rules: Mapping[str, Reduction]) -> None:
        self._keys = tuple(keys)
        self._rules = dict(rules)
        self._parts: list[Columns] = []
        self._pending = 0
        self._merged = 0

    @property
    def empty(self) -> bool:
        """Whether no rows were taken in."""
        return not self._parts

    @property
    def held(self) -> int:
        """How many rows were left when they were last merged; memory goes by it."""
        return self._merged

    def add(self, rows: Columns, *, distinct: bool = False) -> None:
        """Take in *rows*, which need not be merged; *distinct* says that their keys are."""
        count = len(next(iter(rows.values())))
        if not count:
            return
        if distinct and not self._parts:
            self._merged = count
        self._parts.append(rows)
        self._pending += count
        if self._pending > max(_MERGE_AT_LEAST, 2 * self._merged):
            self._merge()

    def _merge(self) -> None:
        merged = merge_rows(concatenate_columns(self._parts), self._keys, self._rules)
        self._parts = [merged]
        self._pending = self._merged = len(next(iter(merged.values())))

    def result(self) -> Columns | None:
        """Return all rows, merged; ``None`` where there are none."""
        if not self._parts:
            return None
        if len(self._parts) > 1 or self._pending > self._merged:
            self._merge()
        return self._parts[0]
