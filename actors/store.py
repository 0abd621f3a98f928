"""The store actor: the one writer of one store, and the only way to change it.

``Write`` and ``Ingest`` commit, ``Compact`` deletes what nobody reads; ``Shutdown`` closes the
store when everything queued before it is done. RocksDB runs in a thread of its own, one call at a
time. A command that fails leaves the store as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar, assert_never

import anyio
import anyio.to_thread
import msgspec
import structlog

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.commands import CommitResult, Compact, CompactResult, Ingest, Write
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.store.registry import Plan, Registry
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import StoreWriter

__all__ = ("StoreActor", "StoreHandle", "StoreView")

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_VACUUM_INTERVAL = 5.0


class StoreView(msgspec.Struct, frozen=True):
    """A store at one generation: its registry, and the rows of every segment that this names."""

    registry: Registry
    rows: RocksStore


class StoreHandle:
    """What others may know of a store without asking its actor.

    ``registry`` is always that of the last commit. Whoever reads rows does so inside :meth:`view`,
    which keeps the segments of that generation from being deleted and the store from being closed.
    """

    def __init__(self, path: str, root: str, owner: str) -> None:
        self.path = path
        self.root = root
        self.owner = owner
        self.read_only = ""
        self._writer: StoreWriter | None = None
        self._last: Registry | None = None
        self._readers: Counter[int] = Counter()
        self._unread = anyio.Event()

    @property
    def writer(self) -> StoreWriter | None:
        """The open store; only its actor uses it."""
        return self._writer

    @writer.setter
    def writer(self, writer: StoreWriter | None) -> None:
        if self._writer is not None:
            self._last = self._writer.registry
        self._writer = writer

    @property
    def registry(self) -> Registry:
        """The registry of the last commit, also between two lives of the store's actor.

        :raises CoreError: the store was never open.
        """
        if self._writer is None and self._last is not None:
            return self._last
        return self._open_writer().registry

    def _open_writer(self) -> StoreWriter:
        if self._writer is None:
            raise CoreError(f"the store of {self.root} is not open", "try again in a moment")
        return self._writer

    @property
    def oldest_read(self) -> int:
        """The oldest generation that somebody reads, the newest where nobody does."""
        return min(self._readers, default=self.registry.generation)

    def new_segment_id(self) -> int:
        """Return an id for a segment that is about to be parsed."""
        return self._open_writer().new_segment_id()

    @property
    def staging(self) -> str:
        """Where workers leave artifacts for this store."""
        return self._open_writer().staging

    @contextmanager
    def view(self) -> Iterator[StoreView]:
        """Read the last generation for as long as the context lasts."""
        writer = self._open_writer()
        registry = writer.registry
        generation = registry.generation
        self._readers[generation] += 1
        try:
            yield StoreView(registry, writer.rocks)
        finally:
            self._readers[generation] -= 1
            if not self._readers[generation]:
                del self._readers[generation]
            if not self._readers:
                self._unread.set()

    async def wait_unread(self) -> None:
        """Wait until nobody reads."""
        while self._readers:
            self._unread = anyio.Event()
            await self._unread.wait()


class StoreActor(Actor):
    """Owns the writer of the store behind *handle*."""

    # A command that fails leaves the writer sound, whatever the store said.
    recoverable: ClassVar[tuple[type[Exception], ...]] = (CoreError,)
    tick_interval = _VACUUM_INTERVAL
    # A store is closed only when nobody reads; however long that takes, closing it earlier would
    # fail the readers, and leaving it open would lock the next actor out.
    finalize_seconds = float("inf")

    def __init__(self, handle: StoreHandle) -> None:
        self.name = f"store:{handle.root}"
        self._handle = handle
        self._thread = anyio.CapacityLimiter(1)
        self._commits = 0
        self._refused = 0

    async def _call(self, context: ActorContext, function: Callable[..., T], *args: Any) -> T:
        with context.protect():
            return await anyio.to_thread.run_sync(function, *args, limiter=self._thread)

    async def initialize(self, context: ActorContext) -> None:
        def open_store() -> StoreWriter:
            handle = self._handle
            return StoreWriter(handle.path, root=handle.root, owner=handle.owner)

        self._handle.writer = self._writer = await self._call(context, open_store)

    async def handle(self, message: Write | Ingest | Compact, context: ActorContext) -> Any:
        match message:
            case Write():
                rows, commits = message.rows, message.commits
                return self._committed(
                    await self._call(context, self._guarded, self._writer.write, rows, commits)
                )
            case Ingest():
                artifacts, commits = message.artifacts, message.commits
                return self._committed(
                    await self._call(
                        context, self._guarded, self._writer.ingest, artifacts, commits
                    )
                )
            case Compact():
                return await self._compact(message, context)
            case _:
                assert_never(message)

    def _guarded(self, function: Callable[..., Plan], *args: Any) -> Plan:
        try:
            done = function(*args)
        except StoreReadOnlyError as error:
            self._handle.read_only = str(error)
            raise
        self._handle.read_only = ""
        return done

    def _committed(self, done: Plan) -> CommitResult:
        self._commits += 1
        self._refused += len(done.refused)
        return CommitResult(generation=done.registry.generation, refused=done.refused)

    async def _compact(self, message: Compact, context: ActorContext) -> CompactResult:
        deleted = await self._call(context, self._writer.vacuum, self._handle.oldest_read)
        if message.reclaim:
            await self._call(context, self._writer.reclaim, lambda: False)
        return CompactResult(segments_deleted=deleted, segments_kept=self._writer.garbage_segments)

    async def tick(self, context: ActorContext) -> None:
        if self._writer.garbage_segments:
            await self._call(context, self._writer.vacuum, self._handle.oldest_read)

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        writer = self._handle.writer
        if writer is None:
            return
        self._handle.writer = None
        await self._handle.wait_unread()
        await self._call(context, writer.close)
        _log.info("store_closed", store=self._handle.path, status=status.value)

    def observe(self) -> dict[str, object]:
        writer = self._handle.writer
        return {
            "commits": self._commits,
            "commits_refused": self._refused,
            "generation": writer.registry.generation if writer else None,
            "traces": len(writer.registry.traces) if writer else None,
            "garbage_segments": writer.garbage_segments if writer else None,
            "read_only": self._handle.read_only,
        }
