"""The blocking client: an :class:`AsyncClient` driven on a thread of its own.

It needs no event loop of the caller and does not mind one that runs, as in Jupyter.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal
from msgspec import UNSET

from dftindexd.client.async_client import (
    DEFAULT_TIMEOUT,
    AnswerStream,
    AnyPath,
    AsyncClient,
    Timeout,
)
from dftindexd.client.events import EventIterator
from dftindexd.client.indices import BlockingIndices
from dftindexd.client.reading import BlockingReading
from dftindexd.client.results import Answer, Backup
from dftindexd.protocol.errors import ConnectionLostError, UseAfterForkError
from dftindexd.protocol.message import Request
from dftindexd.protocol.operation_requests import DebugDumpResult
from dftindexd.protocol.requests import (
    AggregationKind,
    AnswerHead,
    HelloResult,
    IndexResult,
    PingResult,
    StatusResult,
    StopResult,
    SyncResult,
    TailRequest,
    UnwatchResult,
    WaitResult,
    WantedBackend,
    WatchResult,
)
from dftindexd.protocol.upkeep_requests import (
    CompactedResult,
    RebuildResult,
    VerifyResult,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("BlockingAnswerStream", "Client", "connect")

R = TypeVar("R")

_LOOK_SECONDS: Final = 0.5


def connect(socket: AnyPath | None = None, *, timeout: float | None = DEFAULT_TIMEOUT) -> Client:
    """Connect to the daemon and return a client; close it, or use it in a ``with`` block.

    The socket is *socket*, else ``DFTINDEXD_SOCKET``, else found in the runtime directories.
    *timeout* bounds connecting and each quick request, in seconds; None waits for ever.

    Raises:
        DaemonUnreachableError: no daemon answers; the message names all places that were tried.
    """
    return Client(socket, timeout=timeout)


class BlockingAnswerStream:
    """An answer that is read batch by batch: an iterator of record batches."""

    def __init__(self, stream: AnswerStream, client: Client) -> None:
        self._stream = stream
        self._client = client

    @property
    def generation(self) -> int:
        """The version of the store that the rows show; each commit adds one."""
        return self._stream.generation

    @property
    def store_id(self) -> str:
        """Which store's generation it is; ``""`` where the answer does not say."""
        return self._stream.store_id

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know about the rows, such as traces that are missing from them."""
        return self._stream.warnings

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows, known once a batch was asked for, or there is none."""
        return self._stream.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        batch = self._client.run(self._next)
        if batch is None:
            raise StopIteration
        return batch

    async def _next(self) -> pa.RecordBatch | None:
        # StopAsyncIteration must not cross into a thread; None is the end.
        async for batch in self._stream:
            return batch
        return None


def _result_of(future: Future[R]) -> R:
    """Wait for the end of *future*.

    A signal that comes in the moment before the thread sleeps does not wake it: Python's handler,
    which raises the interrupt, runs when the thread looks up.
    """
    while True:
        try:
            return future.result(_LOOK_SECONDS)
        except TimeoutError:
            if future.done():  # the call's own
                return future.result()


def _close(resources: ExitStack, pid: int) -> None:
    # In a forked child neither the thread nor the connection is ours to end.
    if os.getpid() == pid:
        resources.close()


class Client(BlockingReading, BlockingIndices):
    """A blocking client; any number of threads may share it, as tasks an :class:`AsyncClient`."""

    def __init__(
        self, socket: AnyPath | None = None, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> None:
        self._pid = os.getpid()
        self._closing = threading.Lock()
        self._client = AsyncClient(socket, timeout=timeout)
        with ExitStack() as stack:
            self._portal: BlockingPortal = stack.enter_context(
                start_blocking_portal(name="dftindexd-client")
            )
            stack.enter_context(self._portal.wrap_async_context_manager(self._client))
            # A client that nobody closed is closed when it is forgotten, or before the interpreter
            # ends: after that its thread is gone, and closing would wait for it without end.
            self._end = weakref.finalize(self, _close, stack.pop_all(), self._pid)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread. Requests in flight fail. May be repeated."""
        if os.getpid() != self._pid:
            return
        with self._closing:
            self._end()

    @property
    def daemon(self) -> HelloResult:
        """What the daemon said of itself when it was last connected to."""
        return self._client.daemon

    def run(self, call: Callable[[], Awaitable[R]]) -> R:
        """Run *call* on the client's thread; an interrupt cancels it, at the daemon too.

        Raises:
            ConnectionLostError: the client is closed.
            UseAfterForkError: this process is a fork of the one that opened the client.
        """
        if os.getpid() != self._pid:
            raise UseAfterForkError(
                f"this client was opened by process {self._pid}", "open another after the fork"
            )
        try:
            future = self._portal.start_task_soon(call)
        except RuntimeError as error:
            raise ConnectionLostError(
                "this client is closed", "open another with connect()"
            ) from error
        try:
            return _result_of(future)
        except BaseException:
            future.cancel()
            raise

    def request(self, request: Request[R], *, timeout: Timeout = UNSET) -> R:
        """Send any request of the protocol that is answered by one message."""
        return self.run(lambda: self._client.request(request, timeout=timeout))

    @contextmanager
    def stream(
        self, request: Request[AnswerHead], *, timeout: Timeout = UNSET
    ) -> Iterator[BlockingAnswerStream]:
        """Send any request that is answered by rows, and read them batch by batch."""
        answer = self._client.stream(request, timeout=timeout)
        stream = self.run(answer.__aenter__)
        try:
            yield BlockingAnswerStream(stream, self)
        finally:
            if self._end.alive:
                self.run(lambda: answer.__aexit__(None, None, None))

    def fetch(self, request: Request[AnswerHead], *, timeout: Timeout = UNSET) -> Answer:
        """Send any request that is answered by rows, and read them all."""
        return self.run(lambda: self._client.fetch(request, timeout=timeout))

    def ping(self, *, timeout: Timeout = UNSET) -> PingResult:
        """Ask whether the daemon is well."""
        return self.run(lambda: self._client.ping(timeout=timeout))

    def status(self, *, timeout: Timeout = UNSET) -> StatusResult:
        """Ask for the state of every root, worker and actor."""
        return self.run(lambda: self._client.status(timeout=timeout))

    def watch(
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
        return self.run(
            lambda: self._client.watch(
                path,
                backend=backend,
                include=include,
                exclude=exclude,
                follow_links=follow_links,
                columns=columns,
                timeout=timeout,
            )
        )

    def unwatch(
        self, path: AnyPath, *, purge: bool = False, timeout: Timeout = UNSET
    ) -> UnwatchResult:
        """Stop watching a root; *purge* deletes its store as well."""
        return self.run(lambda: self._client.unwatch(path, purge=purge, timeout=timeout))

    def index(
        self,
        path: AnyPath,
        *,
        wait: bool = False,
        force: bool = False,
        timeout: Timeout = None,
    ) -> IndexResult:
        """Index one trace or all below a directory ahead of others; *force* parses them anew."""
        return self.run(lambda: self._client.index(path, wait=wait, force=force, timeout=timeout))

    def wait(self, path: AnyPath | None = None, *, timeout: Timeout = None) -> WaitResult:
        """Wait until every trace below a directory, or of all roots, is finished and indexed."""
        return self.run(lambda: self._client.wait(path, timeout=timeout))

    def sync(self, path: AnyPath | None = None, *, timeout: Timeout = None) -> SyncResult:
        """Wait until every complete line that is on disk now is in every answer."""
        return self.run(lambda: self._client.sync(path, timeout=timeout))

    def aggregation(
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
        """Return the aggregation of the traces below a directory; see `AsyncClient`."""
        return self.run(
            lambda: self._client.aggregation(
                path,
                kind,
                query=query,
                group_by=group_by,
                time_granularity=time_granularity,
                time_resolution=time_resolution,
                finished_only=finished_only,
                timeout=timeout,
            )
        )

    def compact(
        self, path: AnyPath, *, now: bool = False, timeout: Timeout = None
    ) -> CompactedResult:
        """Delete what was dropped from the store that holds *path*; see `AsyncClient`."""
        return self.run(lambda: self._client.compact(path, now=now, timeout=timeout))

    def verify(self, path: AnyPath, *, sample: int = 4, timeout: Timeout = None) -> VerifyResult:
        """Check what the store holds of the traces below *path*; see `AsyncClient`."""
        return self.run(lambda: self._client.verify(path, sample=sample, timeout=timeout))

    def rebuild(self, path: AnyPath, *, timeout: Timeout = None) -> RebuildResult:
        """Parse all traces below *path* anew, whatever the store holds of them, and wait for it."""
        return self.run(lambda: self._client.rebuild(path, timeout=timeout))

    def backup(self, path: AnyPath, out: AnyPath, *, timeout: Timeout = None) -> Backup:
        """Copy the store that holds *path* to the new directory *out*; see `AsyncClient`."""
        return self.run(lambda: self._client.backup(path, out, timeout=timeout))

    def metrics(self, *, timeout: Timeout = UNSET) -> str:
        """Return the daemon's metrics, in the text format of Prometheus."""
        return self.run(lambda: self._client.metrics(timeout=timeout))

    def debug_dump(self, *, timeout: Timeout = UNSET) -> DebugDumpResult:
        """Return what the daemon is made of right now, to find a fault. Nothing private."""
        return self.run(lambda: self._client.debug_dump(timeout=timeout))

    def stop(self, *, timeout: Timeout = UNSET) -> StopResult:
        """End the daemon in order."""
        return self.run(lambda: self._client.stop(timeout=timeout))

    def events(self, path: AnyPath | None = None) -> EventIterator:
        """Give what happens to the traces below a directory, or of all roots, from now on: an
        endless iterator, to be closed, or used in a ``with`` block."""
        request = TailRequest(path=None if path is None else os.fspath(path))
        return EventIterator(self.stream(request, timeout=None))

    def list(
        self,
        path: AnyPath | None = None,
        *,
        since: Answer | int | None = None,
        timeout: Timeout = UNSET,
    ) -> Answer:
        """Return one row a trace, below a directory or of all roots; see `AsyncClient`."""
        return self.run(lambda: self._client.list(path, since=since, timeout=timeout))
