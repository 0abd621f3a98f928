"""An inverted index in memory: the values of a column, and the partitions that have each of them.

It is typed by Arrow: every value has the one form of its type (:mod:`values`), so that two that are
equal are one key. Null is a key like any other. Methods that change it return the index that came
of it; ``inplace`` changes this one as well, without it this one stays as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy.typing as npt
import pyarrow as pa

from dftindexd.views.indices.predicates import (
    Predicates,
    check_predicates,
    kept_values,
    of_column,
)
from dftindexd.views.indices.tables import PARTITION, Partitions, index_table, numpy_values
from dftindexd.views.indices.values import arrow_type, infer_type, normalize, normalizer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ("IndexBase", "PartitionIndex")

_logger: Final = logging.getLogger(__name__)

Self = TypeVar("Self", bound="IndexBase")


class IndexBase:
    """The index of *column*: *index_dct* maps each value to the labels of its partitions.

    Without *dtype* the type is that of the values. *normalize_dtype* brings type and values into
    their one form; values that then are one have the partitions of all. Only what is known to be in
    that form already may do without.

    :raises ValueError: the column cannot be indexed, or a value is not of *dtype*.
    :raises NotImplementedError: the type is nested, or null.
    """

    def __init__(
        self,
        column: str,
        index_dct: Mapping[Any, list[str]] | None = None,
        dtype: pa.DataType | None = None,
        normalize_dtype: bool = True,
    ) -> None:
        if column == PARTITION:
            raise ValueError(
                f"Cannot create an index for column {column} due to an internal implementation "
                "conflict: its tables have the partitions there"
            )
        if dtype is None and index_dct:
            dtype = infer_type(index_dct)
        if dtype is not None:
            normal = arrow_type(dtype)
            dtype = normal if normalize_dtype else dtype
        self.column = column
        self.dtype = dtype
        self.creation_time = datetime.now(UTC).replace(tzinfo=None)
        self.index_dct: Partitions = {}
        self._index_dct_available = index_dct is not None
        if index_dct is not None:
            self.index_dct = (
                _normalized(column, dtype, index_dct) if normalize_dtype else dict(index_dct)
            )

    @property
    def loaded(self) -> bool:
        """Whether the values are in memory."""
        return self._index_dct_available

    def _values(self) -> Partitions:
        if not self._index_dct_available:
            raise RuntimeError(
                "Index is external. To query an external index, the index needs to be loaded: "
                f"call load() of that of {self.column}"
            )
        return self.index_dct

    def _arguments(self) -> dict[str, Any]:
        """Return what the constructor is to be called with for the same index."""
        given = self.index_dct if self._index_dct_available else None
        return {"column": self.column, "index_dct": given, "dtype": self.dtype}

    def copy(self: Self, **changes: Any) -> Self:
        """Return the same index, with *changes* to what it was made with."""
        arguments = {**self._arguments(), **changes}
        if arguments["index_dct"] is not None:
            arguments["index_dct"] = {
                value: list(labels) for value, labels in arguments["index_dct"].items()
            }
        return type(self)(**arguments, normalize_dtype=False)

    def _changed(self: Self, values: Partitions, *, inplace: bool) -> Self:
        if not inplace:
            return self.copy(index_dct=values)
        self.index_dct = values
        self.creation_time = datetime.now(UTC).replace(tzinfo=None)
        return self

    @staticmethod
    def normalize_value(dtype: pa.DataType | None, value: Any) -> Any:
        """Return *value* as an index of *dtype* has it, null as ``None``.

        :raises ValueError: there is no type, or *value* is none of it.
        :raises NotImplementedError: an index cannot have this type.
        """
        return normalize(dtype, value)

    def query(self, value: Any) -> list[str]:
        """Return the partitions that have *value*, which is normalized first."""
        return self._values().get(normalize(self.dtype, value), [])

    def eval_operator(self, op: str, value: Any) -> set[str]:
        """Return the partitions that have a value for which ``column op value`` holds.

        *op* is ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=`` or ``in``. Null equals null and nothing
        else; it is neither different from a value nor ordered.

        :raises TypeError: *value* is of another type than the column.
        :raises NotImplementedError: there is no such operator.
        """
        values = self._values()
        kept = kept_values(self.column, self.dtype, values, op, value)
        return {label for one in kept for label in values[one]}

    def observed_values(self, date_as_object: bool = True) -> npt.NDArray[Any]:
        """Return all values. Dates are objects, or ``datetime64``; times of a type with a zone are
        objects in that zone. Null is NaN among numbers with a point and NaT among other times, else
        ``None`` in an array of objects."""
        return numpy_values(self._values(), self.dtype, date_as_object=date_as_object)

    def to_dict(self) -> Partitions:
        """Return the values and their partitions."""
        return self._values()

    def to_table(self) -> pa.Table:
        """Return the index as it is written to Parquet: a column of its name, and ``partition``, a
        list of labels."""
        return index_table(self.column, self._values(), self.dtype)

    def as_flat_series(
        self,
        compact: bool = False,
        partitions_as_index: bool = False,
        date_as_object: bool = False,
        predicates: Predicates | None = None,
    ) -> pd.Series:
        """Return the index as a series of pandas: a partition for each value that it has.

        *compact* makes a row of each value, with the list of its partitions.
        *partitions_as_index* has the values by partition instead. *predicates* keep some values;
        a literal about another column counts as true.

        :raises RuntimeError: pandas is not installed.
        """
        from dftindexd.views.indices.flat_series import flat_series

        check_predicates(predicates)
        values = self._values()
        kept = of_column(predicates, self.column) if predicates is not None else None
        if kept is not None:
            chosen = {
                value
                for conjunction in kept
                for value in set.intersection(
                    *(
                        set(kept_values(self.column, self.dtype, values, op, wanted))
                        for _, op, wanted in conjunction
                    )
                )
            }
            values = {value: labels for value, labels in values.items() if value in chosen}
        return flat_series(
            self.column,
            numpy_values(values, self.dtype, date_as_object=date_as_object),
            list(values.values()),
            compact=compact,
            by_partition=partitions_as_index,
        )

    def update(self: Self, index: IndexBase, inplace: bool = False) -> Self:
        """Return this index with the partitions of *index* as well.

        :raises TypeError: it is no index, or of another type.
        :raises ValueError: it is of another column.
        """
        if not isinstance(index, IndexBase):
            raise TypeError(f"Need to input an IndexBase object, instead got `{type(index)}`")
        if None not in (self.dtype, index.dtype) and self.dtype != index.dtype:
            raise TypeError(
                "Trying to update an index with different types. "
                f"Expected `{self.dtype}` but got `{index.dtype}`"
            )
        if self.column != index.column:
            raise ValueError(
                "Trying to update an index with the wrong column. "
                f"Got `{index.column}` but expected `{self.column}`"
            )
        more = index._values()
        if not more:
            return self
        values = dict(self._values())
        for value, labels in more.items():
            values[value] = list(dict.fromkeys([*values.get(value, ()), *labels]))
        updated = self._changed(values, inplace=inplace)
        updated.dtype = self.dtype or index.dtype
        return updated

    def remove_partitions(
        self: Self, list_of_partitions: Iterable[str], inplace: bool = False
    ) -> Self:
        """Return this index without these partitions, and without values that only they had."""
        gone = set(list_of_partitions)
        if not gone:
            return self
        left = {
            value: [label for label in labels if label not in gone]
            for value, labels in self._values().items()
        }
        return self._changed({value: left[value] for value in left if left[value]}, inplace=inplace)

    def remove_values(self: Self, list_of_values: Iterable[Any], inplace: bool = False) -> Self:
        """Return this index without these values, which are normalized first."""
        gone = {normalize(self.dtype, value) for value in list_of_values}
        if not gone:
            return self
        left = {value: labels for value, labels in self._values().items() if value not in gone}
        return self._changed(left, inplace=inplace)

    def _described(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "dtype": self.dtype,
            "creation_time": self.creation_time,
            "index_dct": sorted(self.index_dct, key=lambda value: (value is None, value)),
            "_index_dct_available": self._index_dct_available,
        }

    def __repr__(self) -> str:
        described = ", ".join(f"{name}={value}" for name, value in self._described().items())
        return f"{type(self).__name__}({described})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexBase):
            return NotImplemented
        if (self.column, self.dtype) != (other.column, other.dtype):
            return False
        if self.index_dct.keys() != other.index_dct.keys():
            return False
        return all(
            set(labels) == set(other.index_dct[value]) for value, labels in self.index_dct.items()
        )

    __hash__ = None  # type: ignore[assignment] # it can change


def _normalized(
    column: str, dtype: pa.DataType | None, given: Mapping[Any, list[str]]
) -> Partitions:
    if not given:
        return {}
    form = normalizer(dtype)
    found: Partitions = {}
    collisions = 0
    for value, labels in given.items():
        one = form(value)
        known = found.get(one)
        if known is None:
            found[one] = list(labels)
            continue
        collisions += 1
        held = set(known)
        known += [label for label in labels if label not in held]
    if collisions:
        _logger.warning(
            "Value normalization for index column %s resulted in %d collision(s). The partitions "
            "of these values were merged, but you may want to check if this was desired.",
            column,
            collisions,
        )
    return found


class PartitionIndex(IndexBase):
    """An index of what partitions are told apart by, such as their host or their file: most often
    each partition has one value. It is derived, and needs a type."""

    def __init__(
        self,
        column: str,
        index_dct: Mapping[Any, list[str]] | None = None,
        dtype: pa.DataType | None = None,
        normalize_dtype: bool = True,
    ) -> None:
        if dtype is None:
            raise ValueError(f'PartitionIndex dtype of column "{column}" cannot be None!')
        super().__init__(column, index_dct, dtype, normalize_dtype)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartitionIndex) and super().__eq__(other)

    __hash__ = None
