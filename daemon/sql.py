"""Answers to SQL statements: run in processes of their own, which ask here for what of stores they
need.

A statement sees one generation of each root. Until its views are made, the segments of that
generation are kept; after that its rows come from files alone. A statement whose client goes away,
or that runs too long, ends with its process.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from functools import partial
from importlib.util import find_spec
from typing import Final, TypeVar

import anyio.to_thread
import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.daemon.answer import ArrowAnswer, BatchStream
from dftindexd.daemon.gate import visible_roots
from dftindexd.daemon.reading import batch_of
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.row_cache import RowCache
from dftindexd.daemon.sight import Sight
from dftindexd.daemon.sql_order import SqlNeed, SqlOrder
from dftindexd.daemon.sql_source import SqlSource
from dftindexd.daemon.sql_workers import SqlRun, SqlWorkers
from dftindexd.index.errors import CoreError, StoreDamagedError
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.requests import AnswerHead, SqlRequest
from dftindexd.protocol.view_requests import SqlProgressRequest, SqlProgressResult

__all__ = ("SqlAnswers",)

T = TypeVar("T")

_MOST_SECONDS: Final = 3600.0
#: A guest's statement takes a place from others no longer.
_MOST_SECONDS_OF_GUESTS: Final = 60.0
_MOST_ROWS: Final = 100_000_000
_LONGEST_TICKET: Final = 64

#: Who has the statement, None for the owner, and what they call it.
_Ticket = tuple[int | None, str]


class SqlAnswers:
    """Answers SQL requests."""

    def __init__(self, engine: Engine, cache: RowCache) -> None:
        self._engine = engine
        self._cache = cache
        self._workers = SqlWorkers()
        self._runs: dict[_Ticket, SqlRun] = {}

    async def close(self) -> None:
        """End the processes that are kept."""
        await self._workers.close()

    def progress(self, request: SqlProgressRequest, sight: Sight) -> SqlProgressResult:
        """Return how far a statement is."""
        run = self._runs.get((sight.uid, request.ticket))
        if run is None or run.made is None:
            return SqlProgressResult()
        return SqlProgressResult(view=run.made.view, chunks=run.made.chunks, of=run.made.of)

    async def answer(self, request: SqlRequest, sight: Sight) -> ArrowAnswer:
        """Make the views that a statement names, of the traces that *sight* shows, and return its
        rows as they are found.

        :raises QueryError: it is not one SELECT, or names what there is not.
        :raises NotWatchedError: no root holds the path, or no process or stream has that id.
        :raises RequestTimeoutError: it runs too long.
        """
        _check(request, sight)
        run = await self._workers.begin(request.seconds, guest=not sight.is_whole)
        ticket: _Ticket = (sight.uid, request.ticket)
        try:
            self._runs[ticket] = run
            async with AsyncExitStack() as stack:
                targets = await self._targets(request, sight)
                chosen = [await self._choose(stack, *target, sight) for target in targets]
                schema = await self._make_views(run, request, chosen)
        except BaseException:
            await run.leave()
            raise
        finally:
            self._runs.pop(ticket, None)
        head = AnswerHead(
            generation=max((one.generation for one in chosen), default=0),
            warnings=tuple(warning for one in chosen for warning in one.warnings),
        )
        batches = _batches(run, schema)
        await anext(batches)
        return ArrowAnswer(head, BatchStream(schema, batches))

    async def _targets(self, request: SqlRequest, sight: Sight) -> list[tuple[Root, bytes]]:
        if request.path is None:
            return [(root, root.path) for root in await visible_roots(self._engine, sight)]
        path = request_path(request.path)
        return [(self._engine.root_of(path), path)]

    async def _choose(
        self, stack: AsyncExitStack, root: Root, below: bytes, sight: Sight
    ) -> SqlSource:
        """Choose the traces of a root; they stay readable as they are until *stack* is left."""
        if root.handle.rebuilding or root.handle.damage.of(root.records(below)) is not None:
            await root.until_whole(below)
        await stack.enter_async_context(root.in_use())
        view = stack.enter_context(root.handle.view())
        inside = self._engine.inside(root) if below == root.path else []
        choose = partial(
            SqlSource, root, below, view, inside=inside, sight=sight.anew(), cache=self._cache
        )
        return await anyio.to_thread.run_sync(choose)

    async def _make_views(
        self, run: SqlRun, request: SqlRequest, chosen: list[SqlSource]
    ) -> pa.Schema:
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
            one = chosen[found.root]
            await run.give(await _noting_damage(one.root, partial(one.give, found)))
        return found


def _check(request: SqlRequest, sight: Sight) -> None:
    most = _MOST_SECONDS if sight.is_whole else _MOST_SECONDS_OF_GUESTS
    if not (math.isfinite(request.seconds) and 0 < request.seconds <= most):
        raise InvalidArgumentError(
            f"seconds is {request.seconds:g}", f"give more than 0 and at most {most:g}"
        )
    if len(request.ticket) > _LONGEST_TICKET:
        raise InvalidArgumentError("the ticket is too long", f"use {_LONGEST_TICKET} characters")
    if not 0 < request.rows <= _MOST_ROWS:
        raise InvalidArgumentError(
            f"rows is {request.rows}", f"give more than 0 and at most {_MOST_ROWS:,}"
        )
    for name, time in (("begin", request.begin), ("end", request.end)):
        if time is not None and not 0 <= time < 2**63:
            raise InvalidArgumentError(f"{name} {time} is no time", "give nanoseconds since 1970")
    if find_spec("datafusion") is None:
        raise CoreError("SQL needs the package datafusion", "pip install 'dftindexd[sql]'")


async def _noting_damage(root: Root, function: Callable[[], T]) -> T:
    """Run *function* in a thread; what it finds damaged is rebuilt for the next answer."""
    try:
        return await anyio.to_thread.run_sync(function)
    except StoreDamagedError as error:
        root.note_damage(error)
        raise


async def _batches(run: SqlRun, schema: pa.Schema) -> AsyncGenerator[pa.RecordBatch, None]:
    try:
        # Closing a generator that has not begun would not end the run.
        yield batch_of(b"", schema)
        while (message := await run.next_batch()) is not None:
            yield batch_of(message, schema)
    finally:
        await run.leave()
