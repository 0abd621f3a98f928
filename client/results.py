"""What requests return that is more than a message of the protocol."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from dftindexd.protocol.requests import AnswerHead

__all__ = ("Answer", "Backup")


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the store of *root*, at one of its generations, in the directory *path*."""

    root: str
    path: str
    generation: int
    bytes: int


class Answer:
    """The rows of one answer, with the generation of the store that they show.

    It implements the Arrow C stream interface: ``pyarrow.table(answer)``,
    ``polars.DataFrame(answer)``, ``duckdb.sql("from answer")`` and others read it as it is.
    """

    __slots__ = ("_head", "_table")

    def __init__(self, head: AnswerHead, table: pa.Table) -> None:
        self._head = head
        self._table = table

    @property
    def generation(self) -> int:
        """The version of the store that the rows show; each commit adds one."""
        return self._head.generation

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know about the rows, such as traces that are missing from them."""
        return self._head.warnings

    def arrow(self) -> pa.Table:
        """Return the rows as a table of pyarrow, without a copy."""
        return self._table

    def batches(self) -> list[pa.RecordBatch]:
        """Return the rows as record batches, without a copy."""
        return self._table.to_batches()

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``; pandas has to be installed."""
        return self._table.to_pandas()

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return self._table.to_pylist()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the rows as an Arrow C stream, in a PyCapsule."""
        return self._table.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self._table.num_rows

    def __repr__(self) -> str:
        columns = ", ".join(self._table.column_names)
        return f"<Answer: {len(self)} rows of ({columns}), generation {self.generation}>"
