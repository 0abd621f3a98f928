"""Record batches handed over by the Arrow C data interface, so that no library need be pyarrow."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

__all__ = ("ArrowBatch", "batches_of")


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

    def __len__(self) -> int:
        return self._batch.num_rows

    def __repr__(self) -> str:
        return f"<ArrowBatch: {len(self)} rows of ({', '.join(self._batch.schema.names)})>"


def batches_of(table: pa.Table, batch_size: int) -> Iterator[ArrowBatch]:
    """Yield the rows of *table* in batches of at most *batch_size* rows (0 counts as 1).

    A table without rows gives none.
    """
    for batch in table.combine_chunks().to_batches(max(batch_size, 1)):
        if batch.num_rows:
            yield ArrowBatch(batch)
