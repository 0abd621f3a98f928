"""Answers from the aggregation tier, with the rows of the last directories kept between them."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.answer import ArrowAnswer
from dftindexd.daemon.tables import damage_of, display
from dftindexd.index.errors import CoreError
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.query.aggregation import dfanalyzer_table
from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.store.registry import Registry, sets_below
from dftindexd.index.tier_sets import Sets, giving, only, shown
from dftindexd.protocol.requests import AggregationRequest, AnswerHead

__all__ = ("CACHE_BYTES", "AggregationAnswers", "trace_warnings")

#: How much memory the rows that are kept between answers may take.
CACHE_BYTES: Final = 256 << 20
#: More warnings than these help nobody.
_MOST_WARNINGS: Final = 10

_Key: TypeAlias = tuple[bytes, bytes, bool]


class _Kept(NamedTuple):
    generation: int
    rows: PreparedRows
    warnings: tuple[str, ...]


class AggregationAnswers:
    """Answers aggregation requests. Merged rows are kept until their store's next generation, the
    least recently used going first."""

    def __init__(self, engine: Engine, cache_bytes: int = CACHE_BYTES) -> None:
        self._engine = engine
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    async def answer(self, root: Root, below: bytes, request: AggregationRequest) -> ArrowAnswer:
        """Answer for the traces at or below the absolute path *below*.

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

        def read(view: StoreView) -> tuple[pa.Table, _Kept]:
            kept = self._kept.get(key)
            if kept is None or kept.generation != view.registry.generation:
                kept = _select(root, view.registry, key)
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
            return table, kept

        generation, (table, kept) = await self._engine.answer(root, below, read)
        self._keep(key, kept)
        return ArrowAnswer(AnswerHead(generation=generation, warnings=kept.warnings), table)

    def _keep(self, key: _Key, kept: _Kept) -> None:
        current = self._kept.get(key)
        if current is None or current.generation <= kept.generation:
            self._kept[key] = kept
        self._kept.move_to_end(key)
        sizes = {each: entry.rows.nbytes for each, entry in self._kept.items()}
        excess = sum(sizes.values()) - self._cache_bytes
        while excess > 0:
            oldest, _ = self._kept.popitem(last=False)
            excess -= sizes[oldest]


def _select(root: Root, registry: Registry, key: _Key) -> _Kept:
    """Choose the traces of an answer, each in the set that has the tier; those left out are named
    in its warnings."""
    tier = root.options.tiers.aggregation
    if tier is None:
        raise AssertionError("checked by the caller")
    wanted = only(root.options.tiers, aggregation=True)
    _, relative, finished_only = key
    below = [(sets, giving(sets, wanted)) for sets in sets_below(registry, relative)]
    records = [one for _, one in below if one is not None and (one.ending or not finished_only)]
    warnings = trace_warnings(root, below, wanted)
    return _Kept(registry.generation, PreparedRows(records, tier), warnings)


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
