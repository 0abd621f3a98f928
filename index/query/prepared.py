"""Rows and names that many answers share: those of one set of traces at one generation.

Reading and merging costs far more than filtering or grouping what was merged, and a generation's
rows never change, so whoever answers repeatedly keeps a :class:`PreparedRows` for it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from dftindexd.index.model import AggregationTier, TraceRecord
from dftindexd.index.query.answers import UNUSED_STATISTICS
from dftindexd.index.query.hash_names import DirectoryHashes, hash_tables
from dftindexd.index.query.rows import Kind, Rows, read_rows
from dftindexd.index.query.source import RowSource

__all__ = ("PreparedRows",)

#: What a text takes, about: the object, its entry in a list, some characters.
_TEXT_BYTES = 128


class PreparedRows:
    """The hash tables and the merged rows of *records*, read when first asked for; *hashes* are
    the tables where they are known already.

    Any source of the generation that *records* come from may be passed; threads may share one.
    """

    def __init__(
        self,
        records: Sequence[TraceRecord],
        tier: AggregationTier,
        hashes: DirectoryHashes | None = None,
    ) -> None:
        self.records = records
        self.tier = tier
        self._lock = threading.Lock()
        self._hashes = hashes
        self._rows: dict[Kind, Rows] = {}

    def hashes(self, source: RowSource) -> DirectoryHashes:
        """Return the hash tables of the traces."""
        with self._lock:
            return self._read_hashes(source)

    def _read_hashes(self, source: RowSource) -> DirectoryHashes:
        if self._hashes is None:
            self._hashes = hash_tables(source, self.records)
        return self._hashes

    def rows(self, source: RowSource, kind: Kind) -> Rows:
        """Return the merged rows of one kind, with names, without unneeded statistics."""
        with self._lock:
            found = self._rows.get(kind)
            if found is None:
                hashes = self._read_hashes(source)
                found = self._rows[kind] = read_rows(
                    source, self.records, self.tier, kind, hashes, without=UNUSED_STATISTICS
                )
            return found

    @property
    def nbytes(self) -> int:
        """About how much memory the rows take, in bytes."""
        rows = list(self._rows.values())
        arrays = sum(column.nbytes for found in rows for column in found.columns.values())
        texts = sum(_TEXT_BYTES * len(part) for found in rows for part in found.texts.values())
        sketches = sum(sketch.nbytes for found in rows for sketch in found.sketches.values())
        return arrays + texts + sketches
