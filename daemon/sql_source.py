"""What a statement may see of one root, and what of its store the process that runs it is given.

The registry here shows only the traces that the peer may read and that no root inside answers for.
Chunks, names and rows are of these alone, so that nothing of any other trace can be in an answer.
"""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from typing import Final

import msgspec
import pyarrow as pa

from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.aggregation import RowsKey, select_rows, trace_warnings
from dftindexd.daemon.row_cache import KeptRows, RowCache
from dftindexd.daemon.sight import Sight, without
from dftindexd.daemon.sql_order import SqlNeed, SqlRoot
from dftindexd.daemon.tables import display, listing
from dftindexd.index.errors import CoreError
from dftindexd.index.query.hash_names import DirectoryHashes, hash_tables
from dftindexd.index.store.registry import sets_below
from dftindexd.index.tier_sets import best, giving, only
from dftindexd.views.aggregated import AGGREGATED, aggregated_table
from dftindexd.views.source import Selection, names_of_hashes, segment_chunks, selected

__all__ = ("VIEWS_FOLDER", "SqlSource")

#: Partitions lie in this folder of their store, and come and go with it.
VIEWS_FOLDER: Final = "views"

_encode: Final = msgspec.msgpack.Encoder().encode


class SqlSource:
    """The traces of *root* at or below the absolute path *below*, in one *view* of its store, but
    not below the directories *inside*, that *sight* shows. All of it blocks: threads make and use
    it, one at a time."""

    def __init__(
        self,
        root: Root,
        below: bytes,
        view: StoreView,
        *,
        inside: list[bytes],
        sight: Sight,
        cache: RowCache,
    ) -> None:
        self.root = root
        self.below = below
        self._view = view
        self._inside = inside
        self._sight = sight
        self._cache = cache
        self._seen = sight.registry(root, below, view.registry)
        self._hides = self._seen is not view.registry
        others = tuple(directory + b"/" for directory in inside)
        self._registry = without(
            self._seen, [path for path in self._seen.sets if path.startswith(others)]
        )
        tiers = only(root.options.tiers, checkpoints=True, bloom=True, manifest=True)
        found = [
            (one, giving(one, tiers) or best(one, lambda have: have.checkpoints))
            for one in sets_below(self._registry, root.relative(below))
        ]
        records = (one for _, one in found if one is not None)
        self._records = sorted(records, key=lambda one: one.path)
        damaged = root.handle.damage.of(self._records)
        if damaged is not None:
            raise damaged
        self.warnings = trace_warnings(root, found, tiers)

    @property
    def generation(self) -> int:
        """The generation of the store that is seen."""
        return self._registry.generation

    def as_order(self) -> SqlRoot:
        """Return what the process is told of it."""
        name = display(self.root.path)
        return SqlRoot(
            name=name,
            selection=Selection(
                root=self.root.path,
                folder=os.path.join(self.root.store_path, VIEWS_FOLDER),
                whole=self.below == self.root.path and not self._hides,
                traces=tuple(selected(self._records, name)),
                viewer=f"user {self._sight.uid}" if self._hides else "",
            ),
        )

    def give(self, need: SqlNeed) -> bytes:
        """Return what is needed."""
        if need.segments is not None:
            return _encode(segment_chunks(self._view.rows, self._records, need.segments))
        if need.hashes is not None:
            return _encode(names_of_hashes(self._hashes, need.hashes))
        if need.key_of:
            return self._key(need.key_of).encode()
        return _ipc(self._table(need.table))

    @cached_property
    def _hashes(self) -> DirectoryHashes:
        return hash_tables(self._view.rows, self._records)

    def _key(self, name: str) -> str:
        if self.root.options.tiers.aggregation is None:
            raise CoreError(
                f"the root {display(self.root.path)} has no aggregation tier, which {name} shows",
                "watch it with that tier, or ask for another view",
            )
        rows = self._aggregated.rows
        segments = [(one.file_id, [s.segment_id for s in one.segments]) for one in rows.records]
        return hashlib.blake2b(_encode([name, rows.tier, segments]), digest_size=8).hexdigest()

    @cached_property
    def _aggregated(self) -> KeptRows:
        """The rows of the aggregation tier; what is kept between answers is of all traces."""
        key: RowsKey = (self.root.path, self.root.relative(self.below), False)
        kept = None
        if self._registry is self._view.registry:
            kept = self._cache.find(key, self.generation)
        chosen = kept or select_rows(self.root, self._registry, key)
        damaged = self.root.handle.damage.of(chosen.rows.records)
        if damaged is not None:
            raise damaged
        return chosen

    def _table(self, name: str) -> pa.Table:
        if name in AGGREGATED:
            return aggregated_table(self._view.rows, self._aggregated.rows, name)
        _, table = listing(self.root, self.below, self._sight, without=self._inside)
        return table()


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
