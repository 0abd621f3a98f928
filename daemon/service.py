"""What each request does: the daemon's side of the protocol, over the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, assert_never

import msgspec
import pyarrow as pa

from dftindexd import __version__
from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store import StoreView
from dftindexd.actors.supervisor import Health
from dftindexd.daemon.peer import Peer
from dftindexd.daemon.server import ArrowAnswer
from dftindexd.daemon.tables import LIST_SCHEMA, display, list_table, root_status
from dftindexd.index.errors import CoreError
from dftindexd.index.model import TraceRecord
from dftindexd.index.query.aggregation import dfanalyzer_table
from dftindexd.index.store.registry import traces_below
from dftindexd.protocol.errors import InvalidArgumentError, NotFoundError
from dftindexd.protocol.requests import (
    AggregationRequest,
    AnswerHead,
    AnyRequest,
    Hello,
    IndexRequest,
    IndexResult,
    ListRequest,
    Ping,
    PingResult,
    StatusRequest,
    StatusResult,
    StopRequest,
    StopResult,
    SyncRequest,
    SyncResult,
    TraceProblem,
    UnwatchRequest,
    UnwatchResult,
    WaitRequest,
    WaitResult,
    WatchRequest,
    WatchResult,
)

__all__ = ("DaemonService", "request_path")


def request_path(text: str) -> bytes:
    """Return the real path that a request names.

    :raises InvalidArgumentError: it is not absolute.
    """
    if not os.path.isabs(text) or "\0" in text:
        raise InvalidArgumentError(f"not an absolute path: {text!r}", "give the whole path")
    return os.path.realpath(os.fsencode(text))


class DaemonService:
    """Answers requests from an engine; *stop* ends the daemon."""

    def __init__(self, engine: Engine, socket: str, stop: Callable[[], None]) -> None:
        self._engine = engine
        self._socket = socket
        self._stop = stop
        self._started = time.monotonic()

    async def handle(  # noqa: C901 - one case a request is the clearest list there is
        self, request: AnyRequest, peer: Peer
    ) -> msgspec.Struct | ArrowAnswer:
        """Answer one request of *peer*."""
        match request:
            case Ping():
                return self._ping()
            case StatusRequest():
                return self._status()
            case WatchRequest():
                return await self._watch(request)
            case UnwatchRequest():
                return await self._unwatch(request)
            case ListRequest():
                return self._list(request)
            case IndexRequest():
                return await self._index(request)
            case WaitRequest():
                generation, problems = await self._attend(request.path, until_finished=True)
                return WaitResult(generation=generation, problems=problems)
            case SyncRequest():
                generation, problems = await self._attend(request.path)
                return SyncResult(generation=generation, problems=problems)
            case AggregationRequest():
                return await self._aggregation(request)
            case StopRequest():
                self._stop()
                return StopResult(pid=os.getpid())
            case Hello():
                raise InvalidArgumentError("hello is only the first message of a connection")
            case _:
                assert_never(request)

    # -- health -------------------------------------------------------------------------------

    def _degraded(self) -> tuple[str, ...]:
        engine = self._engine
        roots = [root_status(root) for root in engine.roots.values()]
        return (
            *(
                f"{status.state}: {status.root}: {status.reason}"
                for status in roots
                if status.reason
            ),
            *(f"failed: {display(path)}: {why}" for path, why in engine.failed_roots.items()),
            *(
                f"{supervisor.health.value}: {supervisor.name}"
                for supervisor in engine.supervisors()
                if supervisor.health in (Health.FAILED, Health.UNHEALTHY)
            ),
        )

    def _ping(self) -> PingResult:
        return PingResult(
            pid=os.getpid(),
            version=__version__,
            uptime_seconds=time.monotonic() - self._started,
            ready=True,
            caught_up=all(root.state.idle for root in self._engine.roots.values()),
            degraded=self._degraded(),
        )

    def _status(self) -> StatusResult:
        engine = self._engine
        actors: dict[str, dict[str, Any]] = {
            supervisor.name: supervisor.observe() for supervisor in engine.supervisors()
        }
        return StatusResult(
            pid=os.getpid(),
            version=__version__,
            uptime_seconds=time.monotonic() - self._started,
            state_dir=engine.state_dir.path,
            socket=self._socket,
            workers=engine.pool.size,
            worker_restarts=engine.pool.restarts,
            roots=tuple(root_status(root) for root in engine.roots.values()),
            actors=actors,
            degraded=self._degraded(),
        )

    # -- roots and traces ---------------------------------------------------------------------

    async def _watch(self, request: WatchRequest) -> WatchResult:
        path = request_path(request.path)
        if not os.path.isdir(path):
            raise NotFoundError(f"{request.path} is not a directory", "make it first")
        root, added = await self._engine.watch(path)
        return WatchResult(root=display(root.path), added=added)

    async def _unwatch(self, request: UnwatchRequest) -> UnwatchResult:
        root = await self._engine.unwatch(request_path(request.path), purge=request.purge)
        return UnwatchResult(root=display(root.path), purged=request.purge)

    def _list(self, request: ListRequest) -> ArrowAnswer:
        if request.path is not None:
            path = request_path(request.path)
            root = self._engine.root_of(path)
            return ArrowAnswer(_head(root.handle.registry.generation), list_table(root, path))
        roots = list(self._engine.roots.values())
        tables = [list_table(root, root.path) for root in roots]
        newest = max((root.handle.registry.generation for root in roots), default=0)
        return ArrowAnswer(
            _head(newest), pa.concat_tables(tables) if tables else LIST_SCHEMA.empty_table()
        )

    async def _index(self, request: IndexRequest) -> IndexResult:
        path = request_path(request.path)
        if not os.path.exists(path):
            raise NotFoundError(f"{request.path} does not exist", "check the path")
        root = self._engine.find_root(path)
        if root is None:
            directory = path if os.path.isdir(path) else os.path.dirname(path)
            root, _ = await self._engine.watch(directory)
        ticket = await root.leave_ticket(path, force=request.force)
        if not request.wait:
            return IndexResult(traces=0, generation=root.handle.registry.generation)
        problems = await ticket.wait()
        return IndexResult(
            traces=ticket.traces,
            generation=root.handle.registry.generation,
            problems=_problems(root, problems),
        )

    async def _attend(
        self, path: str | None, *, until_finished: bool = False
    ) -> tuple[int, tuple[TraceProblem, ...]]:
        if path is not None:
            real = request_path(path)
            targets = [(self._engine.root_of(real), real)]
        else:
            targets = [(root, root.path) for root in self._engine.roots.values()]
        tickets = [
            (root, await root.leave_ticket(real, until_finished=until_finished))
            for root, real in targets
        ]
        generation = 0
        problems: list[TraceProblem] = []
        for root, ticket in tickets:
            problems += _problems(root, await ticket.wait())
            generation = max(generation, root.handle.registry.generation)
        return generation, tuple(problems)

    # -- answers ------------------------------------------------------------------------------

    async def _aggregation(self, request: AggregationRequest) -> ArrowAnswer:
        path = request_path(request.path)
        root = self._engine.root_of(path)
        tier = root.options.tiers.aggregation
        if tier is None:
            raise CoreError(
                f"the root {display(root.path)} has no aggregation tier", "turn it on for this root"
            )
        relative = root.relative(path)
        tiers = root.options.tiers.digest()

        def answer(view: StoreView) -> tuple[pa.Table, tuple[str, ...]]:
            below = traces_below(view.registry.traces, relative)
            warnings = tuple(filter(None, (_warning(record, tiers) for record in below)))
            records = [
                record
                for record in below
                if record.tiers == tiers and (record.ending or not request.finished_only)
            ]
            table = dfanalyzer_table(
                view.rows,
                records,
                tier,
                request.kind,
                query=request.query,
                group_by=request.group_by,
                time_granularity=request.time_granularity,
                time_resolution=request.time_resolution,
            )
            return table, warnings

        generation, (table, warnings) = await self._engine.read(root, answer)
        return ArrowAnswer(_head(generation, warnings), table)


def _head(generation: int, warnings: tuple[str, ...] = ()) -> AnswerHead:
    return AnswerHead(generation=generation, warnings=warnings)


def _warning(record: TraceRecord, tiers: bytes) -> str:
    if record.quarantined:
        return f"{display(record.path)} is quarantined: {record.quarantined}"
    if record.tiers != tiers:
        return f"{display(record.path)} is not in the answer: its tiers are being rebuilt"
    return ""


def _problems(root: Root, problems: dict[bytes, str]) -> tuple[TraceProblem, ...]:
    return tuple(
        TraceProblem(
            path=display(os.path.join(root.path, path)), state="quarantined", reason=reason
        )
        for path, reason in sorted(problems.items())
    )
