"""SST artifacts: the rows of one or more segments as files that the store ingests whole.

A parser worker writes them into the store's staging folder. Keys ascend strictly, so the rows of
several segments share a file, one for each column family. Rows that are many take several files,
which share no segment: no two of a family overlap.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from operator import itemgetter
from typing import Any, Final

import rocksdict

from dftindexd.index.model import Row
from dftindexd.index.store.rocks import classified_errors, table_options

__all__ = ("HELD_BYTES", "SstSink", "remove_ssts", "write_ssts")

#: How many bytes of rows are held before they become files.
HELD_BYTES: Final = 8 << 20


def write_ssts(
    rows: Iterable[Row], folder: str, stem: str, options: Callable[[], Any] = table_options
) -> dict[str, str]:
    """Write *rows* to ``<folder>/<stem>.<family>.sst`` and return the path of each family.
    *options* are those of the store that they are for.

    :raises CoreError: a file cannot be written, or two rows have one key; no file is left then.
    """
    paths: dict[str, str] = {}
    try:
        for family, some in _by_family(rows):
            paths[family] = path = os.path.join(folder, f"{stem}.{family}.sst")
            with classified_errors(path):
                writer = rocksdict.SstFileWriter(options())
                writer.open(path)
                for _, key, value in sorted(some, key=itemgetter(1)):
                    writer[key] = value
                writer.finish()
    except BaseException:
        _unlink([paths])
        raise
    return paths


def _by_family(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    return sorted(found.items())


def remove_ssts(folder: str, stem: str) -> None:
    """Remove the files in *folder* whose names begin with *stem*: whoever wrote them is dead."""
    with suppress(OSError):  # what is left goes when the store is opened next
        for name in os.listdir(folder):
            if name.startswith(stem):
                os.unlink(os.path.join(folder, name))


class SstSink:
    """Takes the rows of a job's traces: held while they are few, else in files in *folder* whose
    names begin with *stem*.

    Segments come in the order of their ids. What was taken since :meth:`begin_trace` can be dropped
    again. Raises ``CoreError`` where a file cannot be written.
    """

    def __init__(self, folder: str, stem: str) -> None:
        self.rows: list[Row] = []
        self.size = 0
        self.files: list[dict[str, str]] = []
        self._folder = folder
        self._stem = stem
        self._written = 0
        self._kept_rows = 0
        self._kept_files = 0

    def begin_trace(self) -> None:
        """Keep all that was taken so far, whatever becomes of the next trace."""
        self._kept_rows, self._kept_files = len(self.rows), len(self.files)

    def take(self, rows: list[Row]) -> None:
        """Take the rows of one segment."""
        self.rows += rows
        self.size += _size_of(rows)
        if self.size > HELD_BYTES:
            self._write_held()

    def drop(self) -> None:
        """Forget what was taken since the trace began."""
        _unlink(self.files[self._kept_files :])
        del self.files[self._kept_files :]
        del self.rows[self._kept_rows :]
        self.size = _size_of(self.rows)

    def discard(self) -> None:
        """Forget everything."""
        self._kept_rows = self._kept_files = 0
        self.drop()

    def write(self) -> None:
        """Write all held rows to files; no trace follows."""
        self.begin_trace()
        self._write_held()

    def _write_held(self) -> None:
        if self._kept_rows:
            self._write(self.rows[: self._kept_rows])
            self.rows = self.rows[self._kept_rows :]
            self._kept_rows, self._kept_files = 0, len(self.files)
        if self.rows:
            self._write(self.rows)
        self.rows, self.size = [], 0

    def _write(self, rows: list[Row]) -> None:
        self.files.append(write_ssts(rows, self._folder, f"{self._stem}-{self._written}"))
        self._written += 1

    def artifacts(self) -> dict[str, tuple[str, ...]]:
        """Return the files of each family."""
        families = {family for paths in self.files for family in paths}
        return {
            family: tuple(paths[family] for paths in self.files if family in paths)
            for family in sorted(families)
        }


def _size_of(rows: Iterable[Row]) -> int:
    return sum(len(key) + len(value) for _, key, value in rows)


def _unlink(files: Iterable[dict[str, str]]) -> None:
    for paths in files:
        for path in paths.values():
            with suppress(FileNotFoundError):
                os.unlink(path)
