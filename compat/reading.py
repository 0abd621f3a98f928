"""Reading the index of some traces, wherever it lies. It is open only while an :class:`OpenIndex`
lasts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import pyarrow as pa

from dftindexd.compat.errors import DFTUtilsAggregationError, DFTUtilsIndexerError
from dftindexd.compat.selection import Selection
from dftindexd.compat.status import current_sets
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import AggregationTier
from dftindexd.index.query.aggregation import read_aggregation
from dftindexd.index.query.event_plan import EventQuery, TracePlan
from dftindexd.index.query.hash_names import HashKind
from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.query.rows import Kind
from dftindexd.index.query.selected import (
    AnalyzerQuery,
    Part,
    aggregated,
    analyzer_part,
    chunks_of,
    names_of,
    pids_of,
    plans_of,
    with_manifest,
)
from dftindexd.index.query.trace_statistics import TraceStatistics, statistics_of
from dftindexd.index.store.identity import IDENTITY_FILE
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import StoreWriter
from dftindexd.index.tier_sets import Sets
from dftindexd.index.tiers.checkpoints import Checkpoint

__all__ = ("IndexRows", "LocalRows", "OpenIndex", "Wanted", "open_index")

_NO_AGGREGATION = (
    "No aggregation config found - was aggregation enabled? "
    "(ensure_indexed() with require_aggregation builds it)"
)


class Wanted(NamedTuple):
    """Lines that are asked for: those with an event that *query* keeps, within ranges as those of
    :class:`~dftindexd.index.query.event_plan.EventQuery`."""

    query: str = ""
    lines: tuple[int, int] | None = None
    text_range: tuple[int, int] | None = None

    def parsed(self) -> EventQuery:
        """Return it parsed; a text that is no filter is a QueryError."""
        return EventQuery(self.query, lines=self.lines, text_range=self.text_range)


class IndexRows(Protocol):
    """The rows of an index: those of a store that is open here, or a daemon's. *sets* are those of
    the traces that the answer is of, by their paths."""

    def names(self, sets: Mapping[bytes, Sets], kind: HashKind) -> dict[str, str]:
        """Return hash to name."""
        ...

    def pids(self, sets: Mapping[bytes, Sets]) -> dict[bytes, set[int]]:
        """Return the processes of each trace, all of which have a manifest."""
        ...

    def chunks(self, path: bytes, sets: Sets, chunk_bytes: int) -> list[Checkpoint]:
        """Return the chunks of this size of one trace."""
        ...

    def stored(
        self, sets: Mapping[bytes, Sets], tier: AggregationTier, kinds: Sequence[Kind]
    ) -> list[pa.Table]:
        """Return the rows of each kind, as they are stored."""
        ...

    def analyzer(
        self,
        sets: Mapping[bytes, Sets],
        tier: AggregationTier,
        parts: Sequence[Part],
        query: AnalyzerQuery,
    ) -> list[pa.Table]:
        """Return these parts of the analyzer's tables, all of one generation."""
        ...

    def plans(self, sets: Mapping[bytes, Sets], wanted: Wanted) -> dict[bytes, TracePlan]:
        """Return what has to be read of each trace that can be read."""
        ...

    def statistics(self, path: bytes, sets: Sets) -> TraceStatistics | None:
        """Return the statistics of one trace, ``None`` where it has no manifest."""
        ...


class LocalRows:
    """The rows of a store that this process has open."""

    def __init__(self, store: RocksStore) -> None:
        self.store = store

    def names(self, sets: Mapping[bytes, Sets], kind: HashKind) -> dict[str, str]:
        """See :class:`IndexRows`."""
        return names_of(self.store, sets.values(), kind)

    def pids(self, sets: Mapping[bytes, Sets]) -> dict[bytes, set[int]]:
        """See :class:`IndexRows`."""
        found = ((path, with_manifest(one)) for path, one in sets.items())
        records = {path: record for path, record in found if record is not None}
        return dict(zip(records, pids_of(self.store, list(records.values())), strict=True))

    def chunks(self, path: bytes, sets: Sets, chunk_bytes: int) -> list[Checkpoint]:
        """See :class:`IndexRows`."""
        return chunks_of(self.store, sets, chunk_bytes)

    def stored(
        self, sets: Mapping[bytes, Sets], tier: AggregationTier, kinds: Sequence[Kind]
    ) -> list[pa.Table]:
        """See :class:`IndexRows`."""
        records = aggregated(sets.values(), tier)
        return [read_aggregation(self.store, records, tier, kind) for kind in kinds]

    def analyzer(
        self,
        sets: Mapping[bytes, Sets],
        tier: AggregationTier,
        parts: Sequence[Part],
        query: AnalyzerQuery,
    ) -> list[pa.Table]:
        """See :class:`IndexRows`."""
        prepared = PreparedRows(aggregated(sets.values(), tier), tier)
        return [analyzer_part(self.store, prepared, part, query) for part in parts]

    def plans(self, sets: Mapping[bytes, Sets], wanted: Wanted) -> dict[bytes, TracePlan]:
        """See :class:`IndexRows`."""
        return plans_of(self.store, sets, wanted.parsed())

    def statistics(self, path: bytes, sets: Sets) -> TraceStatistics | None:
        """See :class:`IndexRows`."""
        record = with_manifest(sets)
        return None if record is None else statistics_of(self.store, record)


class OpenIndex:
    """The sets of the selected traces, and their rows; ``missing`` traces have no set.

    ``path`` is the store; *sets* are those of all its traces.
    """

    def __init__(
        self, selection: Selection, path: str, sets: Mapping[bytes, Sets], rows: IndexRows
    ) -> None:
        self.selection = selection
        self.path = path
        self.sets = {path: sets[path] for path in sorted(selection.stamps) if path in sets}
        self.missing = [path for path in sorted(selection.stamps) if path not in sets]
        self.rows = rows

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
        return self.rows.names(self.sets, kind)

    def paths(self) -> dict[int, str]:
        """Return the path of each trace by its file id."""
        return {sets[0].file_id: self.selection.shown(path) for path, sets in self.sets.items()}

    def pids(self) -> dict[int, set[int]]:
        """Return the processes whose records each trace holds, by its file id.

        :raises DFTUtilsIndexerError: a trace has no manifest.
        """
        for path, sets in self.sets.items():
            if with_manifest(sets) is None:
                raise DFTUtilsIndexerError(
                    f"{self.selection.shown(path)} has no manifest "
                    "(ensure_indexed() with require_manifest builds it)"
                )
        pids = self.rows.pids(self.sets)
        return {self.sets[path][0].file_id: found for path, found in pids.items()}

    def checkpoints(self, path: bytes, chunk_bytes: int) -> list[Checkpoint]:
        """Return the chunks of this size of the trace at *path*, none where it has no such set."""
        sets = self.sets.get(path, ())
        return self.rows.chunks(path, sets, chunk_bytes) if sets else []

    def aggregation(self, wanted: AggregationTier | None, kind: Kind) -> pa.Table:
        """Return the rows of one kind, as they are stored."""
        (table,) = self.rows.stored(self.sets, self._tier(wanted), [kind])
        return table

    def analyzer(
        self, wanted: AggregationTier | None, parts: Sequence[Part], query: AnalyzerQuery
    ) -> list[pa.Table]:
        """Return parts of the analyzer's tables."""
        return self.rows.analyzer(self.sets, self._tier(wanted), parts, query)

    def _tier(self, wanted: AggregationTier | None) -> AggregationTier:
        """Return the *wanted* aggregation, else the one that :meth:`_any_tier` chooses; warn of
        traces that have none of it."""
        tier = wanted or self._any_tier()
        if tier is None:
            raise DFTUtilsAggregationError(_NO_AGGREGATION)
        there = {record.path for record in aggregated(self.sets.values(), tier)}
        if not there:
            raise DFTUtilsAggregationError(_NO_AGGREGATION)
        absent = [path for path in sorted(self.selection.stamps) if path not in there]
        if absent:
            self._warn(absent, "are not in the answer")
        return tier

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
            yield OpenIndex(selection, store_path, writer.registry.sets, LocalRows(writer.rocks))
        finally:
            writer.close()
