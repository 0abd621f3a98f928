"""An index that is stored by itself, as Parquet, and loaded when it is asked.

A *store* is whatever has ``put(key, data)`` and ``get(key)``, or a function without arguments that
returns one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

import pyarrow as pa

from dftindexd.views.indices.base import IndexBase
from dftindexd.views.indices.tables import (
    Partitions,
    partitions_of_table,
    read_parquet,
    write_parquet,
)

__all__ = ("ExplicitSecondaryIndex", "KeyValueStore", "StoreInput")

_SUFFIX = ".by-dataset-index.parquet"


class KeyValueStore(Protocol):
    """Where indices are kept."""

    def put(self, key: str, data: bytes) -> object:
        """Keep *data* under *key*."""
        ...

    def get(self, key: str) -> bytes:
        """Return what is kept under *key*."""
        ...


StoreInput: TypeAlias = KeyValueStore | Callable[[], KeyValueStore]


class ExplicitSecondaryIndex(IndexBase):
    """The index of any column. *index_storage_key* is where it is stored; one without *index_dct*
    is loaded from there. Whatever changes it makes an index that is not stored yet.

    :raises ValueError: neither values nor a key are given, or no values and no type.
    """

    def __init__(
        self,
        column: str,
        index_dct: Mapping[Any, list[str]] | None = None,
        index_storage_key: str | None = None,
        dtype: pa.DataType | None = None,
        normalize_dtype: bool = True,
    ) -> None:
        if index_dct is None and not index_storage_key:
            raise ValueError("No valid index source specified")
        if not index_storage_key and not index_dct and dtype is None:
            raise ValueError("Trying to create non-typesafe index")
        self.index_storage_key = index_storage_key
        super().__init__(column, index_dct, dtype, normalize_dtype)

    @classmethod
    def from_table(cls, column: str, table: pa.Table) -> ExplicitSecondaryIndex:
        """Return the index of a table with the columns *column* and ``partition``, such as
        ``client.indices(path, column)`` gives.

        :raises ValueError: it is no such table.
        """
        values, dtype = partitions_of_table(column, table)
        return cls(column, values, dtype=dtype, normalize_dtype=False)

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "index_storage_key": self.index_storage_key}

    def copy(self, **changes: Any) -> ExplicitSecondaryIndex:
        """Return the same index; one with *changes* is not what is stored any more."""
        if changes:
            changes.setdefault("index_storage_key", None)
        return super().copy(**changes)

    def _changed(self, values: Partitions, *, inplace: bool) -> ExplicitSecondaryIndex:
        if inplace:
            self.index_storage_key = None
        return super()._changed(values, inplace=inplace)

    def unload(self) -> ExplicitSecondaryIndex:
        """Return the index as it is stored, without its values.

        :raises ValueError: it is not stored.
        """
        return self.copy(index_dct=None, index_storage_key=self.index_storage_key)

    def store(self, store: StoreInput, dataset_uuid: str) -> str:
        """Write the index to *store* and return its key: the one that it has, if that is of the
        dataset, else ``{dataset_uuid}/indices/{column}/{creation time}.by-dataset-index.parquet``
        with column and time quoted as in addresses."""
        key = self.index_storage_key
        if key is None or not dataset_uuid or dataset_uuid not in key:
            column = quote(self.column, safe="")
            created = quote(self.creation_time.isoformat(), safe="")
            key = f"{dataset_uuid}/indices/{column}/{created}{_SUFFIX}"
        data = write_parquet(self.column, self._values(), self.dtype)
        _opened(store).put(key, data)
        return key

    def load(self, store: StoreInput) -> ExplicitSecondaryIndex:
        """Return the index with its values, itself if it has them."""
        if self.loaded:
            return self
        if self.index_storage_key is None:
            raise AssertionError("without values there is a key")
        values, dtype = read_parquet(self.column, _opened(store).get(self.index_storage_key))
        return ExplicitSecondaryIndex(
            self.column, values, self.index_storage_key, dtype, normalize_dtype=False
        )

    def _described(self) -> dict[str, Any]:
        return {"index_storage_key": self.index_storage_key, **super()._described()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExplicitSecondaryIndex):
            return False
        return self.index_storage_key == other.index_storage_key and super().__eq__(other)

    __hash__ = None

    def __getstate__(self) -> tuple[str, str | None, pa.DataType | None, bytes | None]:
        if not self.loaded:
            return self.column, self.index_storage_key, self.dtype, None
        # Far smaller than the values; it has their type, too.
        data = write_parquet(self.column, self.index_dct, self.dtype)
        return self.column, self.index_storage_key, None, data

    def __setstate__(self, state: tuple[str, str | None, pa.DataType | None, bytes | None]) -> None:
        column, key, dtype, data = state
        values: Partitions | None = None
        if data is not None:
            values, dtype = read_parquet(column, data)
        # What is made here is this very index, as pickle asks.
        ExplicitSecondaryIndex.__init__(self, column, values, key, dtype, normalize_dtype=False)


def _opened(store: StoreInput) -> KeyValueStore:
    return store() if callable(store) else store
