"""The store actor: the one writer of one store, and the only way to change it.

``Write``, ``Ingest`` and ``Remove`` commit, ``Compact`` deletes what nobody reads, ``Verify`` makes
a copy to be looked through; ``Shutdown`` closes the store when everything queued before it is done.
RocksDB runs in a thread of its own, one call at a time. A command that fails leaves the store as it
was.

A store that RocksDB found damaged while writing takes no more writes: the actor then ends, and the
next one sets the store aside and begins another, which the scan of the disk fills.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias, TypeVar, assert_never

import anyio
import anyio.from_thread
import anyio.to_thread

from dftindexd.actors.actor import Actor, ActorContext, ActorExit
from dftindexd.actors.commands import (
    CommitResult,
    Compact,
    CompactResult,
    Condemn,
    Ingest,
    NoteRebuilt,
    Open,
    Remove,
    StoreCopy,
    Verify,
    Write,
)
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.log import get_log
from dftindexd.actors.open_stores import OpenStores
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.actors.timings import Timings
from dftindexd.actors.write_trouble import probe_disk
from dftindexd.index.errors import CoreError, StoreDamagedError, StoreReadOnlyError
from dftindexd.index.store.disk_use import over_limit
from dftindexd.index.store.recovery import open_or_rebuild
from dftindexd.index.store.registry import CommitRemoval, Plan
from dftindexd.index.store.writer import StoreWriter

__all__ = ("LONGEST_CALL_SECONDS", "StoreActor")

#: A call of RocksDB that takes longer will not come back.
LONGEST_CALL_SECONDS = 600.0

T = TypeVar("T")
StoreCommand: TypeAlias = Write | Ingest | Remove | Compact | Verify | Open | NoteRebuilt | Condemn

_log = get_log(__name__)

_TICK_SECONDS = 0.25
_VACUUM_INTERVAL = 5.0


class StoreActor(Actor):
    """Owns the writer of the store behind *handle*."""

    # A command that fails leaves the writer sound, whatever the store said.
    recoverable: ClassVar[tuple[type[Exception], ...]] = (CoreError,)
    tick_interval = _TICK_SECONDS
    # A store is closed only when nobody reads; however long that takes, closing it earlier would
    # fail the readers, and leaving it open would lock the next actor out.
    finalize_seconds = float("inf")

    def __init__(
        self, handle: StoreHandle, stores: OpenStores, timings: Timings | None = None
    ) -> None:
        self._timings = timings or Timings()
        self.name = f"store:{handle.root}"
        self._handle = handle
        self._stores = stores
        self._thread = anyio.CapacityLimiter(1)
        self._commits = 0
        self._refused = 0
        self._next_vacuum = 0.0
        self._oldest_garbage = float("inf")

    async def _call(self, context: ActorContext, function: Callable[..., T], *args: Any) -> T:
        """Run *function* in the store's thread. One that never comes back, as where a disk does not
        answer any more, makes this actor one that hangs: it cannot be ended."""
        with context.protect(LONGEST_CALL_SECONDS):
            return await anyio.to_thread.run_sync(function, *args, limiter=self._thread)

    async def initialize(self, context: ActorContext) -> None:
        def open_store() -> StoreWriter:
            handle = self._handle
            return open_or_rebuild(
                handle.path,
                root=handle.root,
                owner=handle.owner,
                wanted=handle.tiers,
                least_epoch=handle.last_epoch + 1,
                condemned=handle.condemned,
            )

        self._handle.writer = self._writer = await self._call(context, open_store)
        self._handle.condemned = ""
        self._stores.opened(self._handle)
        if self._writer.rebuilding:
            _log.warning(
                "store_rebuilding", store=self._handle.path, reason=self._writer.rebuilding
            )

    async def handle(self, message: StoreCommand, context: ActorContext) -> Any:
        self._handle.note_use()
        await self._wake(context)
        if self._handle.writer is None:
            raise StoreReadOnlyError(self._handle.read_only)
        try:
            return await self._do(message, context)
        except StoreDamagedError as error:
            self._end_if_condemned(error)
            raise

    def _end_if_condemned(self, error: StoreDamagedError) -> None:
        """End where the database takes no writes any more; damage of what it was given is none."""
        if self._writer.rocks.condemned:
            raise self._condemned(self._writer.rocks.condemned) from error

    def _condemned(self, reason: str) -> ActorExit:
        """Return what ends this life, so that the next sets the store aside."""
        self._handle.condemned = reason
        _log.warning("store_condemned", store=self._handle.path, reason=reason)
        return ActorExit(ExitStatus.FAILURE)

    async def _do(self, message: StoreCommand, context: ActorContext) -> Any:
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
            case Remove():
                removals = self._removals(message)
                return self._committed(
                    await self._call(context, self._guarded, self._writer.write, (), removals)
                )
            case Compact():
                return await self._compact(message, context)
            case Verify():
                path = await self._call(context, self._writer.copy, message.name)
                return StoreCopy(path=path, registry=self._writer.registry)
            case Open():
                return None
            case NoteRebuilt():
                return await self._call(context, self._writer.note_rebuilt)
            case Condemn():
                raise self._condemned(message.reason)
            case _:
                assert_never(message)

    def _guarded(self, function: Callable[..., T], *args: Any) -> T:
        try:
            with self._timings.measured("commit"):
                done = function(*args)
        except StoreReadOnlyError as error:
            self._handle.trouble.failed(str(error))
            raise
        if not self._handle.over_limit:
            self._handle.trouble.is_over()
        return done

    async def _resume(self, context: ActorContext) -> None:
        """See whether the store can be written again. RocksDB takes no writes after some errors
        until it is opened anew; it is closed only when the disk is well."""
        handle = self._handle
        try:
            await self._keep_limits(context)
            await self._call(context, probe_disk, handle.path)
            if handle.writer is not None:
                try:
                    await self._call(context, self._writer.touch)
                except StoreReadOnlyError:
                    await self._close(context)
            if handle.writer is None:
                await self.initialize(context)
        except StoreReadOnlyError as error:
            handle.trouble.failed(str(error))
            return
        handle.trouble.looks_over()
        _log.info("store_resumed", store=handle.path)

    def _removals(self, message: Remove) -> list[CommitRemoval]:
        sets = self._writer.registry.sets
        return [
            CommitRemoval(path=path, base_version=one.version, tiers=one.tiers)
            for path in message.paths
            for one in sets.get(path, ())
            if message.tiers is None or one.tiers == message.tiers
        ]

    def _committed(self, done: Plan) -> CommitResult:
        self._commits += 1
        self._refused += len(done.refused)
        return CommitResult(generation=done.registry.generation, refused=done.refused)

    async def _compact(self, message: Compact, context: ActorContext) -> CompactResult:
        deleted = await self._vacuum(context, 0.0 if message.now else self._handle.retention)
        return CompactResult(segments_deleted=deleted, segments_kept=self._writer.garbage_segments)

    async def _vacuum(self, context: ActorContext, retention: float) -> int:
        before = time.time() - retention if retention else float("inf")
        vacuum, oldest_read = self._writer.vacuum, self._handle.oldest_read
        deleted: int = await self._call(context, self._guarded, vacuum, oldest_read, before)
        self._handle.vacuumed += deleted
        return deleted

    async def tick(self, context: ActorContext) -> None:
        if self._handle.is_parked:
            if time.time() >= self._oldest_garbage + self._handle.retention:
                await self._wake(context)
            return
        if self._writer.rocks.condemned:  # by a compaction, which this actor does not run
            raise self._condemned(self._writer.rocks.condemned)
        try:
            await self._look_after(context)
        except StoreDamagedError as error:
            self._end_if_condemned(error)
            raise
        if self._stores.is_surplus(self._handle) and not context.mailbox:
            await self._park(context)

    async def _park(self, context: ActorContext) -> None:
        """Close the store until somebody uses it, or what it dropped is to be deleted."""
        self._oldest_garbage = self._writer.oldest_garbage
        self._next_vacuum = 0.0
        self._handle.is_parked = True
        await self._close(context)
        _log.info("store_parked", store=self._handle.path)

    async def _wake(self, context: ActorContext) -> None:
        """Open the store if it is parked; what keeps it from that is told by its state: the disk's
        trouble as that of any write, anything else by the end of this actor."""
        handle = self._handle
        if not handle.is_parked:
            return
        try:
            await self.initialize(context)
        except StoreReadOnlyError as error:
            handle.is_parked = False
            handle.trouble.failed(str(error))
            raise
        except CoreError as error:
            _log.warning("store_not_opened", store=handle.path, reason=str(error))
            raise ActorExit(ExitStatus.FAILURE) from error

    async def _look_after(self, context: ActorContext) -> None:
        if self._handle.read_only:
            if self._handle.trouble.retry_is_due:
                await self._resume(context)
        elif anyio.current_time() >= self._next_vacuum:
            self._next_vacuum = anyio.current_time() + _VACUUM_INTERVAL
            if self._writer.garbage_segments:
                await self._vacuum(context, self._handle.retention)
            try:
                await self._keep_limits(context)
            except StoreReadOnlyError as error:
                self._handle.trouble.failed(str(error))

    async def _keep_limits(self, context: ActorContext) -> None:
        """Delete what was dropped, whatever its age, where a limit is passed.

        :raises StoreReadOnlyError: it is passed.
        """
        handle = self._handle
        reason = await self._call(context, over_limit, handle.limits)
        handle.over_limit = bool(reason)
        if not reason:
            return
        if handle.writer is not None and self._writer.garbage_segments:
            await self._vacuum(context, 0.0)
            handle.reclaim_wanted = True
        raise StoreReadOnlyError(reason)

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        if self._handle.writer is None:
            return
        await self._close(context)
        _log.info("store_closed", store=self._handle.path, status=status.value)

    async def _close(self, context: ActorContext) -> None:
        writer, self._handle.writer = self._writer, None
        self._stores.closed(self._handle)
        if self._handle.reclaiming:
            await self._call(context, writer.rocks.interrupt)
        with context.protect():
            await self._handle.wait_unread()
        try:
            await self._call(context, writer.close)
        except CoreError as error:
            # What could not be flushed is in the log, or nobody will read it.
            _log.warning("store_closed_badly", store=self._handle.path, reason=str(error))

    def observe(self) -> dict[str, object]:
        writer = self._handle.writer
        return {
            "commits": self._commits,
            "commits_refused": self._refused,
            "generation": writer.registry.generation if writer else None,
            "traces": len(writer.registry.traces) if writer else None,
            "garbage_segments": writer.garbage_segments if writer else None,
            "read_only": self._handle.read_only,
            "rebuilding": self._handle.rebuilding,
            "repairs": self._handle.damage.repairs,
            "verifying": self._handle.verifying,
        }
