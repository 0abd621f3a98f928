"""A small daemon for tests: the real server over a service that computes real answers.

What a request does is in the last part of its path, such as ``/x/rows-1000`` or ``/x/missing``.
``python -m tests.client.echo_daemon SOCKET`` runs it as a process that can be killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

import anyio
import msgspec
import pyarrow as pa
from anyio.abc import TaskGroup, TaskStatus
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.lowlevel import checkpoint

from dftindexd.daemon.server import ArrowAnswer, BatchStream, IpcServer, Peer, ServerLimits
from dftindexd.index.errors import TraceGoneError
from dftindexd.protocol.errors import NotFoundError, QueryError
from dftindexd.protocol.requests import (
    AggregationRequest,
    AnswerHead,
    ExplainRequest,
    ExplainResult,
    IndexRequest,
    IndexResult,
    ListRequest,
    Ping,
    PingResult,
    ReadRequest,
    RootStatus,
    StatusRequest,
    StatusResult,
    StopRequest,
    StopResult,
    SyncRequest,
    SyncResult,
    TraceProblem,
    TraceReading,
    UnwatchRequest,
    UnwatchResult,
    WaitRequest,
    WatchRequest,
    WatchResult,
)

__all__ = (
    "VERSION",
    "EchoService",
    "Hosted",
    "ThreadedDaemon",
    "rows",
    "serving",
    "threaded_daemon",
)

VERSION = "0.0.test"
_FIELDS: dict[str, pa.DataType] = {
    "n": pa.int64(),
    "name": pa.string(),
    "ratio": pa.float64(),
}
SCHEMA = pa.schema(_FIELDS)


def rows(first: int, count: int) -> pa.RecordBatch:
    """Return *count* rows; every third has no ratio, and the first of all has NaN."""
    numbers = range(first, first + count)
    ratios = [float("nan") if n == 0 else None if n % 3 == 1 else n / 2 for n in numbers]
    names = pa.array([f"name-{n % 7}" for n in numbers])
    return pa.record_batch([pa.array(numbers, pa.int64()), names, pa.array(ratios)], schema=SCHEMA)


class EchoService:
    """Answers from the path alone, and counts what it was asked and what was cancelled."""

    def __init__(self) -> None:
        self.degraded: tuple[str, ...] = ()
        self.asked: list[Any] = []
        self.peers: list[Peer] = []
        self.waiting = 0
        self._changed = anyio.Event()
        self.cancelled = 0
        self.batches = 0
        self.streams_closed = 0

    async def handle(self, request: Any, peer: Peer) -> msgspec.Struct | ArrowAnswer:
        self.asked.append(request)
        self.peers.append(peer)
        match request:
            case Ping():
                return PingResult(
                    pid=os.getpid(),
                    version=VERSION,
                    uptime_seconds=1.5,
                    ready=True,
                    caught_up=True,
                    degraded=self.degraded,
                )
            case StatusRequest():
                return self._status()
            case WatchRequest(path=path):
                return _watch(path)
            case UnwatchRequest(path=path, purge=purge):
                return UnwatchResult(root=path, purged=purge)
            case IndexRequest(path=path):
                problem = TraceProblem(path=f"{path}/a.pfw", state="quarantined", reason="cut")
                return IndexResult(traces=2, generation=4, problems=(problem,))
            case WaitRequest():
                await self._wait_for_ever()
            case SyncRequest():
                return SyncResult(generation=5)
            case StopRequest():
                return StopResult(pid=os.getpid())
            case ExplainRequest(path=path):
                return _explained(path)
            case ListRequest(path=path) | AggregationRequest(path=path) | ReadRequest(path=path):
                return self._answer(path or "rows-3")
        raise AssertionError(f"{request!r} is unknown")

    def _status(self) -> StatusResult:
        root = RootStatus(
            root="/traces/[bold]run",
            store="/state/run.dftindex",
            state="watching",
            backend="inotify",
            generation=3,
            traces=2,
            queued=0,
            growing=0,
            indexed=2,
            quarantined=0,
            events=10,
            bad_lines=0,
            trace_bytes=100,
            pending_bytes=0,
        )
        return StatusResult(
            pid=os.getpid(),
            version=VERSION,
            uptime_seconds=1.5,
            state_dir="/state",
            socket="/run/s",
            workers=2,
            worker_restarts=0,
            roots=(root,),
            degraded=self.degraded,
        )

    async def until_waiting(self, count: int) -> None:
        """Wait until *count* requests wait in this service; on its own event loop only."""
        with anyio.fail_after(60):
            while self.waiting != count:
                await self._changed.wait()

    def _count_waiting(self, change: int) -> None:
        self.waiting += change
        self._changed.set()
        self._changed = anyio.Event()

    async def _wait_for_ever(self) -> None:
        self._count_waiting(1)
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        finally:
            self._count_waiting(-1)

    def _answer(self, path: str) -> ArrowAnswer:
        head = AnswerHead(generation=3, warnings=("one trace is missing",))
        name = os.path.basename(path)
        if name == "endless":
            return ArrowAnswer(head, BatchStream(SCHEMA, self._batches(2**62)))
        if name == "breaks":
            return ArrowAnswer(head, BatchStream(SCHEMA, self._batches(3, breaks=True)))
        if name == "rows-0":
            return ArrowAnswer(head, SCHEMA.empty_table())
        if name == "query":
            raise QueryError("column 'x' does not exist", "the columns are n, name, ratio")
        count = int(name.removeprefix("rows-"))
        return ArrowAnswer(head, pa.Table.from_batches([rows(0, count)]))

    async def _batches(
        self, count: int, *, breaks: bool = False
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        try:
            for number in range(count):
                self.batches += 1
                yield rows(number * 10_000, 10_000)
                await checkpoint()
            if breaks:
                raise QueryError("the store broke at row 30000")
        finally:
            self.streams_closed += 1


def _explained(path: str) -> ExplainResult:
    return ExplainResult(
        generation=3,
        traces=2,
        chunks=9,
        read=1,
        text_bytes=9_000_000,
        read_bytes=1_000_000,
        skipped={"bloom name": 6, "bounds dur": 2},
        tiers={"bloom": 6, "statistics": 2},
        details=(TraceReading(path=f"{path}/a.pfw", chunks=5, read=1, skipped={"bloom name": 4}),),
    )


def _watch(path: str) -> WatchResult:
    match os.path.basename(path):
        case "missing":
            raise NotFoundError(f"{path} does not exist", "make it first")
        case "gone":
            raise TraceGoneError(f"{path} went away", "look again")
        case "bug":
            raise ZeroDivisionError("division by zero")
        case "wrong-reply":
            return object()  # type: ignore[return-value]
    return WatchResult(root=path, added=True)


@asynccontextmanager
async def serving(
    path: str, service: EchoService | None = None, limits: ServerLimits | None = None
) -> AsyncIterator[IpcServer]:
    """Serve at *path* on this event loop."""
    server = IpcServer(service or EchoService(), path, version=VERSION, limits=limits)
    async with anyio.create_task_group() as tasks:
        await tasks.start(server.serve)
        try:
            yield server
        finally:
            tasks.cancel_scope.cancel()


class Hosted:
    """A server in a task, that can end before what was opened after it."""

    def __init__(self) -> None:
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    @classmethod
    async def start(cls, tasks: TaskGroup, path: str, service: EchoService) -> Hosted:
        hosted = cls()
        await tasks.start(hosted._run, path, service)
        return hosted

    async def stop(self) -> None:
        self._scope.cancel()
        await self._ended.wait()

    async def _run(self, path: str, service: EchoService, *, task_status: TaskStatus[None]) -> None:
        with self._scope:
            async with serving(path, service):
                task_status.started()
                await anyio.sleep_forever()
        self._ended.set()


class ThreadedDaemon:
    """A daemon on a thread of its own, for blocking tests; it can be stopped and started."""

    def __init__(self, path: str, portal: BlockingPortal) -> None:
        self.path = path
        self.service = EchoService()
        self._portal = portal
        self._running: AbstractContextManager[IpcServer] | None = None

    def start(self) -> None:
        self._running = self._portal.wrap_async_context_manager(serving(self.path, self.service))
        self._running.__enter__()

    def until_waiting(self, count: int) -> None:
        """Wait until *count* requests wait in the service."""
        self._portal.call(self.service.until_waiting, count)

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.__exit__(None, None, None)


@contextmanager
def threaded_daemon(path: str) -> Iterator[ThreadedDaemon]:
    """Run a daemon at *path* on a thread."""
    with start_blocking_portal(name="echo-daemon") as portal:
        daemon = ThreadedDaemon(path, portal)
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.stop()


async def _main(path: str) -> None:
    async with serving(path):
        print("ready", flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1])
