"""A trace, or a directory of traces, and what an index knows of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dftindexd.compat.runtime import Runtime, checked_runtime

if TYPE_CHECKING:
    from dftindexd.compat.trace_text import TraceSize, TraceText

__all__ = ("IndexedPath",)


class IndexedPath:
    """What lies at *path*, and its index in *index_dir*; :class:`TraceReader` has the arguments."""

    __slots__ = ("_checkpoint_size", "_has_index", "_index_dir", "_path", "_runtime")

    def __init__(
        self,
        path: str,
        index_dir: str = "",
        checkpoint_size: int = 33554432,
        auto_build_index: bool = False,
        runtime: Runtime | None = None,
    ) -> None:
        for name, value in (("path", path), ("index_dir", index_dir)):
            if not isinstance(value, str):
                raise TypeError(f"{name} must be str, not {type(value).__name__}")
        self._runtime = checked_runtime(runtime)
        self._path = path
        self._index_dir = index_dir
        self._checkpoint_size = checkpoint_size
        if auto_build_index:
            self._build()
        self._has_index = self._known_size() is not None

    @property
    def path(self) -> str:
        """The trace or directory, as the caller named it."""
        return self._path

    @property
    def index_dir(self) -> str:
        """Where stores are looked for."""
        return self._index_dir

    @property
    def has_index(self) -> bool:
        """Whether an index had all the traces, as they were on disk, when this was made."""
        return self._has_index

    def get_num_lines(self) -> int:
        """Return the number of lines that the index knows of, 0 without one."""
        known = self._known_size()
        return known.lines if known is not None else 0

    def get_max_bytes(self) -> int:
        """Return the size of the text that the index knows of.

        Without an index it is the size of a plain trace's file, and 0 for any other.
        """
        known = self._known_size()
        if known is not None:
            return known.text_bytes
        is_plain = self._path.endswith(".pfw") and os.path.isfile(self._path)
        return os.path.getsize(self._path) if is_plain else 0

    def _text(self) -> TraceText:
        from dftindexd.compat.trace_text import TraceText

        return TraceText(self._path, self._index_dir)

    def _indexed_text(self) -> TraceText:
        """Return the text of the one trace, which is indexed from now on.

        :raises DFTUtilsReaderError: this is no reader of one trace.
        """
        from dftindexd.compat.errors import DFTUtilsReaderError

        if os.path.isdir(self._path):
            raise DFTUtilsReaderError(f"{self._path} is a directory; views are of one trace")
        if not os.path.exists(self._path):
            raise DFTUtilsReaderError(f"Failed to collect metadata: nothing is at {self._path}")
        self._build()
        return self._text()

    def _known_size(self) -> TraceSize | None:
        """Return what the index knows of all traces, ``None`` where it does not show one."""
        from dftindexd.compat.trace_text import TraceSize

        sizes = self._text().sizes() if self._path else []
        known = [size for size in sizes if size is not None]
        if not known or len(known) < len(sizes):
            return None
        lines, text_bytes = zip(*known, strict=True)
        return TraceSize(sum(lines), sum(text_bytes))

    def _build(self) -> None:
        """Index the traces that are there, unless they are."""
        from dftindexd.compat.indexer import Indexer

        if self._known_size() is not None:
            return
        for selection in self._text().selections():
            files = [os.path.join(selection.root, name) for name in selection.stamps]
            there = [os.fsdecode(path) for path in files if os.path.exists(path)]
            if there:
                Indexer(
                    files=there,
                    index_dir=self._index_dir,
                    checkpoint_size=self._checkpoint_size,
                    runtime=self._runtime,
                ).ensure_indexed()
