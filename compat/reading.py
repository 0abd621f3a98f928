"""Reading the index of some traces. The store is open only while an :class:`OpenIndex` lasts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from dftindexd.compat.config import IndexStatus
from dftindexd.compat.errors import DFTUtilsAggregationError
from dftindexd.compat.selection import Selection
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import AggregationTier, TierConfig, TraceRecord
from dftindexd.index.query.aggregation import dfanalyzer_table, read_aggregation
from dftindexd.index.query.answers import clock_of
from dftindexd.index.query.hash_names import HashKind, hash_tables
from dftindexd.index.query.rows import Kind
from dftindexd.index.query.source import origin_of, segment_rows
from dftindexd.index.query.system_metrics import system_metrics_table
from dftindexd.index.store.identity import IDENTITY_FILE
from dftindexd.index.store.layout import MANIFEST
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import StoreWriter
from dftindexd.index.tiers.manifest import decode_manifest

__all__ = ("AnalyzerQuery", "OpenIndex", "holds_tiers", "open_index", "status_of")


@dataclass(frozen=True, slots=True)
class AnalyzerQuery:
    """What a table for the analyzer is asked with."""

    time_granularity: float = 1.0
    time_resolution: float = 1e6
    query: str | None = None
    group_by: Sequence[str] | None = None


class OpenIndex:
    """The records of the selected traces and the store's rows; ``missing`` have no record."""

    def __init__(
        self, selection: Selection, store: RocksStore, traces: Mapping[bytes, TraceRecord]
    ) -> None:
        self.selection = selection
        self.records = [traces[path] for path in sorted(selection.stamps) if path in traces]
        self.missing = [path for path in sorted(selection.stamps) if path not in traces]
        self._store = store

    def is_current(self, record: TraceRecord) -> bool:
        """Return whether *record* shows the trace as it is on disk."""
        return not record.quarantined and record.stamp == self.selection.stamps[record.path]

    def names(self, kind: HashKind) -> dict[str, str]:
        """Return hash to name; a hash that traces name differently has the name ""."""
        table: dict[str, str] = getattr(hash_tables(self._store, self.records).merged, kind)
        return table

    def paths(self) -> dict[int, str]:
        """Return the path of each trace by its file id."""
        return {record.file_id: self.selection.shown(record.path) for record in self.records}

    def pids(self) -> dict[int, set[int]]:
        """Return the processes whose records each trace holds, by its file id."""
        rows = segment_rows(self._store, MANIFEST, self.records)
        return {
            record.file_id: {
                pid for value in values for chunk in decode_manifest(value) for pid in chunk.pids
            }
            for record, values in zip(self.records, rows, strict=True)
        }

    def aggregation(self, wanted: Sequence[TierConfig], kind: Kind) -> pa.Table:
        """Return the rows of one kind, as they are stored."""
        return read_aggregation(self._store, self.records, self._tier(wanted), kind)

    def analyzer(self, wanted: Sequence[TierConfig], kind: Kind, query: AnalyzerQuery) -> pa.Table:
        """Return the analyzer's table of one kind."""
        return self._analyzer(self._tier(wanted), kind, query)

    def analyzer_all(
        self, wanted: Sequence[TierConfig], query: AnalyzerQuery
    ) -> dict[str, pa.Table]:
        """Return the analyzer's tables; ``system`` has the metrics' means, not what is derived."""
        tier = self._tier(wanted)
        return {
            "events": self._analyzer(tier, "events", query),
            "profiles": self._analyzer(tier, "profiles", query),
            "system": self._system(tier, query),
        }

    def _analyzer(self, tier: AggregationTier, kind: Kind, query: AnalyzerQuery) -> pa.Table:
        return dfanalyzer_table(
            self._store,
            self.records,
            tier,
            kind,
            query=query.query,
            group_by=query.group_by,
            time_granularity=query.time_granularity,
            time_resolution=query.time_resolution,
        )

    def _system(self, tier: AggregationTier, query: AnalyzerQuery) -> pa.Table:
        clock = clock_of(origin_of(self.records), query.time_granularity, query.time_resolution)
        hashes = hash_tables(self._store, self.records)
        everything = system_metrics_table(self._store, self.records, tier, hashes, clock)
        if not everything.num_rows or not (query.query or query.group_by):
            return everything
        return system_metrics_table(
            self._store,
            self.records,
            tier,
            hashes,
            clock,
            query=query.query,
            group_by=query.group_by,
        )

    def _tier(self, wanted: Sequence[TierConfig]) -> AggregationTier:
        """Return the first of the *wanted* aggregation tiers that all records have."""
        built = [record for record in self.records if not record.quarantined]
        for tiers in wanted:
            digest = tiers.digest()
            if tiers.aggregation is None or not built:
                continue
            if all(record.tiers == digest for record in built):
                self._warn_of_missing()
                return tiers.aggregation
        raise DFTUtilsAggregationError(
            "No aggregation config found - was aggregation enabled? "
            "(ensure_indexed() with require_aggregation builds it)"
        )

    def _warn_of_missing(self) -> None:
        absent = [*self.missing, *(r.path for r in self.records if r.quarantined)]
        if absent:
            warnings.warn(
                f"{len(absent)} of {len(self.selection.stamps)} traces are not in the answer, "
                f"such as {self.selection.shown(absent[0])}; resolve() lists them",
                RuntimeWarning,
                stacklevel=5,
            )


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
            yield OpenIndex(selection, writer.rocks, writer.registry.traces)
        finally:
            writer.close()


def holds_tiers(selection: Selection, store_path: str, tiers: TierConfig) -> bool:
    """Return whether the store at *store_path* holds a selected trace with these *tiers*."""
    digest = tiers.digest()
    with open_index(selection, store_path) as index:
        return index is not None and any(record.tiers == digest for record in index.records)


def status_of(selection: Selection, store_path: str, tiers: TierConfig | None) -> IndexStatus:
    """Return which traces the store at *store_path* holds as they are on disk.

    :param tiers: the configuration that they must have, ``None`` for any.
    """
    digest = tiers.digest() if tiers is not None else None
    with open_index(selection, store_path) as index:
        current = {
            record.path
            for record in (index.records if index is not None else ())
            if index is not None and index.is_current(record) and digest in (None, record.tiers)
        }
    names = sorted(selection.stamps)
    return IndexStatus(
        total_files=len(names),
        ready=[selection.shown(name) for name in names if name in current],
        needs_work=[selection.shown(name) for name in names if name not in current],
        index_path=store_path if names else "",
        aggregation_interval_us=(
            tiers.aggregation.interval_us if tiers is not None and tiers.aggregation else 0
        ),
    )
