"""What requests return that is more than a message of the protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dftindexd.protocol.errors import ProtocolError
from dftindexd.protocol.message import AnswerHead

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("Answer", "Backup", "arrow_errors", "read_tables")

#: More rows than these are not shown in a notebook.
_MOST_SHOWN: Final = 20


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the store of *root*, at one of its generations, in the directory *path*."""

    root: str
    path: str
    generation: int
    bytes: int


class Answer:
    """The rows of one answer, with the generation of the store that they show.

    It implements the Arrow C stream interface: ``pyarrow.table(answer)``,
    ``polars.DataFrame(answer)``, ``duckdb.sql("from answer")`` and others read it as it is. A large
    answer is memory that the daemon shares; it is let go when the last that uses it is.
    """

    __slots__ = ("_head", "_tables")

    def __init__(self, head: AnswerHead, *tables: pa.Table) -> None:
        self._head = head
        self._tables = tables

    @property
    def head(self) -> AnswerHead:
        """What came before the rows."""
        return self._head

    @property
    def generation(self) -> int:
        """The version of the store that the rows show; each commit adds one."""
        return self._head.generation

    @property
    def store_id(self) -> str:
        """Which store's generation it is; ``""`` where the answer does not say."""
        return self._head.store_id

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know about the rows, such as traces that are missing from them."""
        return self._head.warnings

    @property
    def tables(self) -> tuple[pa.Table, ...]:
        """The rows of an answer that has several parts; of others, the one table of all."""
        return self._tables

    def arrow(self) -> pa.Table:
        """Return the rows as a table of pyarrow, without a copy."""
        return self._tables[0]

    def batches(self) -> list[pa.RecordBatch]:
        """Return the rows as record batches, without a copy."""
        return self.arrow().to_batches()

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``; pandas has to be installed."""
        return self.arrow().to_pandas()

    def to_polars(self) -> Any:
        """Return the rows as a ``polars.DataFrame``; polars has to be installed."""
        # Whoever does not use it need not have it.
        from polars import DataFrame

        return DataFrame(self)

    def to_pylist(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries."""
        return self.arrow().to_pylist()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the rows as an Arrow C stream, in a PyCapsule."""
        return self.arrow().__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self.arrow().num_rows

    def __repr__(self) -> str:
        columns = ", ".join(self.arrow().column_names)
        return f"<Answer: {len(self)} rows of ({columns}), generation {self.generation}>"

    def _repr_html_(self) -> str:
        """Return the first rows as a table, for a notebook."""
        names = self.arrow().column_names
        shown = self.arrow().slice(0, _MOST_SHOWN)
        rows = zip(*(column.to_pylist() for column in shown.columns), strict=True)
        lines = [
            "<table>",
            f"<thead>{_html_row('th', names)}</thead>",
            "<tbody>",
            *(_html_row("td", row) for row in rows),
            "</tbody>",
            "</table>",
        ]
        notes = [f"{len(self):,} rows, generation {self.generation}", *self.warnings]
        return "\n".join([*lines, *(f"<p>{escape(note)}</p>" for note in notes)])


def _html_row(tag: str, cells: Any) -> str:
    texts = ("" if cell is None else escape(str(cell)) for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{text}</{tag}>' for text in texts)}</tr>"


@contextmanager
def arrow_errors() -> Iterator[None]:
    """Raise what Arrow says of a stream that it cannot read as an error of the protocol.

    :raises ProtocolError: there is no such stream.
    """
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        raise ProtocolError(f"the daemon's Arrow stream cannot be read: {error}") from error


def read_tables(data: bytes | memoryview) -> list[pa.Table]:
    """Return the tables of Arrow streams that lie one after the other, without a copy.

    :raises ProtocolError: they are none.
    """
    import pyarrow as pa  # only who has rows waits for its import

    with arrow_errors():
        file = pa.BufferReader(pa.py_buffer(data))
        tables = [pa.ipc.open_stream(file).read_all()]
        while file.tell() < file.size():
            tables.append(pa.ipc.open_stream(file).read_all())
    return tables
