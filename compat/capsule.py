"""Record batches handed over by the Arrow C data interface, so that no library need be pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

__all__ = ("ArrowBatch", "ArrowTable", "batches_of")


class ArrowBatch:
    """One record batch: ``pyarrow.record_batch(batch)`` and others import it without a copy.

    Unlike the reference's it may be exported more than once.
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Export the rows as a pair of PyCapsules: schema and array."""
        exported: tuple[object, object] = self._batch.__arrow_c_array__(  # type: ignore[no-untyped-call]
            requested_schema
        )
        return exported

    def __arrow_c_schema__(self) -> object:
        """Export the schema as a PyCapsule."""
        return self._batch.schema.__arrow_c_schema__()

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self._batch.num_rows

    @property
    def num_columns(self) -> int:
        """The number of columns."""
        return self._batch.num_columns

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``; pandas has to be installed."""
        return self._batch.to_pandas()

    def to_polars(self) -> Any:
        """Return the rows as a ``polars.DataFrame``; polars has to be installed."""
        return _polars(self._batch)

    def __len__(self) -> int:
        return self._batch.num_rows

    def __repr__(self) -> str:
        return f"<ArrowBatch: {len(self)} rows of ({', '.join(self._batch.schema.names)})>"


class ArrowTable:
    """Batches of one schema that are one table: ``pyarrow.table(table)`` imports it.

    *schema* is that of a table without batches.
    """

    def __init__(self, batches: list[ArrowBatch], schema: pa.Schema | None = None) -> None:
        self._batches = batches
        self._schema = pa.schema([]) if schema is None else schema

    def _table(self) -> pa.Table:
        if not self._batches:
            return self._schema.empty_table()
        return pa.Table.from_batches([pa.record_batch(batch) for batch in self._batches])

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the rows as an Arrow C stream, in a PyCapsule."""
        return self._table().__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    @property
    def num_batches(self) -> int:
        """The number of batches."""
        return len(self._batches)

    @property
    def num_rows(self) -> int:
        """The number of rows in all batches."""
        return sum(batch.num_rows for batch in self._batches)

    @property
    def empty(self) -> bool:
        """Whether there are no batches."""
        return not self._batches

    def batch(self, i: int) -> ArrowBatch:
        """Return one batch."""
        return self._batches[i]

    def batches(self) -> Iterator[ArrowBatch]:
        """Return the batches in order."""
        return iter(self._batches)

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``; pandas has to be installed."""
        return self._table().to_pandas()

    def to_polars(self) -> Any:
        """Return the rows as a ``polars.DataFrame``; polars has to be installed."""
        return _polars(self._table())


def _polars(rows: pa.RecordBatch | pa.Table) -> Any:
    # Whoever does not use it need not have it.
    from polars import from_arrow

    return from_arrow(rows)


def batches_of(table: pa.Table, batch_size: int) -> Iterator[ArrowBatch]:
    """Yield the rows of *table* in batches of at most *batch_size* rows (0 counts as 1).

    A table without rows gives none.
    """
    for batch in table.combine_chunks().to_batches(max(batch_size, 1)):
        if batch.num_rows:
            yield ArrowBatch(batch)
