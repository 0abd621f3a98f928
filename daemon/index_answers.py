"""Answers to a program that has the index of exactly these traces, as an embedded indexer has."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, assert_never

import msgspec
import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.answer import ArrowAnswer
from dftindexd.daemon.request_path import checked_path
from dftindexd.daemon.row_cache import KeptRows, RowCache
from dftindexd.daemon.segments import segments_table
from dftindexd.daemon.sight import Sight
from dftindexd.index.model import AggregationTier
from dftindexd.index.query.aggregation import read_aggregation
from dftindexd.index.query.event_plan import EventQuery
from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.query.selected import (
    AnalyzerQuery,
    aggregated,
    analyzer_part,
    chunks_of,
    names_of,
    pids_of,
    plans_of,
    with_manifest,
)
from dftindexd.index.query.trace_statistics import statistics_of
from dftindexd.index.store.registry import sets_below
from dftindexd.index.tier_sets import Sets
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.index_requests import (
    IndexBuildRequest,
    IndexBuildResult,
    IndexChunksRequest,
    IndexHead,
    IndexNamesRequest,
    IndexPidsRequest,
    IndexPlansRequest,
    IndexRequests,
    IndexRowsRequest,
    IndexSegmentsRequest,
    IndexSetsRequest,
    IndexStatisticsRequest,
    OfTraces,
)
from dftindexd.protocol.message import AnswerHead

__all__ = ("IndexAnswers",)

T = TypeVar("T")

_SETS_FIELDS: dict[str, pa.DataType] = {
    "name": pa.binary(),
    "file_id": pa.int64(),
    "version": pa.int64(),
    "generation": pa.int64(),
    "ino": pa.uint64(),
    "size": pa.int64(),
    "mtime_ns": pa.int64(),
    "ctime_ns": pa.int64(),
    "tiers": pa.dictionary(pa.int32(), pa.utf8()),
    "quarantined": pa.utf8(),
}
_SETS_SCHEMA = pa.schema(_SETS_FIELDS)
_PIDS_FIELDS: dict[str, pa.DataType] = {"name": pa.binary(), "pids": pa.list_(pa.int64())}
_PIDS_SCHEMA = pa.schema(_PIDS_FIELDS)
_CHUNK_COLUMNS = (
    *("uc_offset", "uc_size", "c_offset", "c_size"),
    *("first_line", "num_lines", "skip", "bits"),
)


class IndexAnswers:
    """Answers from the store of the root that covers the traces' directory."""

    def __init__(self, engine: Engine, cache: RowCache) -> None:
        self._engine = engine
        self._cache = cache

    async def handle(self, request: IndexRequests, sight: Sight) -> IndexBuildResult | ArrowAnswer:
        """Answer one request from what *sight* shows.

        :raises NotWatchedError: no root covers the directory.
        """
        root = self._engine.root_of(checked_path(request.directory))
        match request:
            case IndexBuildRequest():
                return await self._build(root, request)
            case IndexSetsRequest():
                return await self._sets(root, request, sight)
            case IndexRowsRequest():
                return await self._rows(root, request, sight)
            case IndexSegmentsRequest():
                return await self._segments(root, request, sight)
            case IndexNamesRequest():
                return await self._names(root, request, sight)
            case IndexPidsRequest():
                return await self._pids(root, request, sight)
            case IndexChunksRequest():
                return await self._chunks(root, request, sight)
            case IndexPlansRequest():
                return await self._plans(root, request, sight)
            case IndexStatisticsRequest():
                return await self._statistics(root, request, sight)
            case _:
                assert_never(request)

    async def _read(
        self, root: Root, request: OfTraces, sight: Sight, function: Callable[[StoreView], T]
    ) -> tuple[int, T]:
        seen = sight.reading(root, request.directory, function)
        return await self._engine.answer(root, request.directory, seen)

    async def _build(self, root: Root, request: IndexBuildRequest) -> IndexBuildResult:
        directory = request.directory
        names = request.names
        targets = (
            [directory] if names is None else [os.path.join(directory, name) for name in names]
        )
        tickets = [await root.leave_ticket(path, force=request.force) for path in targets]
        for ticket in tickets:
            await ticket.wait()
        return IndexBuildResult(generation=root.handle.registry.generation)

    async def _sets(self, root: Root, request: IndexSetsRequest, sight: Sight) -> ArrowAnswer:
        def read(view: StoreView) -> pa.Table:
            return _sets_table(_sets_of(root, view, request))

        # Damage does not matter here: only records are read.
        seen = sight.reading(root, request.directory, read)
        generation, table = await self._engine.read(root, seen)
        tiers = msgspec.json.encode(root.options.tiers).decode()
        head = IndexHead(generation=generation, store=root.store_path, tiers=tiers)
        return ArrowAnswer(head, table)

    async def _rows(self, root: Root, request: IndexRowsRequest, sight: Sight) -> ArrowAnswer:
        tier = _tier(request.tier)
        if request.stored:
            generation, tables = await self._stored(root, request, tier, sight)
        else:
            generation, tables = await self._analyzer(root, request, tier, sight)
        if not tables:
            raise InvalidArgumentError("no parts are asked for", "name one of them")
        return ArrowAnswer(AnswerHead(generation=generation), *tables)

    async def _stored(
        self, root: Root, request: IndexRowsRequest, tier: AggregationTier, sight: Sight
    ) -> tuple[int, list[pa.Table]]:
        def read(view: StoreView) -> list[pa.Table]:
            records = aggregated(_sets_of(root, view, request).values(), tier)
            return [
                read_aggregation(view.rows, records, tier, part)
                for part in request.parts
                if part != "metrics"
            ]

        return await self._read(root, request, sight, read)

    async def _analyzer(
        self, root: Root, request: IndexRowsRequest, tier: AggregationTier, sight: Sight
    ) -> tuple[int, list[pa.Table]]:
        query = AnalyzerQuery(
            request.time_granularity,
            request.time_resolution,
            request.query,
            request.group_by,
            request.io_cat_table,
        )
        key = (root.path, request.directory, request.names, tier)

        def read(view: StoreView) -> tuple[list[pa.Table], KeptRows, bool]:
            shown = sight.registry(root, request.directory, view.registry)
            is_whole = shown is view.registry
            kept = self._cache.find(key, view.registry.generation) if is_whole else None
            if kept is None:
                seen = msgspec.structs.replace(view, registry=shown)
                records = aggregated(_sets_of(root, seen, request).values(), tier)
                kept = KeptRows(view.registry.generation, PreparedRows(records, tier))
            damaged = root.handle.damage.of(kept.rows.records)
            if damaged is not None:
                raise damaged
            tables = [analyzer_part(view.rows, kept.rows, part, query) for part in request.parts]
            return tables, kept, is_whole

        generation, (tables, kept, is_whole) = await self._engine.answer(
            root, request.directory, read
        )
        if is_whole:
            self._cache.keep(key, kept)
        return generation, tables

    async def _segments(
        self, root: Root, request: IndexSegmentsRequest, sight: Sight
    ) -> ArrowAnswer:
        wanted = root.options.tiers

        def read(view: StoreView) -> pa.Table:
            return segments_table(view.rows, _sets_of(root, view, request), wanted)

        generation, table = await self._read(root, request, sight, read)
        tiers = msgspec.json.encode(wanted).decode()
        return ArrowAnswer(
            IndexHead(generation=generation, store=root.store_path, tiers=tiers), table
        )

    async def _names(self, root: Root, request: IndexNamesRequest, sight: Sight) -> ArrowAnswer:
        def read(view: StoreView) -> dict[str, str]:
            return names_of(view.rows, _sets_of(root, view, request).values(), request.kind)

        generation, names = await self._read(root, request, sight, read)
        columns = {"hash": pa.array(names, pa.utf8()), "name": pa.array(names.values(), pa.utf8())}
        return ArrowAnswer(AnswerHead(generation=generation), pa.table(columns))

    async def _pids(self, root: Root, request: IndexPidsRequest, sight: Sight) -> ArrowAnswer:
        def read(view: StoreView) -> list[dict[str, object]]:
            found = _sets_of(root, view, request)
            records = {name: one for name, sets in found.items() if (one := with_manifest(sets))}
            pids = pids_of(view.rows, list(records.values()))
            return [
                {"name": name, "pids": sorted(of)} for name, of in zip(records, pids, strict=True)
            ]

        generation, rows = await self._read(root, request, sight, read)
        table = pa.Table.from_pylist(rows, schema=_PIDS_SCHEMA)
        return ArrowAnswer(AnswerHead(generation=generation), table)

    async def _chunks(self, root: Root, request: IndexChunksRequest, sight: Sight) -> ArrowAnswer:
        def read(view: StoreView) -> pa.Table:
            chunks = [
                chunk
                for sets in _sets_of(root, view, request).values()
                for chunk in chunks_of(view.rows, sets, request.chunk_bytes)
            ]
            columns = {
                name: pa.array([getattr(chunk, name) for chunk in chunks], pa.int64())
                for name in _CHUNK_COLUMNS
            }
            return pa.table(columns)

        generation, table = await self._read(root, request, sight, read)
        return ArrowAnswer(AnswerHead(generation=generation), table)

    async def _plans(self, root: Root, request: IndexPlansRequest, sight: Sight) -> ArrowAnswer:
        query = EventQuery(request.query, lines=request.lines, text_range=request.bytes)

        def read(view: StoreView) -> dict[bytes, bytes]:
            plans = plans_of(view.rows, _sets_of(root, view, request), query)
            return {name: msgspec.msgpack.encode(plan) for name, plan in plans.items()}

        generation, plans = await self._read(root, request, sight, read)
        return _packed(generation, "plan", plans)

    async def _statistics(
        self, root: Root, request: IndexStatisticsRequest, sight: Sight
    ) -> ArrowAnswer:
        def read(view: StoreView) -> dict[bytes, bytes]:
            found = {
                name: record
                for name, sets in _sets_of(root, view, request).items()
                if (record := with_manifest(sets)) is not None
            }
            return {
                name: msgspec.msgpack.encode(statistics_of(view.rows, record))
                for name, record in found.items()
            }

        generation, statistics = await self._read(root, request, sight, read)
        return _packed(generation, "statistics", statistics)


def _packed(generation: int, column: str, values: dict[bytes, bytes]) -> ArrowAnswer:
    columns = {
        "name": pa.array(list(values), pa.binary()),
        column: pa.array(list(values.values()), pa.large_binary()),
    }
    return ArrowAnswer(AnswerHead(generation=generation), pa.table(columns))


def _tier(text: str) -> AggregationTier:
    try:
        return msgspec.json.decode(text, type=AggregationTier)
    except msgspec.MsgspecError as error:
        raise InvalidArgumentError(
            f"no configuration of an aggregation: {error}", "give it as JSON"
        ) from error


def _sets_of(root: Root, view: StoreView, request: OfTraces) -> dict[bytes, Sets]:
    """Return the sets of each trace by its name in the directory, in the order of the names."""
    below = root.relative(request.directory)
    if request.names is None:
        found = sets_below(view.registry, below, recursive=False)
        named = {os.path.basename(sets[0].path): sets for sets in found}
    else:
        held = view.registry.sets
        paths = ((name, os.path.join(below, name)) for name in request.names)
        named = {name: held[path] for name, path in paths if path in held}
    return dict(sorted(named.items()))


def _sets_table(named: dict[bytes, Sets]) -> pa.Table:
    texts: dict[object, str] = {}
    rows = []
    for name, sets in named.items():
        for one in sets:
            if one.tiers not in texts:
                texts[one.tiers] = msgspec.json.encode(one.tiers).decode()
            rows.append(
                {
                    "name": name,
                    "file_id": one.file_id,
                    "version": one.version,
                    "generation": one.generation,
                    "size": one.stamp.size,
                    "mtime_ns": one.stamp.mtime_ns,
                    "ctime_ns": one.stamp.ctime_ns,
                    "ino": one.stamp.ino,
                    "tiers": texts[one.tiers],
                    "quarantined": one.quarantined,
                }
            )
    return pa.Table.from_pylist(rows, schema=_SETS_SCHEMA)
