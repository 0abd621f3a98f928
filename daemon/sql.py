"""Answers to SQL statements: run in processes of their own, which ask here for what of stores they
need.

A statement sees one generation of each root. Until its views are made, the segments of that
generation are kept; after that its rows come from files alone. A statement whose client goes away,
or that runs too long, ends with its process.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.util import find_spec
from typing import Final, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import msgspec
import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.aggregation import RowsKey, select_rows, trace_warnings
from dftindexd.daemon.answer import ArrowAnswer, BatchStream
from dftindexd.daemon.reading import batch_of
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.row_cache import RowCache
from dftindexd.daemon.sql_order import SqlNeed, SqlOrder, SqlRoot
from dftindexd.daemon.sql_workers import SqlRun, SqlWorkers
from dftindexd.daemon.tables import display, listing
from dftindexd.index.errors import CoreError, StoreDamagedError
from dftindexd.index.model import TraceRecord
from dftindexd.index.query.hash_names import DirectoryHashes, hash_tables
from dftindexd.index.store.registry import Registry, sets_below
from dftindexd.index.tier_sets import best, giving, only
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.requests import AnswerHead, SqlRequest
from dftindexd.views.aggregated import AGGREGATED, aggregated_table
from dftindexd.views.source import Selection, names_of_hashes, segment_chunks, selected

__all__ = ("VIEWS_FOLDER", "SqlAnswers")

T = TypeVar("T")

#: Partitions lie in this folder of their store, and come and go with it.
VIEWS_FOLDER: Final = "views"

_MOST_SECONDS: Final = 3600.0
_MOST_ROWS: Final = 100_000_000

_encode: Final = msgspec.msgpack.Encoder().encode


class _Chosen(NamedTuple):
    """The traces of one root that a statement is about."""

    root: Root
    below: bytes
    view: StoreView
    records: list[TraceRecord]
    warnings: tuple[str, ...]

    def as_order(self) -> SqlRoot:
        name = display(self.root.path)
        return SqlRoot(
            name=name,
            selection=Selection(
                root=self.root.path,
                folder=os.path.join(self.root.store_path, VIEWS_FOLDER),
                whole=self.below == self.root.path,
                traces=tuple(selected(self.records, name)),
            ),
        )


class SqlAnswers:
    """Answers SQL requests."""

    def __init__(self, engine: Engine, cache: RowCache) -> None:
        self._engine = engine
        self._cache = cache
        self._workers = SqlWorkers()

    async def close(self) -> None:
        """End the processes that are kept."""
        await self._workers.close()

    async def answer(self, request: SqlRequest) -> ArrowAnswer:
        """Make the views that a statement names, and return its rows as they are found.

        :raises QueryError: it is not one SELECT, or names what there is not.
        :raises NotWatchedError: no root holds the path, or no process or stream has that id.
        :raises RequestTimeoutError: it runs too long.
        """
        _check(request)
        run = await self._workers.begin(request.seconds)
        try:
            async with AsyncExitStack() as stack:
                chosen = [await self._choose(stack, *target) for target in self._targets(request)]
                schema = await self._make_views(run, request, chosen)
        except BaseException:
            await run.leave()
            raise
        head = AnswerHead(
            generation=max((one.view.registry.generation for one in chosen), default=0),
            warnings=tuple(warning for one in chosen for warning in one.warnings),
        )
        batches = _batches(run, schema)
        await anext(batches)
        return ArrowAnswer(head, BatchStream(schema, batches))

    def _targets(self, request: SqlRequest) -> list[tuple[Root, bytes]]:
        if request.path is None:
            return [(root, root.path) for root in self._engine.roots.values()]
        path = request_path(request.path)
        return [(self._engine.root_of(path), path)]

    async def _choose(self, stack: AsyncExitStack, root: Root, below: bytes) -> _Chosen:
        """Choose the traces of a root; they stay readable as they are until *stack* is left."""
        if root.handle.rebuilding or root.handle.damage.of(root.records(below)) is not None:
            await root.until_whole(below)
        await stack.enter_async_context(root.in_use())
        view = stack.enter_context(root.handle.view())
        without = self._engine.inside(root) if below == root.path else []
        return await anyio.to_thread.run_sync(_chosen, root, below, view, without)

    async def _make_views(
        self, run: SqlRun, request: SqlRequest, chosen: list[_Chosen]
    ) -> pa.Schema:
        hashes: dict[int, DirectoryHashes] = {}

        def give(need: SqlNeed) -> bytes:
            one = chosen[need.root]
            if need.segments is not None:
                return _encode(segment_chunks(one.view.rows, one.records, need.segments))
            if need.hashes is not None:
                if need.root not in hashes:
                    hashes[need.root] = hash_tables(one.view.rows, one.records)
                return _encode(names_of_hashes(hashes[need.root], need.hashes))
            return _ipc(self._table(one, need.table))

        await run.order(
            SqlOrder(
                query=request.query,
                roots=tuple(one.as_order() for one in chosen),
                named=request.path is None,
                begin=request.begin,
                end=request.end,
                rows=request.rows,
            )
        )
        while isinstance(found := await run.next(), SqlNeed):
            root = chosen[found.root].root
            await run.give(await _noting_damage(root, partial(give, found)))
        return found

    def _table(self, chosen: _Chosen, name: str) -> pa.Table:
        root = chosen.root
        if name not in AGGREGATED:
            _, table = listing(root, chosen.below, without=self._engine.inside(root))
            return table()
        if root.options.tiers.aggregation is None:
            raise CoreError(
                f"the root {display(root.path)} has no aggregation tier, which {name} shows",
                "watch it with that tier, or ask for another view",
            )
        key: RowsKey = (root.path, root.relative(chosen.below), False)
        registry = chosen.view.registry
        kept = self._cache.find(key, registry.generation) or select_rows(root, registry, key)
        damaged = root.handle.damage.of(kept.rows.records)
        if damaged is not None:
            raise damaged
        return aggregated_table(chosen.view.rows, kept.rows, name)


def _check(request: SqlRequest) -> None:
    if not (math.isfinite(request.seconds) and 0 < request.seconds <= _MOST_SECONDS):
        raise InvalidArgumentError(
            f"seconds is {request.seconds:g}", f"give more than 0 and at most {_MOST_SECONDS:g}"
        )
    if not 0 < request.rows <= _MOST_ROWS:
        raise InvalidArgumentError(
            f"rows is {request.rows}", f"give more than 0 and at most {_MOST_ROWS:,}"
        )
    for name, time in (("begin", request.begin), ("end", request.end)):
        if time is not None and not 0 <= time < 2**63:
            raise InvalidArgumentError(f"{name} {time} is no time", "give nanoseconds since 1970")
    if find_spec("datafusion") is None:
        raise CoreError("SQL needs the package datafusion", "pip install 'dftindexd[sql]'")


def _chosen(root: Root, below: bytes, view: StoreView, without: list[bytes]) -> _Chosen:
    """Choose the traces at or below *below*, each in the set that knows most of its chunks."""
    tiers = only(root.options.tiers, checkpoints=True, bloom=True, manifest=True)
    registry: Registry = view.registry
    sets = [
        one
        for one in sets_below(registry, root.relative(below))
        if not any(one[0].path.startswith(inner + b"/") for inner in without)
    ]
    found = [(one, giving(one, tiers) or best(one, lambda have: have.checkpoints)) for one in sets]
    records = sorted((one for _, one in found if one is not None), key=lambda one: one.path)
    damaged = root.handle.damage.of(records)
    if damaged is not None:
        raise damaged
    return _Chosen(root, below, view, records, trace_warnings(root, found, tiers))


async def _noting_damage(root: Root, function: Callable[[], T]) -> T:
    """Run *function* in a thread; what it finds damaged is rebuilt for the next answer."""
    try:
        return await anyio.to_thread.run_sync(function)
    except StoreDamagedError as error:
        root.note_damage(error)
        raise


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


async def _batches(run: SqlRun, schema: pa.Schema) -> AsyncGenerator[pa.RecordBatch, None]:
    try:
        # Closing a generator that has not begun would not end the run.
        yield batch_of(b"", schema)
        while (message := await run.next_batch()) is not None:
            yield batch_of(message, schema)
    finally:
        await run.leave()
