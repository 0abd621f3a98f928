"""Reading the index of some traces. The store is open only while an :class:`OpenIndex` lasts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from dftindexd.compat.errors import DFTUtilsAggregationError, DFTUtilsIndexerError
from dftindexd.compat.selection import Selection
from dftindexd.compat.status import current_sets
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import AggregationTier, TierConfig, TraceRecord
from dftindexd.index.query.aggregation import dfanalyzer_table, read_aggregation
from dftindexd.index.query.answers import clock_of
from dftindexd.index.query.hash_names import HashKind, hash_tables
from dftindexd.index.query.io_categories import IoCategoryTable
from dftindexd.index.query.rows import Kind
from dftindexd.index.query.source import origin_of, segment_rows
from dftindexd.index.query.system_metrics import system_metrics_table
from dftindexd.index.store.identity import IDENTITY_FILE
from dftindexd.index.store.layout import CHECKPOINTS, MANIFEST
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import StoreWriter
from dftindexd.index.tier_sets import Sets, best, giving
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.tiers.manifest import decode_manifest

__all__ = ("AnalyzerQuery", "OpenIndex", "open_index")


class _Aggregated(NamedTuple):
    """The sets that an answer comes from, and the configuration of their aggregation."""

    records: list[TraceRecord]
    tier: AggregationTier


@dataclass(frozen=True, slots=True)
class AnalyzerQuery:
    """What a table for the analyzer is asked with."""

    time_granularity: float = 1.0
    time_resolution: float = 1e6
    query: str | None = None
    group_by: Sequence[str] | None = None
    io_cat_table: IoCategoryTable = "analyzer"


class OpenIndex:
    """The sets of the selected traces and the store's rows; ``missing`` traces have no set."""

    def __init__(self, selection: Selection, store: RocksStore, sets: Mapping[bytes, Sets]) -> None:
        self.selection = selection
        self.sets = {path: sets[path] for path in sorted(selection.stamps) if path in sets}
        self.missing = [path for path in sorted(selection.stamps) if path not in sets]
        self._store = store

    def current_sets(self, path: bytes) -> Sets:
        """Return the sets that show the trace at *path* as it is on disk."""
        return current_sets(self.selection, self.sets, path)

    def warn_of_changed(self) -> None:
        """Say which traces an answer shows otherwise than they are on disk."""
        changed = [path for path in self.sets if not self.current_sets(path)]
        if changed:
            self._warn(changed, "have changed since they were indexed")

    def _warn(self, paths: Sequence[bytes], what: str) -> None:
        warnings.warn(
            f"{len(paths)} of {len(self.selection.stamps)} traces {what}, "
            f"such as {self.selection.shown(paths[0])}; resolve() lists them",
            RuntimeWarning,
            stacklevel=6,
        )

    def names(self, kind: HashKind) -> dict[str, str]:
        """Return hash to name; a hash that traces name differently has the name ""."""
        records = [one for sets in self.sets.values() if (one := best(sets, lambda _: True))]
        table: dict[str, str] = getattr(hash_tables(self._store, records).merged, kind)
        return table

    def paths(self) -> dict[int, str]:
        """Return the path of each trace by its file id."""
        return {sets[0].file_id: self.selection.shown(path) for path, sets in self.sets.items()}

    def pids(self) -> dict[int, set[int]]:
        """Return the processes whose records each trace holds, by its file id.

        :raises DFTUtilsIndexerError: a trace has no manifest.
        """
        records = [self._with_manifest(path, sets) for path, sets in self.sets.items()]
        rows = segment_rows(self._store, MANIFEST, records)
        return {
            record.file_id: {
                pid for value in values for chunk in decode_manifest(value) for pid in chunk.pids
            }
            for record, values in zip(records, rows, strict=True)
        }

    def _with_manifest(self, path: bytes, sets: Sets) -> TraceRecord:
        record = best(sets, lambda tiers: tiers.manifest)
        if record is None:
            raise DFTUtilsIndexerError(
                f"{self.selection.shown(path)} has no manifest "
                "(ensure_indexed() with require_manifest builds it)"
            )
        return record

    def checkpoints(self, path: bytes, chunk_bytes: int) -> list[Checkpoint]:
        """Return the chunks of this size of the trace at *path*, none where it has no such set."""
        wanted = TierConfig(
            bloom=False, manifest=False, aggregation=None, chunk_bytes=chunk_bytes
        ).normal()
        record = giving(self.sets.get(path, ()), wanted)
        if record is None:
            return []
        (rows,) = segment_rows(self._store, CHECKPOINTS, [record])
        return [chunk for value in rows for chunk in decode_checkpoints(value)]

    def aggregation(self, wanted: AggregationTier | None, kind: Kind) -> pa.Table:
        """Return the rows of one kind, as they are stored."""
        found = self._aggregated(wanted)
        return read_aggregation(self._store, found.records, found.tier, kind)

    def analyzer(
        self, wanted: AggregationTier | None, kind: Kind, query: AnalyzerQuery
    ) -> pa.Table:
        """Return the analyzer's table of one kind."""
        return self._analyzer(self._aggregated(wanted), kind, query)

    def analyzer_all(
        self, wanted: AggregationTier | None, query: AnalyzerQuery
    ) -> dict[str, pa.Table]:
        """Return the analyzer's tables; ``system`` has the metrics' means, not what is derived."""
        found = self._aggregated(wanted)
        return {
            "events": self._analyzer(found, "events", query),
            "profiles": self._analyzer(found, "profiles", query),
            "system": self._system(found, query),
        }

    def _analyzer(self, found: _Aggregated, kind: Kind, query: AnalyzerQuery) -> pa.Table:
        return dfanalyzer_table(
            self._store,
            found.records,
            found.tier,
            kind,
            query=query.query,
            group_by=query.group_by,
            time_granularity=query.time_granularity,
            time_resolution=query.time_resolution,
            io_cat_table=query.io_cat_table,
        )

    def _system(self, found: _Aggregated, query: AnalyzerQuery) -> pa.Table:
        records, tier = found
        clock = clock_of(origin_of(records), query.time_granularity, query.time_resolution)
        hashes = hash_tables(self._store, records)
        everything = system_metrics_table(self._store, records, tier, hashes, clock)
        if not everything.num_rows or not (query.query or query.group_by):
            return everything
        return system_metrics_table(
            self._store,
            records,
            tier,
            hashes,
            clock,
            query=query.query,
            group_by=query.group_by,
        )

    def _aggregated(self, wanted: AggregationTier | None) -> _Aggregated:
        """Return the sets with the *wanted* aggregation, or with the one that :meth:`_any_tier`
        chooses; warn of traces that have none of it."""
        tier = wanted or self._any_tier()
        found = {
            path: best(sets, lambda tiers: tiers.aggregation == tier)
            for path, sets in self.sets.items()
        }
        records = [one for one in found.values() if one is not None and not one.quarantined]
        if tier is None or not records:
            raise DFTUtilsAggregationError(
                "No aggregation config found - was aggregation enabled? "
                "(ensure_indexed() with require_aggregation builds it)"
            )
        there = {record.path for record in records}
        absent = [path for path in sorted(self.selection.stamps) if path not in there]
        if absent:
            self._warn(absent, "are not in the answer")
        return _Aggregated(records, tier)

    def _any_tier(self) -> AggregationTier | None:
        """Return the default configuration if a trace has it, else the one built last."""
        held = [one for sets in self.sets.values() for one in sets if one.tiers.aggregation]
        default = AggregationTier()
        if any(one.tiers.aggregation == default for one in held):
            return default
        newest = max(held, key=lambda one: one.generation, default=None)
        return newest.tiers.aggregation if newest is not None else None


@contextmanager
def open_index(selection: Selection, store_path: str) -> Iterator[OpenIndex | None]:
    """Open the store at *store_path* for as long as the context lasts; ``None`` if there is none.

    :raises DFTUtilsIndexerError: somebody else has it open, or it is damaged.
    """
    if not os.path.exists(os.path.join(store_path, IDENTITY_FILE)):
        yield None
        return
    with translated_errors():
        writer = StoreWriter(
            store_path,
            root=os.fsdecode(selection.root),
            owner=f"an embedded reader, pid {os.getpid()}",
        )
        try:
            yield OpenIndex(selection, writer.rocks, writer.registry.sets)
        finally:
            writer.close()
