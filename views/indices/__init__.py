"""Inverted indices: which partitions hold a value of a column, as data."""

from __future__ import annotations

from dftindexd.views.indices.base import IndexBase, PartitionIndex
from dftindexd.views.indices.merging import (
    filter_indices,
    merge_indices,
    remove_partitions_from_indices,
)
from dftindexd.views.indices.secondary import ExplicitSecondaryIndex

__all__ = (
    "ExplicitSecondaryIndex",
    "IndexBase",
    "PartitionIndex",
    "filter_indices",
    "merge_indices",
    "remove_partitions_from_indices",
)
