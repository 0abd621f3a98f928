"""Columns as values of Python."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ("values_of",)


def values_of(batch: pa.RecordBatch, name: str) -> list[Any]:
    """Return a column's values, times as numbers: Python has none in nanoseconds."""
    column = batch.column(name)
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
