"""One watched root: its store, its scheduler and its watcher, each under a supervisor."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import anyio.to_thread
from msgspec.structs import replace

from dftindexd.actors.actor import Quit, Shutdown
from dftindexd.actors.commands import StoreCopy, Verify
from dftindexd.actors.dispatcher import Dispatcher
from dftindexd.actors.errors import ActorError, MailboxClosedError
from dftindexd.actors.events import EventBus, RootEvents
from dftindexd.actors.file_systems import backend_of
from dftindexd.actors.holding import Hold
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.open_stores import OpenStores, in_use
from dftindexd.actors.parser_pool import ParserPool
from dftindexd.actors.progress import Progress
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.root_state import RootState
from dftindexd.actors.scheduler import RootScheduler
from dftindexd.actors.store import StoreActor
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.actors.supervisor import RestartPolicy, Supervisor
from dftindexd.actors.tickets import Leave, Merge, Ticket
from dftindexd.actors.timings import Timings
from dftindexd.actors.watch_state import WatchState
from dftindexd.actors.watcher import Watcher
from dftindexd.index.errors import NotWatchedError, StoreDamagedError
from dftindexd.index.model import TraceRecord
from dftindexd.index.store.disk_use import SizeLimit
from dftindexd.index.store.registry import records_below

if TYPE_CHECKING:
    from dftindexd.actors.verification import Verification

__all__ = ("PATIENCE_SECONDS", "Root")

#: How long an answer waits for damage to be rebuilt before it is an error.
PATIENCE_SECONDS = 10.0

_STORE_CAPACITY = 16
_SCHEDULER_CAPACITY = 64

#: A watch may be impossible for hours (a limit of the kernel, a root that comes and goes); scans go
#: on meanwhile, so that it is tried for ever.
_WATCH_RESTARTS = RestartPolicy(max_restarts=1000, longest_delay=30.0)


class Root:
    """A root and the actors that keep its store equal to the disk."""

    def __init__(
        self,
        path: bytes,
        store_path: str,
        options: RootOptions,
        *,
        owner: str,
        pool: ParserPool,
        stores: OpenStores,
        dispatcher: Dispatcher,
        events: EventBus,
        tasks: anyio.abc.TaskGroup,
        timings: Timings | None = None,
        device: int | None = None,
    ) -> None:
        """Prepare; nothing runs before ``start``. *device* is that on which the root lay last."""
        self.path = path
        self.store_path = store_path
        self.options = options
        self.handle = StoreHandle(
            store_path,
            os.fsdecode(path),
            owner,
            options.tiers,
            retention=options.retention_seconds,
            limits=_limits(store_path, options),
        )
        self.state = self._new_state(device)
        self.gone_since: float | None = None
        """Since when (seconds since 1970) the root is known to be deleted."""
        self.store = Mailbox(f"store:{os.fsdecode(path)}", _STORE_CAPACITY)
        self._pool = pool
        self._dispatcher = dispatcher
        self._events = RootEvents(events, path)
        self.progress = Progress()
        self._tasks = tasks
        self._scheduler = Mailbox(f"scheduler:{os.fsdecode(path)}", _SCHEDULER_CAPACITY)
        self._watcher = Mailbox(f"watcher:{os.fsdecode(path)}", 1)
        self._store_supervisor = Supervisor(
            self.store.name, lambda: StoreActor(self.handle, stores, timings), self.store
        )
        self._scheduler_supervisor = Supervisor(
            self._scheduler.name, self._new_scheduler, self._scheduler
        )
        self.watch = WatchState("inotify", options.rescan_seconds, options.poll_seconds)
        self._watcher_supervisor = Supervisor(
            self._watcher.name, self._new_watcher, self._watcher, policy=_WATCH_RESTARTS
        )
        self.supervisors = [self._store_supervisor, self._scheduler_supervisor]
        self._started: list[Supervisor] = []
        self._verifying = anyio.Lock()
        self.taking = anyio.Lock()
        """Is held by whoever takes in what others read of the root's traces."""
        if options.follow:
            self.supervisors.append(self._watcher_supervisor)

    def adopt(self, options: RootOptions) -> bool:
        """Follow *options* from now on, if they differ in times and limits alone; return whether
        they do. Anything else takes another root in place of this one."""
        if options != replace(
            self.options,
            settle_seconds=options.settle_seconds,
            retention_seconds=options.retention_seconds,
            store_limit_bytes=options.store_limit_bytes,
            state_limit_bytes=options.state_limit_bytes,
            poll_seconds=options.poll_seconds,
        ):
            return False
        self.options = options
        self.state.settle_seconds = options.settle_seconds
        self.handle.retention = options.retention_seconds
        self.handle.limits = _limits(self.store_path, options)
        self.watch.poll_seconds = options.poll_seconds
        return True

    def _new_state(self, device: int | None) -> RootState:
        options = self.options
        state = RootState(tiers=options.tiers, settle_seconds=options.settle_seconds)
        state.device = device
        return state

    def _new_watcher(self) -> Watcher:
        return Watcher(
            self.path,
            self._scheduler,
            self._tasks,
            self.watch,
            backend=self.options.backend,
            rules=self.options.rules,
        )

    def _new_scheduler(self) -> RootScheduler:
        self.state = self._new_state(self.state.device)
        return RootScheduler(
            self.path,
            self.options,
            state=self.state,
            watch=self.watch,
            handle=self.handle,
            store=self.store,
            pool=self._pool,
            dispatcher=self._dispatcher,
            events=self._events,
            progress=self.progress,
            tasks=self._tasks,
        )

    async def start(self) -> None:
        """Open the store and begin to index; if one actor cannot start, the others are ended.

        :raises PseudoFileSystemError: no traces can lie there.
        """
        if self.options.follow:
            self.watch.backend = await anyio.to_thread.run_sync(
                backend_of, self.path, self.options.backend
            )
        try:
            for supervisor in self.supervisors:
                await self._tasks.start(supervisor.run)
                self._started.append(supervisor)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise

    async def close(self) -> None:
        """End all its actors in order."""
        await self.stop_indexing()
        await self.close_store()

    async def stop_indexing(self) -> None:
        """End watcher and scheduler; what workers were doing for this root is dropped."""
        for supervisor in (self._watcher_supervisor, self._scheduler_supervisor):
            if supervisor in self._started:
                await _end(supervisor.mailbox)

    async def close_store(self) -> None:
        """Have the store finish what it was given, and close it."""
        if self.store.closed or self._store_supervisor not in self._started:
            return
        try:
            await self.store.ask(Shutdown())
        except MailboxClosedError:
            # The actor was cancelled meanwhile, and has closed the store on its way out.
            return

    def covers(self, path: bytes) -> bool:
        """Return whether *path* is the root or lies below it."""
        return path == self.path or path.startswith(self.path.rstrip(b"/") + b"/")

    def shows(self, path: bytes) -> bool:
        """Return whether the root has traces below the directory *path* that lies in it."""
        return self.options.rules.enters(self.relative(path))

    def relative(self, path: bytes) -> bytes:
        """Return *path* relative to the root, ``b""`` for the root itself.

        :raises NotWatchedError: it does not lie below the root.
        """
        if not self.covers(path):
            raise NotWatchedError(f"{os.fsdecode(path)} is not below {os.fsdecode(self.path)}")
        return path[len(self.path) :].lstrip(b"/")

    def in_use(self) -> AbstractAsyncContextManager[None]:
        """Have the store open for as long as the context lasts.

        :raises CoreError: it cannot be opened now.
        """
        return in_use(self.handle, self.store)

    def note_damage(self, error: StoreDamagedError) -> bool:
        """Take in that an answer met damage; return whether it is known whose that is, and thus
        rebuilt."""
        self.handle.damage.note(error.segments, error.message, self.handle.registry.sets)
        return bool(error.segments)

    async def until_whole(self, path: bytes) -> None:
        """Wait until what is damaged at or below *path* is rebuilt, for as long as an answer may
        wait for it.

        :raises StoreDamagedError: that takes longer.
        """
        with anyio.move_on_after(PATIENCE_SECONDS):
            while True:
                await self.handle.wait_known()
                life = self.handle.lives
                ticket = await self.leave_ticket(path)
                await ticket.wait()
                if self.handle.is_known and self.handle.lives == life:
                    return
        left = self.state.queued + len(self.state.in_flight)
        raise StoreDamagedError(
            self.handle.rebuilding or f"traces below {os.fsdecode(path)} are damaged",
            f"{left} traces are being rebuilt from disk; dftindexd-client sync waits for them",
        )

    async def verify(self, path: bytes, *, sample: int) -> Verification:
        """Verify the traces at or below *path*, of which so many are parsed again; what is damaged
        is rebuilt. Only one verification of a root runs at a time."""
        # Late: it takes all that reads tiers, and whoever only indexes never verifies.
        from dftindexd.actors.verification import verify

        async with self._verifying, self.in_use():
            return await verify(
                self.path,
                self.relative(path),
                self.handle,
                self.store,
                self._pool.mailbox,
                self._dispatcher,
                sample=sample,
            )

    async def back_up(self) -> StoreCopy:
        """Have the store make a copy of itself; whoever asks deletes it."""
        from dftindexd.actors.verification import copy_name

        return await self.store.ask(Verify(name=copy_name("backup")))

    def records(self, path: bytes) -> list[TraceRecord]:
        """Return the shown record of each trace at or below *path*, at the last generation."""
        return records_below(self.handle.registry, self.relative(path))

    async def hold(self, names: tuple[bytes, ...], seconds: float) -> None:
        """Leave the traces *names*, relative to the root, to others for *seconds* from now on; with
        none of them, index what they lack."""
        await self._scheduler.ask(Hold(paths=names, seconds=seconds))

    async def note_taken(self, names: tuple[bytes, ...]) -> None:
        """Take in that what others read of the traces *names* was committed."""
        registry = self.handle.registry
        for name in names:
            self._events.committed(name, registry.traces.get(name), registry.generation)
        await self.hold(names, 0.0)

    async def merge(self) -> None:
        """Have traces whose index is in many pieces merged, when nothing else is to do."""
        await self._scheduler.ask(Merge())

    async def leave_ticket(
        self, path: bytes, *, until_finished: bool = False, force: bool = False
    ) -> Ticket:
        """Ask for all at or below *path* to be indexed as it is on disk now, and return at once;
        ``await ticket.wait()`` waits for it."""
        ticket = Ticket(self.relative(path), until_finished=until_finished, force=force)
        await self._scheduler.ask(Leave(ticket))
        return ticket


def _limits(store_path: str, options: RootOptions) -> tuple[SizeLimit, ...]:
    limits = []
    if options.store_limit_bytes is not None:
        what = f"the store {store_path}"
        limits.append(SizeLimit(store_path, options.store_limit_bytes, what, "--store-limit"))
    if options.state_limit_bytes is not None:
        folder = os.path.dirname(store_path)
        what = f"all in {folder}"
        limits.append(SizeLimit(folder, options.state_limit_bytes, what, "--state-limit"))
    return tuple(limits)


async def _end(mailbox: Mailbox) -> None:
    """Ask the actor behind *mailbox* to end now; one that has ended already is fine."""
    if mailbox.closed:
        return
    try:
        await mailbox.ask_control(Quit())
    except ActorError:
        mailbox.close()
