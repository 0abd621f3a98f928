"""The ``TraceReader`` of dftracer-utils: the lines and events of one trace, or of a directory's.

An index spares text that cannot hold what is asked for, a daemon's or one of this process's own;
there need not be any. Answers are the same with and without.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from dftindexd.compat.capsule import ArrowBatch, ArrowTable
from dftindexd.compat.indexed_path import IndexedPath
from dftindexd.compat.json_value import JsonDictValue

if TYPE_CHECKING:
    import pyarrow as pa

    from dftindexd.compat.reading import Wanted

__all__ = ("TraceReader",)

_BUFFER: Final = 4194304


class TraceReader(IndexedPath):
    """Reads the trace at *path*; of a directory the traces at any depth, in the order of paths.

    Lines are numbered from 1 in each trace, and *end_line* is the last; 0 means the first, or the
    last there is. A range of bytes takes the lines that begin there in the text; an *end_byte* of 0
    is the end of the text. Both may be given. A *query* keeps the lines with an event that it
    keeps; it is that of ``dftindexd-client read``.

    *buffer_size* and *memory_budget* are kept for the signature: memory is bounded by a batch.

    :param index_dir: where the store of the traces' directory lies, as of an :class:`Indexer`.
    :param checkpoint_size: bytes of text in a chunk, for *auto_build_index*.
    :param auto_build_index: index what is not indexed as it is on disk, now.
    :raises TypeError: *path* is no ``str``, or *runtime* is none.
    """

    __slots__ = ()

    def __enter__(self) -> TraceReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: between calls a reader holds nothing that could be released."""

    @property
    def num_lines(self) -> int:
        """The number of lines; they are counted where no index knows it."""
        return self.get_num_lines() or sum(1 for _ in self.iter_lines())

    # -- lines --------------------------------------------------------------------------------

    def read_lines(
        self,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
    ) -> list[memoryview]:
        """Return the lines, without their newlines."""
        return list(self.iter_lines(start_line, end_line, start_byte, end_byte, buffer_size, query))

    def iter_lines(
        self,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
        memory_budget: int = 0,
    ) -> Iterator[memoryview]:
        """Yield the lines, without their newlines."""
        wanted = _checked(start_line, end_line, start_byte, end_byte, buffer_size, query)
        return map(memoryview, self._text().lines(wanted))

    # -- events -------------------------------------------------------------------------------

    def iter_json(
        self,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
        batch_size: int = 1024,
        memory_budget: int = 0,
    ) -> Iterator[JsonDictValue]:
        """Yield the events, and the metadata; a line that is none is passed over."""
        if operator.index(batch_size) < 1:
            raise ValueError("range arguments must be >= 0; buffer_size and batch_size must be > 0")
        wanted = _checked(start_line, end_line, start_byte, end_byte, buffer_size, query)
        return (JsonDictValue(event.record) for event in self._text().events(wanted))

    def read_json(
        self,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
        batch_size: int = 1024,
    ) -> list[JsonDictValue]:
        """Return what :meth:`iter_json` yields."""
        ranges = (start_line, end_line, start_byte, end_byte)
        return list(self.iter_json(*ranges, buffer_size, query, batch_size))

    def iter_lines_json(
        self,
        batch_size: int = 10000,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of :meth:`iter_arrow`, with *flatten_objects*, as ``dict``."""
        ranges = (start_line, end_line, start_byte, end_byte)
        batches = self._batches(batch_size, *ranges, buffer_size, query, True, False)
        return (row for batch in batches for row in batch.to_pylist())

    def read_lines_json(
        self,
        batch_size: int = 10000,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return what :meth:`iter_lines_json` yields."""
        ranges = (start_line, end_line, start_byte, end_byte)
        return list(self.iter_lines_json(batch_size, *ranges, buffer_size, query))

    # -- text ---------------------------------------------------------------------------------

    def iter_raw(
        self,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        line_aligned: bool = True,
        multi_line: bool = True,
        buffer_size: int = _BUFFER,
        query: str | None = None,
        memory_budget: int = 0,
    ) -> Iterator[memoryview]:
        """Yield the lines with their newlines, in pieces of about *buffer_size* bytes.

        Without *multi_line* each line is a piece. Without *line_aligned*, a range of bytes alone
        gives exactly these bytes.
        """
        wanted = _checked(start_line, end_line, start_byte, end_byte, buffer_size, query)
        from dftindexd.compat.read_ranges import END, pieces_of_lines

        if not (line_aligned or wanted.query or wanted.lines):
            begin, end = wanted.text_range or (0, END)
            return map(memoryview, self._text().raw_bytes(begin, end))
        lines = (line + b"\n" for line in self._text().lines(wanted))
        return map(memoryview, pieces_of_lines(lines, buffer_size) if multi_line else lines)

    def read_raw(
        self,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        line_aligned: bool = True,
        multi_line: bool = True,
        buffer_size: int = _BUFFER,
        query: str | None = None,
    ) -> list[memoryview]:
        """Return what :meth:`iter_raw` yields."""
        ranges = (start_line, end_line, start_byte, end_byte)
        return list(self.iter_raw(*ranges, line_aligned, multi_line, buffer_size, query))

    # -- Arrow --------------------------------------------------------------------------------

    def iter_arrow(
        self,
        batch_size: int = 10000,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
        flatten_objects: bool = False,
        normalize: bool = False,
        memory_budget: int = 0,
    ) -> Iterator[ArrowBatch]:
        """Yield the events in batches, each with the columns that its events have.

        Objects are JSON, or with *flatten_objects* columns of their own (``args.ret``). With
        *normalize* the columns are those that the analyzer reads.
        """
        ranges = (start_line, end_line, start_byte, end_byte)
        return map(
            ArrowBatch,
            self._batches(batch_size, *ranges, buffer_size, query, flatten_objects, normalize),
        )

    def read_arrow(
        self,
        batch_size: int = 10000,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
        flatten_objects: bool = False,
        normalize: bool = False,
    ) -> ArrowTable:
        """Return the batches of :meth:`iter_arrow` as one table, and a column ``_extra``."""
        from dftindexd.compat.event_batches import united, with_extra

        ranges = (start_line, end_line, start_byte, end_byte)
        batches = self._batches(batch_size, *ranges, buffer_size, query, flatten_objects, normalize)
        table = with_extra(united(list(batches)))
        return ArrowTable([ArrowBatch(batch) for batch in table.to_batches()], table.schema)

    def iter_arrow_stream(
        self,
        batch_size: int = 10000,
        start_line: int = 0,
        end_line: int = 0,
        start_byte: int = 0,
        end_byte: int = 0,
        buffer_size: int = _BUFFER,
        query: str | None = None,
        flatten_objects: bool = False,
        normalize: bool = False,
        memory_budget: int = 0,
    ) -> ArrowTable:
        """Return :meth:`read_arrow`, to be imported as an Arrow stream.

        All is read before the first batch: only then the columns are known.
        """
        ranges = (start_line, end_line, start_byte, end_byte)
        return self.read_arrow(batch_size, *ranges, buffer_size, query, flatten_objects, normalize)

    def _batches(
        self,
        batch_size: int,
        start_line: int,
        end_line: int,
        start_byte: int,
        end_byte: int,
        buffer_size: int,
        query: str | None,
        flatten: bool,
        normalize: bool,
    ) -> Iterator[pa.RecordBatch]:
        if operator.index(batch_size) < 1:
            raise ValueError("batch_size must be > 0")
        wanted = _checked(start_line, end_line, start_byte, end_byte, buffer_size, query)
        from dftindexd.compat.event_batches import as_row, batches_of_rows
        from dftindexd.compat.normal_events import NORMAL_TYPES, normal_row

        events = self._text().events(wanted)
        if normalize:
            return batches_of_rows(map(normal_row, events), batch_size, NORMAL_TYPES)
        return batches_of_rows(map(partial(as_row, flatten=flatten), events), batch_size, {})

    # -- files --------------------------------------------------------------------------------

    def get_view_chunks(self, view: str | dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the chunks that can hold an event of *view*; see :mod:`dftindexd.compat.views`.

        ``chunks`` (each with ``checkpoint_idx``, ``start_byte``, ``end_byte``),
        ``total_checkpoints``, ``skipped_checkpoints``, ``file_may_match``.
        """
        from dftindexd.compat.views import view_chunks, view_of

        return view_chunks(self._indexed_text(), view_of(view))

    def write_view_chunk(
        self,
        output_file: str,
        checkpoint_idx: int,
        start_byte: int,
        end_byte: int,
        view: str | dict[str, Any] | None = None,
        compression: str = "zstd",
        batch_size: int = 10000,
    ) -> dict[str, Any]:
        """Write the events of *view* in one chunk as an Arrow file, and return what was done.

        :raises DFTUtilsIOError: the file cannot be written.
        """
        from dftindexd.compat.views import view_of, write_chunk

        chunk = range(start_byte, end_byte)
        return write_chunk(self._text(), output_file, chunk, view_of(view), compression, batch_size)

    def write_view_chunks(
        self,
        chunks: list[dict[str, Any]],
        output_dir: str,
        view: str | dict[str, Any] | None = None,
        compression: str = "zstd",
        batch_size: int = 10000,
    ) -> dict[str, Any]:
        """Write each of *chunks*, as of :meth:`get_view_chunks`, to a file of its own.

        :raises TypeError: a chunk is no ``dict``.
        :raises KeyError: one lacks a key.
        """
        from dftindexd.compat.views import view_of, write_chunks

        return write_chunks(
            self._text(), chunks, output_dir, view_of(view), compression, batch_size
        )

    def write_arrow(
        self,
        path: str,
        views: list[str | dict[str, Any]] | None = None,
        chunk_size_mb: int = 32,
        compression: str = "zstd",
        batch_size: int = 10000,
    ) -> dict[str, Any]:
        """Write the events as Arrow files below *path*: of each view in a folder of its name, all
        of them in *path* itself without views. A file has about *chunk_size_mb* of text."""
        from dftindexd.compat.views import checked_views, write_partitions

        return write_partitions(
            self._indexed_text(),
            path,
            checked_views(views),
            chunk_size_mb << 20,
            compression,
            batch_size,
        )


def _checked(
    start_line: int,
    end_line: int,
    start_byte: int,
    end_byte: int,
    buffer_size: int,
    query: str | None,
) -> Wanted:
    from dftindexd.compat.read_ranges import wanted_lines

    return wanted_lines(start_line, end_line, start_byte, end_byte, buffer_size, query)
