"""What each request does: the daemon's side of the protocol, over the engine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, assert_never

import anyio.to_thread
import msgspec

from dftindexd import __version__
from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.state_dir import WatchSettings
from dftindexd.actors.supervisor import Health
from dftindexd.daemon.aggregation import AggregationAnswers
from dftindexd.daemon.callers import Admission
from dftindexd.daemon.cluster_answers import ClusterAnswers
from dftindexd.daemon.debug_dump import debug_dump
from dftindexd.daemon.gate import WAITING, Gate, visible_roots
from dftindexd.daemon.guest_status import guest_reason, guest_status
from dftindexd.daemon.index_answers import IndexAnswers
from dftindexd.daemon.indices import IndexColumnAnswers
from dftindexd.daemon.list_answers import list_answer
from dftindexd.daemon.loop_lag import LoopLag
from dftindexd.daemon.maintenance import Maintenance
from dftindexd.daemon.metrics import Metrics
from dftindexd.daemon.peer import Peer
from dftindexd.daemon.reading import EventAnswers
from dftindexd.daemon.reload import Configuration
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.row_cache import RowCache
from dftindexd.daemon.server import ArrowAnswer
from dftindexd.daemon.sight import Sight
from dftindexd.daemon.sql import SqlAnswers
from dftindexd.daemon.status_line import status_line
from dftindexd.daemon.tables import (
    directory_of,
    display,
    root_reason,
    root_state,
    root_status,
    trace_problems,
)
from dftindexd.daemon.tail import tail
from dftindexd.daemon.time_limit import REQUEST_SECONDS, within
from dftindexd.daemon.view_answers import ViewAnswers
from dftindexd.index.model import TierConfig
from dftindexd.index.store.registry import records_below
from dftindexd.index.trace_rules import TraceRules
from dftindexd.protocol.cluster_requests import ClusterRequests
from dftindexd.protocol.codec import request_tag
from dftindexd.protocol.errors import InvalidArgumentError, NotFoundError
from dftindexd.protocol.index_requests import IndexRequests
from dftindexd.protocol.inverted_requests import IndicesRequest, PartitionsRequest
from dftindexd.protocol.operation_requests import (
    DebugDumpRequest,
    MetricsRequest,
    MetricsResult,
)
from dftindexd.protocol.requests import (
    AggregationRequest,
    AnswerHead,
    AnyRequest,
    ExplainRequest,
    Hello,
    IndexRequest,
    IndexResult,
    ListRequest,
    Ping,
    PingResult,
    ReadRequest,
    RootStatus,
    SqlRequest,
    StatusRequest,
    StatusResult,
    StopRequest,
    StopResult,
    SyncRequest,
    SyncResult,
    TailRequest,
    TraceProblem,
    UnwatchRequest,
    UnwatchResult,
    WaitRequest,
    WaitResult,
    WatchRequest,
    WatchResult,
)
from dftindexd.protocol.upkeep_requests import (
    BackupRequest,
    CompactRequest,
    RebuildRequest,
    VerifyRequest,
)
from dftindexd.protocol.view_requests import SqlProgressRequest, ViewsDropRequest, ViewsRequest

__all__ = ("DaemonService",)


class DaemonService:
    """Answers requests from an engine; *stop* ends the daemon, *lag* measures its event loop,
    *admission* says who is a guest, *configuration* what of it is in force; an answer takes at most
    *request_seconds*."""

    def __init__(
        self,
        engine: Engine,
        socket: str,
        stop: Callable[[], None],
        lag: LoopLag,
        *,
        admission: Admission,
        configuration: Configuration,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._engine = engine
        self._socket = socket
        self._stop = stop
        self._lag = lag
        self._configuration = configuration
        self._request_seconds = request_seconds
        self._started = time.monotonic()
        cache = RowCache()
        self._aggregations = AggregationAnswers(engine, cache)
        self._indexes = IndexAnswers(engine, cache)
        self._clusters = ClusterAnswers(engine)
        self._events = EventAnswers(engine, request_seconds)
        self._sql = SqlAnswers(engine, cache)
        self._views = ViewAnswers(engine)
        self._columns = IndexColumnAnswers(engine)
        self._maintenance = Maintenance(engine)
        self._gate = Gate(engine, admission)
        self._clients: Callable[[], dict[str, int]] = dict
        self.metrics = Metrics(
            engine, lambda: self._clients().get("connections", 0), lambda: cache.nbytes
        )
        lag.listener = self.metrics.note_lag

    def count_clients(self, clients: Callable[[], dict[str, int]]) -> None:
        """Have *clients* say how many are connected."""
        self._clients = clients

    async def close(self) -> None:
        """End what was kept for further requests; none is answered any more."""
        await self._events.close()
        await self._sql.close()

    async def handle(self, request: AnyRequest, peer: Peer) -> msgspec.Struct | ArrowAnswer:
        """Answer one request of *peer*."""
        tag, begin = request_tag(type(request)), time.perf_counter()
        try:
            request, sight = await self._gate.admit(request, peer)
            async with self._gate.turn(request, peer):
                with within(self._request_seconds, request):
                    answer = await self._answer(request, sight)
        except Exception as error:
            self.metrics.note_failure(tag, getattr(error, "code", "internal"))
            raise
        if not isinstance(request, WAITING):
            self.metrics.note_answer(tag, time.perf_counter() - begin)
        return answer

    async def _answer(self, request: AnyRequest, sight: Sight) -> msgspec.Struct | ArrowAnswer:
        if isinstance(request, IndexRequests | ClusterRequests):
            return await self._ask_store(request, sight)
        match request:
            case Ping() | StatusRequest():
                return await self._told_of_roots(request, sight)
            case WatchRequest():
                return await self._watch(request)
            case UnwatchRequest():
                return await self._unwatch(request)
            case ListRequest() | TailRequest():
                return await self._told(request, sight)
            case IndexRequest() | WaitRequest() | SyncRequest():
                return await self._attend(request, sight)
            case (
                AggregationRequest()
                | ReadRequest()
                | ExplainRequest()
                | IndicesRequest()
                | PartitionsRequest()
            ):
                return await self._ask_index(request, sight)
            case SqlRequest() | SqlProgressRequest() | ViewsRequest() | ViewsDropRequest():
                return await self._ask_views(request, sight)
            case CompactRequest() | VerifyRequest() | RebuildRequest() | BackupRequest():
                return await self._maintenance.handle(request)
            case MetricsRequest() | DebugDumpRequest() | StopRequest():
                return self._operate(request)
            case Hello():
                raise InvalidArgumentError("hello is only the first message of a connection")
            case _:
                assert_never(request)

    async def _ask_store(
        self, request: IndexRequests | ClusterRequests, sight: Sight
    ) -> msgspec.Struct | ArrowAnswer:
        """Answer a program that works with a store as if it had opened it."""
        if isinstance(request, IndexRequests):
            return await self._indexes.handle(request, sight)
        return await self._clusters.handle(request)

    def _operate(self, request: MetricsRequest | DebugDumpRequest | StopRequest) -> msgspec.Struct:
        if isinstance(request, MetricsRequest):
            return MetricsResult(text=self.metrics.text())
        if isinstance(request, DebugDumpRequest):
            uptime = time.monotonic() - self._started
            return debug_dump(self._engine, uptime, self._clients())
        self._stop()
        return StopResult(pid=os.getpid())

    # -- health -------------------------------------------------------------------------------

    async def _told_of_roots(self, request: Ping | StatusRequest, sight: Sight) -> msgspec.Struct:
        roots = await visible_roots(self._engine, sight)
        if isinstance(request, Ping):
            return self._ping(roots, self._reasons(roots, sight))
        if sight.is_whole:
            return self._status(tuple(map(root_status, roots)), self._degraded())
        seen = [
            await anyio.to_thread.run_sync(status)
            for status in [guest_status(root, sight) for root in roots]
        ]
        return self._status(tuple(seen), self._reasons(roots, sight), of_all=False)

    def _reasons(self, roots: list[Root], sight: Sight) -> tuple[str, ...]:
        """Return what is degraded, as the peer may know it."""
        if sight.is_whole:
            return self._degraded()
        reasons = ((root, guest_reason(root)) for root in roots)
        return tuple(f"{display(root.path)}: {reason}" for root, reason in reasons if reason)

    def _degraded(self) -> tuple[str, ...]:
        engine = self._engine
        kernel = engine.kernel
        return (
            *(
                f"{root_state(root)}: {display(root.path)}: {reason}"
                for root in engine.roots.values()
                if (reason := root_reason(root))
            ),
            *([f"kernel: {kernel.reason}"] if kernel.reason else ()),
            *(f"slow worker: {reason}" for reason in sorted(set(engine.slow_workers()))),
            *(f"{key}: {problem}" for key, problem in self.metrics.problems.items()),
            *([f"configuration: {problem}"] if (problem := self._configuration.problem) else ()),
            *(f"failed: {display(path)}: {why}" for path, why in engine.failed_roots.items()),
            *(
                f"{supervisor.health.value}: {supervisor.name}"
                for supervisor in engine.supervisors()
                if supervisor.health in (Health.FAILED, Health.UNHEALTHY)
            ),
        )

    def _ping(self, roots: list[Root], degraded: tuple[str, ...]) -> PingResult:
        return PingResult(
            pid=os.getpid(),
            version=__version__,
            uptime_seconds=time.monotonic() - self._started,
            ready=True,
            caught_up=all(root.state.idle for root in roots),
            degraded=tuple(map(_sendable, degraded)),
        )

    def line(self) -> str:
        """Return in one line what the daemon is at."""
        roots = [root_status(root) for root in self._engine.roots.values()]
        return status_line(roots, len(self._degraded()))

    def _status(
        self, roots: tuple[RootStatus, ...], degraded: tuple[str, ...], *, of_all: bool = True
    ) -> StatusResult:
        """Return the status; only one *of_all* has actors, which bear the names of roots, and
        paths of the daemon's own."""
        engine = self._engine
        supervisors = engine.supervisors() if of_all else ()
        actors: dict[str, dict[str, Any]] = {one.name: one.observe() for one in supervisors}
        lag = self._lag.summary()
        status = StatusResult(
            pid=os.getpid(),
            version=__version__,
            uptime_seconds=time.monotonic() - self._started,
            state_dir=engine.state_dir.path if of_all else "",
            socket=self._socket,
            workers=engine.pool.size,
            worker_restarts=engine.pool.restarts,
            roots=roots,
            kernel=engine.kernel.state,
            actors=actors,
            degraded=degraded,
            loop_lag_p50_ms=lag.p50_ms,
            loop_lag_p99_ms=lag.p99_ms,
            loop_lag_max_ms=lag.max_ms,
            loop_lag_seconds=lag.seconds,
            config=(self._configuration.file or "") if of_all else "",
            restart_needed=self._configuration.waiting,
        )
        return msgspec.convert(_sendable(msgspec.to_builtins(status)), StatusResult)

    # -- roots and traces ---------------------------------------------------------------------

    async def _watch(self, request: WatchRequest) -> WatchResult:
        path = request_path(request.path)
        if not await anyio.to_thread.run_sync(os.path.isdir, path):
            raise NotFoundError(f"{request.path} is not a directory", "make it first")
        root, added = await self._engine.watch(path, _settings(request))
        return WatchResult(root=display(root.path), added=added)

    async def _unwatch(self, request: UnwatchRequest) -> UnwatchResult:
        root = await self._engine.unwatch(request_path(request.path), purge=request.purge)
        return UnwatchResult(root=display(root.path), purged=request.purge)

    async def _told(self, request: ListRequest | TailRequest, sight: Sight) -> ArrowAnswer:
        if isinstance(request, ListRequest):
            return await list_answer(self._engine, request, sight)
        path = b"" if request.path is None else request_path(request.path)
        return tail(self._engine, path, await visible_roots(self._engine, sight), sight)

    async def _index(self, request: IndexRequest, sight: Sight) -> IndexResult:
        path = request_path(request.path)
        if not await anyio.to_thread.run_sync(os.path.exists, path):
            raise NotFoundError(f"{request.path} does not exist", "check the path")
        root = self._engine.find_root(path)
        if root is None:
            root, _ = await self._engine.watch(await anyio.to_thread.run_sync(directory_of, path))
        ticket = await root.leave_ticket(path, force=request.force)
        if not request.wait:
            return IndexResult(traces=0, generation=root.handle.registry.generation)
        problems = await ticket.wait()
        traces = ticket.traces
        if not sight.is_whole:
            registry = root.handle.registry
            shown = await anyio.to_thread.run_sync(sight.registry, root, path, registry)
            traces = len(records_below(shown, root.relative(path)))
        return IndexResult(
            traces=traces,
            generation=root.handle.registry.generation,
            problems=await self._problems(root, path, problems, sight),
        )

    async def _problems(
        self, root: Root, path: bytes, problems: dict[bytes, str], sight: Sight
    ) -> tuple[TraceProblem, ...]:
        if problems:
            seen = await anyio.to_thread.run_sync(sight.present, root, path, problems)
            problems = {one: problems[one] for one in seen}
        return trace_problems(root, problems)

    async def _attend(
        self, request: IndexRequest | WaitRequest | SyncRequest, sight: Sight
    ) -> IndexResult | WaitResult | SyncResult:
        if isinstance(request, IndexRequest):
            return await self._index(request, sight)
        path, until_finished = request.path, isinstance(request, WaitRequest)
        if path is not None:
            real = request_path(path)
            targets = [(self._engine.root_of(real), real)]
        else:
            targets = [(root, root.path) for root in await visible_roots(self._engine, sight)]
        tickets = [
            (root, real, await root.leave_ticket(real, until_finished=until_finished))
            for root, real in targets
        ]
        generation = 0
        problems: list[TraceProblem] = []
        for root, real, ticket in tickets:
            problems += await self._problems(root, real, await ticket.wait(), sight)
            generation = max(generation, root.handle.registry.generation)
        reply = WaitResult if until_finished else SyncResult
        return reply(generation=generation, problems=tuple(problems))

    # -- answers ------------------------------------------------------------------------------

    async def _ask_index(
        self,
        request: AggregationRequest
        | ReadRequest
        | ExplainRequest
        | IndicesRequest
        | PartitionsRequest,
        sight: Sight,
    ) -> ArrowAnswer | msgspec.Struct:
        if isinstance(request, IndicesRequest):
            return await self._columns.answer(request, sight)
        if not isinstance(request, AggregationRequest):
            return await self._events.handle(request, sight)
        path = request_path(request.path)
        root = self._engine.root_of(path)
        return await self._aggregations.answer(root, path, request, sight)

    async def _ask_views(
        self,
        request: SqlRequest | SqlProgressRequest | ViewsRequest | ViewsDropRequest,
        sight: Sight,
    ) -> ArrowAnswer | msgspec.Struct:
        if isinstance(request, SqlRequest):
            return await self._sql.answer(request, sight)
        if isinstance(request, SqlProgressRequest):
            return self._sql.progress(request, sight)
        return await self._views.handle(request)


def _settings(request: WatchRequest) -> WatchSettings | None:
    """Return how the directory is to be watched, ``None`` where the request does not say."""
    given = (request.backend, request.include, request.exclude, request.follow_links)
    if given == (None, None, None, None) and request.columns is None:
        return None
    try:
        rules = TraceRules(
            include=request.include or (),
            exclude=request.exclude or (),
            follow_links=bool(request.follow_links),
        )
    except ValueError as error:
        raise InvalidArgumentError(str(error), "see the README on patterns") from error
    return WatchSettings(backend=request.backend, rules=rules, columns=_columns(request.columns))


def _columns(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return *names* as a configuration of tiers has them."""
    if names is None:
        return None
    try:
        return TierConfig(postings=names).normal().postings
    except ValueError as error:
        raise InvalidArgumentError(str(error), "see docs/indices.md on columns") from error


def _head(generation: int, warnings: tuple[str, ...] = ()) -> AnswerHead:
    return AnswerHead(generation=generation, warnings=warnings)


def _sendable(value: Any) -> Any:
    """Return *value* with each text such that it can be sent: paths need not be UTF-8."""
    match value:
        case str():
            return display(os.fsencode(value))
        case dict():
            return {_sendable(key): _sendable(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_sendable(entry) for entry in value]
        case _:
            return value
