"""Answers from the aggregation tier."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, TypeAlias

import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.answer import ArrowAnswer
from dftindexd.daemon.row_cache import KeptRows, RowCache
from dftindexd.daemon.sight import Sight
from dftindexd.daemon.tables import damage_of, display
from dftindexd.index.errors import CoreError
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.query.aggregation import dfanalyzer_table
from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.store.registry import Registry, sets_below
from dftindexd.index.tier_sets import Sets, giving, only, shown
from dftindexd.protocol.requests import AggregationRequest, AnswerHead

__all__ = ("AggregationAnswers", "RowsKey", "select_rows", "trace_warnings")

#: More warnings than these help nobody.
_MOST_WARNINGS: Final = 10

#: A root, a path below it, and whether growing traces are left out.
RowsKey: TypeAlias = tuple[bytes, bytes, bool]


class AggregationAnswers:
    """Answers aggregation requests."""

    def __init__(self, engine: Engine, cache: RowCache) -> None:
        self._engine = engine
        self._cache = cache

    async def answer(
        self, root: Root, below: bytes, request: AggregationRequest, sight: Sight
    ) -> ArrowAnswer:
        """Answer for the traces at or below the absolute path *below* that *sight* shows.

        :raises CoreError: the root has no aggregation tier.
        :raises QueryError: the filter or the grouping does not parse or names unknown columns.
        """
        tier = root.options.tiers.aggregation
        if tier is None:
            raise CoreError(
                f"the root {display(root.path)} has no aggregation tier",
                "index it with dftindexd index --aggregation, or watch it with that tier",
            )
        key = (root.path, root.relative(below), request.finished_only)

        def read(view: StoreView) -> tuple[pa.Table, KeptRows, bool]:
            shown = sight.registry(root, below, view.registry)
            # What is kept is of all traces, so that whoever sees less gets it chosen anew.
            is_whole = shown is view.registry
            kept = self._cache.find(key, view.registry.generation) if is_whole else None
            if kept is None:
                kept = select_rows(root, shown, key)
            damaged = root.handle.damage.of(kept.rows.records)
            if damaged is not None:
                raise damaged
            table = dfanalyzer_table(
                view.rows,
                kept.rows.records,
                tier,
                request.kind,
                query=request.query,
                group_by=request.group_by,
                time_granularity=request.time_granularity,
                time_resolution=request.time_resolution,
                prepared=kept.rows,
            )
            return table, kept, is_whole

        generation, (table, kept, is_whole) = await self._engine.answer(root, below, read)
        if is_whole:
            self._cache.keep(key, kept)
        return ArrowAnswer(AnswerHead(generation=generation, warnings=kept.warnings), table)


def select_rows(root: Root, registry: Registry, key: RowsKey) -> KeptRows:
    """Choose the traces of an answer, each in the set that has the tier, which the root has; those
    left out are named in its warnings."""
    tier = root.options.tiers.aggregation
    if tier is None:
        raise AssertionError("checked by the caller")
    wanted = only(root.options.tiers, aggregation=True)
    _, relative, finished_only = key
    below = [(sets, giving(sets, wanted)) for sets in sets_below(registry, relative)]
    records = [one for _, one in below if one is not None and (one.ending or not finished_only)]
    warnings = trace_warnings(root, below, wanted)
    return KeptRows(registry.generation, PreparedRows(records, tier), warnings)


def trace_warnings(
    root: Root, below: Iterable[tuple[Sets, TraceRecord | None]], wanted: TierConfig
) -> tuple[str, ...]:
    """Return what an answer lacks, given the sets of each trace and the one that answers: the first
    few traces by name."""
    every = list(filter(None, (_warning(root, sets, one, wanted) for sets, one in below)))
    more = len(every) - _MOST_WARNINGS
    return (*every[:_MOST_WARNINGS], *([f"and {more} more traces; list names all"] * (more > 0)))


def _warning(root: Root, sets: Sets, record: TraceRecord | None, wanted: TierConfig) -> str:
    told = record or shown(sets, wanted)
    path = display(os.path.join(root.path, told.path))
    if told.quarantined:
        return f"{path} is quarantined: {told.quarantined}"
    if record is None:
        return f"{path} is not in the answer: its tiers are being rebuilt"
    damage = damage_of(record)
    return f"{path} is damaged: {damage}" if damage else ""
