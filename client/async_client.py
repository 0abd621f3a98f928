"""The client for asynchronous programs; the blocking one drives it on a thread of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TypeAlias, TypeVar

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup
from msgspec import UNSET, UnsetType

from dftindexd import __version__
from dftindexd.client.backup import free_place, take_over
from dftindexd.client.connection import Connection, Exchange
from dftindexd.client.events import events_of
from dftindexd.client.indices import AsyncIndices
from dftindexd.client.pool import ConnectionPool, Lent
from dftindexd.client.reading import AsyncReading
from dftindexd.client.results import Answer, Backup, read_tables
from dftindexd.client.streams import AnswerStream
from dftindexd.protocol.cluster_requests import (
    ClusterHoldRequest,
    ClusterIngestRequest,
    ClusterRegisterRequest,
)
from dftindexd.protocol.errors import (
    ConnectionLostError,
    DaemonUnreachableError,
    UseAfterForkError,
)
from dftindexd.protocol.events import IndexEvent
from dftindexd.protocol.index_requests import (
    IndexChunksRequest,
    IndexNamesRequest,
    IndexPidsRequest,
    IndexRowsRequest,
    IndexSegmentsRequest,
    IndexSetsRequest,
)
from dftindexd.protocol.inverted_requests import IndicesRequest, PartitionsRequest
from dftindexd.protocol.message import Request
from dftindexd.protocol.operation_requests import (
    DebugDumpRequest,
    DebugDumpResult,
    MetricsRequest,
)
from dftindexd.protocol.requests import (
    AggregationKind,
    AggregationRequest,
    AnswerHead,
    ExplainRequest,
    HelloResult,
    IndexRequest,
    IndexResult,
    ListRequest,
    Ping,
    PingResult,
    ReadRequest,
    SqlRequest,
    StatusRequest,
    StatusResult,
    StopRequest,
    StopResult,
    SyncRequest,
    SyncResult,
    TailRequest,
    UnwatchRequest,
    UnwatchResult,
    WaitRequest,
    WaitResult,
    WantedBackend,
    WatchRequest,
    WatchResult,
)
from dftindexd.protocol.upkeep_requests import (
    BackupRequest,
    CompactedResult,
    CompactRequest,
    RebuildRequest,
    RebuildResult,
    VerifyRequest,
    VerifyResult,
)

__all__ = ("DEFAULT_TIMEOUT", "AnswerStream", "AsyncClient", "Timeout")

R = TypeVar("R")
AnyPath: TypeAlias = "str | os.PathLike[str]"
# Seconds; None waits for ever, UNSET takes the client's own.
Timeout: TypeAlias = "float | UnsetType | None"

DEFAULT_TIMEOUT = 30.0

# Asking these twice is the same as asking once.
_IDEMPOTENT = (
    AggregationRequest,
    ClusterHoldRequest,
    ClusterIngestRequest,
    ClusterRegisterRequest,
    CompactRequest,
    DebugDumpRequest,
    ExplainRequest,
    IndexChunksRequest,
    IndexNamesRequest,
    IndexPidsRequest,
    IndexRowsRequest,
    IndexSegmentsRequest,
    IndexSetsRequest,
    IndicesRequest,
    ListRequest,
    MetricsRequest,
    PartitionsRequest,
    Ping,
    ReadRequest,
    SqlRequest,
    StatusRequest,
    SyncRequest,
    VerifyRequest,
    WaitRequest,
    WatchRequest,
)


class AsyncClient(AsyncReading, AsyncIndices):
    """A client for anyio programs: ``async with AsyncClient() as client: ...``.

    Any number of tasks may use it at once: they share one connection, or a few where very many
    requests are in flight. A connection that broke is opened anew by the next request; a request in
    flight when it breaks fails with :class:`ConnectionLostError`, unless asking again changes
    nothing and a daemon answers at once.

    Args:
        socket: the daemon's socket; ``protocol.paths`` says where it is looked for else.
        timeout: seconds that connecting and each quick request may wait for the daemon; None
            waits for ever. For answers in pieces it bounds the wait for each piece.
    """

    def __init__(
        self, socket: AnyPath | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> None:
        self._socket = socket
        self._timeout = timeout
        self._pid = os.getpid()
        self._pool: ConnectionPool | None = None
        self._tasks: TaskGroup | None = None

    @classmethod
    def connect(
        cls, socket: AnyPath | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> AsyncClient:
        """Return a client that connects on ``async with``."""
        return cls(socket, timeout=timeout)

    async def __aenter__(self) -> AsyncClient:
        connection = await self._open()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._pool = ConnectionPool(self._open, self._tasks)
        self._pool.add(connection)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return
        tasks.cancel_scope.cancel()
        # What ended the body goes on as it is; the group would wrap it.
        await tasks.__aexit__(None, None, None)

    @property
    def daemon(self) -> HelloResult:
        """What the daemon said of itself when it was last connected to."""
        if self._pool is None:
            raise _closed()
        return self._pool.daemon

    async def request(self, request: Request[R], *, timeout: Timeout = UNSET) -> R:
        """Send any request of the protocol that is answered by one message."""
        reply, exchange = await self._ask(request, timeout)
        exchange.finish()
        exchange.close()
        return reply

    @asynccontextmanager
    async def stream(
        self, request: Request[AnswerHead], *, timeout: Timeout = UNSET
    ) -> AsyncIterator[AnswerStream]:
        """Send any request that is answered by rows, and read them batch by batch."""
        head, exchange = await self._ask(request, timeout)
        try:
            yield AnswerStream(head, exchange, self._seconds(timeout))
        finally:
            exchange.close()

    async def fetch(self, request: Request[AnswerHead], *, timeout: Timeout = UNSET) -> Answer:
        """Send any request that is answered by rows, and read them all."""
        head, exchange = await self._ask(request, timeout)
        chunks: list[bytes | memoryview] = []
        try:
            while chunk := await exchange.chunk(self._seconds(timeout)):
                chunks.append(chunk)
        finally:
            exchange.close()
        stream = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Answer(head, *read_tables(stream))

    async def ping(self, *, timeout: Timeout = UNSET) -> PingResult:
        """Ask whether the daemon is well."""
        return await self.request(Ping(), timeout=timeout)

    async def status(self, *, timeout: Timeout = UNSET) -> StatusResult:
        """Ask for the state of every root, worker and actor."""
        return await self.request(StatusRequest(), timeout=timeout)

    async def watch(
        self,
        path: AnyPath,
        *,
        backend: WantedBackend | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        follow_links: bool | None = None,
        columns: Sequence[str] | None = None,
        timeout: Timeout = UNSET,
    ) -> WatchResult:
        """Have a directory tree watched from now on, as :class:`WatchRequest` says."""
        request = WatchRequest(
            path=os.fspath(path),
            backend=backend,
            include=None if include is None else tuple(include),
            exclude=None if exclude is None else tuple(exclude),
            follow_links=follow_links,
            columns=None if columns is None else tuple(columns),
        )
        return await self.request(request, timeout=timeout)

    async def unwatch(
        self, path: AnyPath, *, purge: bool = False, timeout: Timeout = UNSET
    ) -> UnwatchResult:
        """Stop watching a root; *purge* deletes its store as well."""
        request = UnwatchRequest(path=os.fspath(path), purge=purge)
        return await self.request(request, timeout=timeout)

    async def index(
        self,
        path: AnyPath,
        *,
        wait: bool = False,
        force: bool = False,
        timeout: Timeout = None,
    ) -> IndexResult:
        """Index one trace or all below a directory ahead of others; *force* parses them anew."""
        request = IndexRequest(path=os.fspath(path), wait=wait, force=force)
        return await self.request(request, timeout=timeout)

    async def wait(self, path: AnyPath | None = None, *, timeout: Timeout = None) -> WaitResult:
        """Wait until every trace below a directory, or of all roots, is finished and indexed."""
        return await self.request(WaitRequest(path=_optional(path)), timeout=timeout)

    async def sync(self, path: AnyPath | None = None, *, timeout: Timeout = None) -> SyncResult:
        """Wait until every complete line that is on disk now is in every answer."""
        return await self.request(SyncRequest(path=_optional(path)), timeout=timeout)

    async def aggregation(
        self,
        path: AnyPath,
        kind: AggregationKind = "events",
        *,
        query: str | None = None,
        group_by: Sequence[str] | None = None,
        time_granularity: float = 1.0,
        time_resolution: float = 1e6,
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> Answer:
        """Return the aggregation of the traces below a directory.

        *query* filters, such as ``cat == "posix"``; *group_by* names columns;
        *time_granularity* is the width of a ``time_range`` in seconds, *time_resolution* the
        microseconds in one unit of the time columns; *finished_only* leaves growing traces out.
        """
        request = AggregationRequest(
            path=os.fspath(path),
            kind=kind,
            query=query,
            group_by=None if group_by is None else tuple(group_by),
            time_granularity=time_granularity,
            time_resolution=time_resolution,
            finished_only=finished_only,
        )
        return await self.fetch(request, timeout=timeout)

    async def compact(
        self, path: AnyPath, *, now: bool = False, timeout: Timeout = None
    ) -> CompactedResult:
        """Delete what was dropped from the store that holds *path*, with *now* whatever its age,
        and give its room back."""
        request = CompactRequest(path=os.fspath(path), now=now)
        return await self.request(request, timeout=timeout)

    async def verify(
        self, path: AnyPath, *, sample: int = 4, timeout: Timeout = None
    ) -> VerifyResult:
        """Check what the store holds of the traces below *path*, and parse *sample* of them again.

        What is found to be damaged is rebuilt from the traces; :meth:`sync` waits for that.
        """
        request = VerifyRequest(path=os.fspath(path), sample=sample)
        return await self.request(request, timeout=timeout)

    async def rebuild(self, path: AnyPath, *, timeout: Timeout = None) -> RebuildResult:
        """Parse all traces below *path* anew, whatever the store holds of them, and wait for it."""
        return await self.request(RebuildRequest(path=os.fspath(path)), timeout=timeout)

    async def backup(self, path: AnyPath, out: AnyPath, *, timeout: Timeout = None) -> Backup:
        """Copy the store that holds *path*, as it is now, to the new directory *out*.

        This process writes it, on the machine of the daemon, whose files it has to be able to read.
        """
        target = free_place(out)
        copy = await self.request(BackupRequest(path=os.fspath(path)), timeout=timeout)
        size = await anyio.to_thread.run_sync(take_over, copy.folder, target)
        return Backup(root=copy.root, path=target, generation=copy.generation, bytes=size)

    async def metrics(self, *, timeout: Timeout = UNSET) -> str:
        """Return the daemon's metrics, in the text format of Prometheus."""
        return (await self.request(MetricsRequest(), timeout=timeout)).text

    async def debug_dump(self, *, timeout: Timeout = UNSET) -> DebugDumpResult:
        """Return what the daemon is made of right now, to find a fault. Nothing private."""
        return await self.request(DebugDumpRequest(), timeout=timeout)

    async def stop(self, *, timeout: Timeout = UNSET) -> StopResult:
        """End the daemon in order."""
        return await self.request(StopRequest(), timeout=timeout)

    async def list(
        self,
        path: AnyPath | None = None,
        *,
        since: Answer | int | None = None,
        timeout: Timeout = UNSET,
    ) -> Answer:
        """Return one row a trace, below a directory or of all roots; *since* an earlier answer to
        the same, or its generation, only what changed after it.

        Of an answer it is checked that the same store answers now; a generation alone is taken
        where no other could have been meant.
        """
        generation = since.generation if isinstance(since, Answer) else since
        request = ListRequest(
            path=_optional(path),
            since=generation,
            store_id=since.store_id if isinstance(since, Answer) else "",
        )
        return await self.fetch(request, timeout=timeout)

    @asynccontextmanager
    async def events(self, path: AnyPath | None = None) -> AsyncIterator[AsyncIterator[IndexEvent]]:
        """Give what happens to the traces below a directory, or of all roots, from now on.

        ``async with client.events() as events: async for event in events: ...``
        """
        async with self.stream(TailRequest(path=_optional(path)), timeout=None) as answer:
            yield events_of(answer)

    def _seconds(self, timeout: Timeout) -> float | None:
        return self._timeout if timeout is UNSET else timeout

    async def _ask(self, request: Request[R], timeout: Timeout) -> tuple[R, Exchange]:
        """Send *request* and wait for its reply; connect anew where that is safe."""
        request, seconds = _absolute(request), self._seconds(timeout)
        repeatable = isinstance(request, _IDEMPOTENT)
        lent = await self._lend()
        try:
            return await _ask_once(lent.connection, request, seconds)
        except ConnectionLostError as lost:
            # Only a connection from before this request may have been about to break.
            if lent.fresh or not repeatable:
                raise
            try:
                lent = await self._lend()
            except DaemonUnreachableError:
                raise lost from None
        return await _ask_once(lent.connection, request, seconds)

    async def _lend(self) -> Lent:
        if os.getpid() != self._pid:
            raise UseAfterForkError(
                f"this client was opened by process {self._pid}", "open another after the fork"
            )
        if self._tasks is None or self._pool is None:
            raise _closed()
        return await self._pool.lend()

    async def _open(self) -> Connection:
        return await Connection.open(
            self._socket, client=f"dftindexd {__version__}", timeout=self._timeout
        )


async def _ask_once(
    connection: Connection, request: Request[R], timeout: float | None
) -> tuple[R, Exchange]:
    exchange = await connection.send(request)
    try:
        return await exchange.reply(request, timeout), exchange
    except BaseException:
        exchange.close()
        raise


def _absolute(request: Request[R]) -> Request[R]:
    """Make the path of a request absolute: the daemon has another working directory."""
    path = getattr(request, "path", None)
    if path is None:
        return request
    return msgspec.structs.replace(request, path=os.path.abspath(path))


def _optional(path: AnyPath | None) -> str | None:
    return None if path is None else os.fspath(path)


def _closed() -> ConnectionLostError:
    return ConnectionLostError("this client is not connected", "open one with connect()")
