"""Several indices together: those of many columns, by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from dftindexd.views.indices.base import IndexBase

__all__ = ("filter_indices", "merge_indices", "remove_partitions_from_indices")

AnyIndex = TypeVar("AnyIndex", bound=IndexBase)


def merge_indices(list_of_indices: Sequence[dict[str, AnyIndex]]) -> dict[str, AnyIndex]:
    """Return for each column one index with the partitions of all of its indices."""
    if len(list_of_indices) == 1:
        return list_of_indices[0]
    merged: dict[str, AnyIndex] = {}
    for indices in list_of_indices:
        for column, index in indices.items():
            known = merged.get(column)
            # The first update copies, so that no index that was given changes.
            merged[column] = index.copy() if known is None else known.update(index, inplace=True)
    return merged


def remove_partitions_from_indices(
    index_dict: Mapping[str, AnyIndex], partitions: Iterable[str]
) -> dict[str, AnyIndex]:
    """Return the indices without these partitions."""
    gone = list(partitions)
    return {column: index.remove_partitions(gone) for column, index in index_dict.items()}


def filter_indices(
    index_dict: Mapping[str, AnyIndex], partitions: Iterable[str]
) -> dict[str, AnyIndex]:
    """Return the indices with only these partitions, and all of their values."""
    kept = set(partitions)
    return {
        column: index.copy(
            index_dct={
                value: [label for label in labels if label in kept]
                for value, labels in index.to_dict().items()
            }
        )
        for column, index in index_dict.items()
    }
