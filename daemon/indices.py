"""Answers about inverted indices: which there are, and what they hold.

An index is derived from the rows of the traces that the answer sees, so that it is of one
generation, and of a guest's own traces only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple

import anyio.to_thread
import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.aggregation import trace_warnings
from dftindexd.daemon.answer import ArrowAnswer
from dftindexd.daemon.gate import visible_roots
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.sight import Sight
from dftindexd.daemon.tables import display, trace_name
from dftindexd.index.errors import QueryError
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.store.registry import sets_below
from dftindexd.index.tier_sets import giving, only
from dftindexd.protocol.inverted_requests import IndicesRequest, Scalar
from dftindexd.protocol.requests import AnswerHead
from dftindexd.views.indices.columns import (
    MOST_ENTRIES,
    IndexColumn,
    Wanted,
    column_of,
    columns_of_tiers,
)
from dftindexd.views.indices.derived import (
    ChunkValues,
    IndexedTraces,
    index_of,
    partitions_of,
)
from dftindexd.views.indices.values import normalize

__all__ = ("IndexColumnAnswers",)

_COLUMNS_SCHEMA: Final = pa.schema(
    [(name, pa.utf8()) for name in ("column", "kind", "type", "about")]
)


class _Target(NamedTuple):
    """A root, the path that is asked about, what other roots answer for, and whether labels are
    absolute."""

    root: Root
    below: bytes
    without: list[bytes]
    absolute: bool


class _Part(NamedTuple):
    generation: int
    values: list[ChunkValues]
    warnings: tuple[str, ...]


class IndexColumnAnswers:
    """Answers requests for indices."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, request: IndicesRequest, sight: Sight) -> ArrowAnswer:
        """Return an index, or which there are, of the traces that *sight* shows.

        :raises QueryError: the column has no index, or a value is none of its type.
        :raises NotWatchedError: no root holds the path.
        """
        targets = await self._targets(request, sight)
        if request.column is None:
            generation = max((one.root.handle.registry.generation for one in targets), default=0)
            table = await anyio.to_thread.run_sync(_columns_table, targets)
            return ArrowAnswer(AnswerHead(generation=generation), table)
        column, targets, lacking = _having(request.column, targets)
        known = None if column.type is None else _normalized(column, column.type, request.values)
        parts: list[_Part] = []
        left = MOST_ENTRIES
        for target in targets:
            part = await self._part(target, request, (column.name, known, left), sight)
            left -= sum(len(values) for _, values in part.values)
            parts.append(part)
        table = await anyio.to_thread.run_sync(_table, column, parts, request.values)
        head = AnswerHead(
            generation=max((part.generation for part in parts), default=0),
            warnings=(*lacking, *(warning for part in parts for warning in part.warnings)),
        )
        return ArrowAnswer(head, table)

    async def _targets(self, request: IndicesRequest, sight: Sight) -> list[_Target]:
        if request.path is not None:
            path = request_path(request.path)
            return [_Target(self._engine.root_of(path), path, [], absolute=False)]
        roots = await visible_roots(self._engine, sight)
        return [
            _Target(root, root.path, self._engine.inside(root), absolute=True) for root in roots
        ]

    async def _part(
        self,
        target: _Target,
        request: IndicesRequest,
        wanted: tuple[str, Collection[Any] | None, int],
        sight: Sight,
    ) -> _Part:
        root, below = target.root, target.below

        def read(view: StoreView) -> tuple[list[ChunkValues], tuple[str, ...]]:
            records, warnings = _choose(target, view, finished_only=request.finished_only)
            damaged = root.handle.damage.of(records)
            if damaged is not None:
                raise damaged
            names = [
                trace_name(root, b"/" if target.absolute else below, one.path) for one in records
            ]
            traces = IndexedTraces(view.rows, records, names)
            return partitions_of(traces, Wanted(*wanted)), warnings

        seen = sight.reading(root, below, read)
        generation, (values, warnings) = await self._engine.answer(root, below, seen)
        return _Part(generation, values, warnings)


def _having(
    name: str, targets: list[_Target]
) -> tuple[IndexColumn, list[_Target], tuple[str, ...]]:
    """Return the column, the targets that have an index of it, and warnings that name the others.

    :raises QueryError: none has.
    """
    having = [
        one
        for one in targets
        if any(column.name == name for column in columns_of_tiers(one.root.options.tiers))
    ]
    first = next(iter(having or targets), None)
    column = column_of(name, TierConfig() if first is None else first.root.options.tiers)
    warnings = (
        f"{display(one.root.path)} is not in the answer: it has no index of {name}"
        for one in targets
        if one not in having
    )
    return column, having, tuple(warnings)


def _choose(
    target: _Target, view: StoreView, *, finished_only: bool
) -> tuple[list[TraceRecord], tuple[str, ...]]:
    """Choose of each trace the set that has all that the root's configuration names; what has none
    yet is named in the warnings."""
    root = target.root
    tiers = only(root.options.tiers, checkpoints=True, bloom=True, manifest=True, postings=True)
    found = [
        (sets, giving(sets, tiers))
        for sets in sets_below(view.registry, root.relative(target.below))
        if not any(sets[0].path.startswith(inner + b"/") for inner in target.without)
    ]
    records = [one for _, one in found if one is not None and (one.ending or not finished_only)]
    return sorted(records, key=lambda one: one.path), trace_warnings(root, found, tiers)


def _columns_table(targets: Iterable[_Target]) -> pa.Table:
    columns: dict[str, IndexColumn] = {}
    for target in targets:
        for column in columns_of_tiers(target.root.options.tiers):
            columns.setdefault(column.name, column)
    rows = [
        {
            "column": column.name,
            "kind": "partition" if column.partition else "secondary",
            "type": "" if column.type is None else str(column.type),
            "about": column.about,
        }
        for column in columns.values()
    ]
    return pa.Table.from_pylist(rows, schema=_COLUMNS_SCHEMA)


def _table(column: IndexColumn, parts: list[_Part], values: tuple[Scalar, ...] | None) -> pa.Table:
    index = index_of(column, (one for part in parts for one in part.values))
    if values is None or index.dtype is None:
        return index.to_table()
    among = _normalized(column, index.dtype, values) or ()
    kept = {value: labels for value in among if (labels := index.query(value))}
    return index.copy(index_dct=kept).to_table()


def _normalized(
    column: IndexColumn, dtype: pa.DataType, values: tuple[Scalar, ...] | None
) -> dict[Any, None] | None:
    """Return *values* in the one form that they have in the column, in their order.

    :raises QueryError: one is no value of the column.
    """
    if values is None:
        return None
    found: dict[Any, None] = {}
    for value in values:
        try:
            found[normalize(dtype, value)] = None
        except (ValueError, OverflowError) as error:
            raise QueryError(
                f"{value!r} is no value of {column.name}", f"its values are of the type {dtype}"
            ) from error
    return found
