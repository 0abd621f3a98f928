"""The engine: every actor of one state directory, started and ended in order.

The daemon runs one with watchers; embedded use runs one without. Reads take a view of a store and
run in threads, so that they never hold up the actors.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread

from dftindexd.actors.commands import Compact, CompactResult
from dftindexd.actors.configuring import refuse_configured
from dftindexd.actors.dispatcher import Dispatcher
from dftindexd.actors.ending import end_all
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.events import EventBus
from dftindexd.actors.gone_roots import GoneRoots
from dftindexd.actors.kernel_compiler import KernelCompiler
from dftindexd.actors.log import get_log
from dftindexd.actors.open_stores import OpenStores
from dftindexd.actors.parser_pool import ParserPool
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.state_dir import StateDir, WatchSettings
from dftindexd.actors.store_handle import StoreView
from dftindexd.actors.supervisor import Supervisor
from dftindexd.actors.timings import Timings
from dftindexd.actors.worker_process import ForkServer
from dftindexd.index.errors import CoreError, NotWatchedError, StoreDamagedError
from dftindexd.index.query.given_up import given_up_by
from dftindexd.index.store.disposal import delete_store

__all__ = ("Engine", "open_engine")

T = TypeVar("T")

_log = get_log(__name__)

_READ_THREADS = 4
_FIRST_RETRY_SECONDS = 2.0
_LONGEST_RETRY_SECONDS = 300.0
_GONE_LOOK_SECONDS = 60.0
#: How often an answer waits for damage to be rebuilt: every family of rows may have some.
_MOST_REBUILDS = 8


class Engine:
    """All roots of a state directory; made by :func:`open_engine`."""

    def __init__(
        self,
        options: EngineOptions,
        state_dir: StateDir,
        tasks: anyio.abc.TaskGroup,
        fork_server: ForkServer,
    ) -> None:
        self.options = options
        self.state_dir = state_dir
        self.roots: dict[bytes, Root] = {}
        self.defaults = options.root
        """How roots are indexed where nothing else is said of them."""
        self.configured = dict(options.configured)
        """The roots that the configuration names, also those that failed, and how."""
        self.settings: dict[bytes, WatchSettings] = {}
        """The roots that are watched across restarts, also those that failed, and how."""
        self.failed_roots: dict[bytes, str] = {}
        """Roots that could not be opened at the start, with the reason."""
        self.timings = Timings()
        self.pool = ParserPool(
            options.workers,
            fork_server,
            stall_seconds=options.stall_seconds,
            timings=self.timings,
        )
        self._dispatcher = Dispatcher(options.workers, options.memory_budget)
        self.kernel = KernelCompiler()
        self.events = EventBus()
        self.stores = OpenStores(options.open_stores)
        self._gone = GoneRoots(state_dir.path, options.gone_seconds)
        self._tasks = tasks
        self._readers = anyio.CapacityLimiter(_READ_THREADS)
        self._roots_lock = anyio.Lock()

    async def _start(self) -> None:
        await self.pool.start(self._tasks)
        self._tasks.start_soon(self.kernel.run)
        self._tasks.start_soon(self._try_failed_roots)

    async def _stop(self) -> None:
        """End watchers and schedulers first, then the workers, then the stores with what they were
        given."""
        roots = list(self.roots.values())
        await end_all(root.stop_indexing for root in roots)
        await self.pool.stop()
        await end_all(root.close_store for root in roots)

    # -- roots --------------------------------------------------------------------------------

    async def add_root(
        self, path: bytes, *, options: RootOptions | None = None, store_path: str | None = None
    ) -> Root:
        """Open the store of *path* and index it; a root that is there already is returned.

        :raises CoreError: the store cannot be opened; nothing is left running.
        """
        async with self._roots_lock:
            return await self._add_root(path, options, store_path)

    async def _add_root(
        self, path: bytes, options: RootOptions | None = None, store_path: str | None = None
    ) -> Root:
        if path in self.roots:
            return self.roots[path]
        root = self._new_root(path, options, store_path)
        await root.start()
        self.roots[path] = root
        return root

    def _new_root(
        self, path: bytes, options: RootOptions | None = None, store_path: str | None = None
    ) -> Root:
        return Root(
            path,
            store_path or self.state_dir.store_path(path),
            options or self._options_of(path),
            owner=self.options.owner,
            pool=self.pool,
            stores=self.stores,
            device=self._gone.device_of(path),
            dispatcher=self._dispatcher,
            events=self.events,
            tasks=self._tasks,
            timings=self.timings,
        )

    def _options_of(self, path: bytes) -> RootOptions:
        settings = self.configured.get(path) or self.settings.get(path, WatchSettings())
        return settings.applied(self.defaults)

    async def watch(self, path: bytes, settings: WatchSettings | None = None) -> tuple[Root, bool]:
        """Watch *path* from now on, also after a restart; return its root and whether it is new.

        What a root shows already needs no root of its own, unless it is given *settings*. A root
        that is there takes *settings* in place of what it had.

        :raises CoreError: it cannot be watched; it is then not remembered, unless it was.
        """
        if settings is not None:
            refuse_configured(path, self.configured)
        async with self._roots_lock:  # else two who ask at once may both find no root
            return await self._watch(path, settings)

    async def _watch(self, path: bytes, settings: WatchSettings | None) -> tuple[Root, bool]:
        covering = self.find_root(path)
        if covering is not None and covering.path == path:
            if settings is None or settings == self.settings.get(path, WatchSettings()):
                return covering, False
            return await self._watch_anew(path, settings), False
        if covering is not None and settings is None and covering.shows(path):
            return covering, False
        before = self.settings.get(path)
        self.settings[path] = settings or before or WatchSettings()
        try:
            root = await self._add_root(path)
        except BaseException:
            if before is None:
                del self.settings[path]
            else:
                self.settings[path] = before
            raise
        self.failed_roots.pop(path, None)
        self.state_dir.save_roots(self.settings)
        return root, True

    async def _watch_anew(self, path: bytes, settings: WatchSettings) -> Root:
        """Have a root follow other *settings*; its store stays."""
        self.settings[path] = settings
        self.state_dir.save_roots(self.settings)
        return await self._reopen(path)

    async def _reopen(self, path: bytes) -> Root:
        await self.roots.pop(path).close()
        root = self._new_root(path)
        try:
            await root.start()
        except CoreError as error:
            self.failed_roots[path] = str(error)
            raise
        self.roots[path] = root
        return root

    async def follow_settings(self, path: bytes) -> None:
        """Have the root *path* follow what is said of it now: it is opened if it is not there, and
        closed and opened again if it cannot take its other options over as it is. Where that fails
        it is kept, with its error."""
        async with self._roots_lock:
            root = self.roots.get(path)
            if root is None:
                self.failed_roots.pop(path, None)
                await self._tolerant(path, self._add_root)
            elif not root.adopt(self._options_of(path)):
                _log.info("root_reopened", root=os.fsdecode(path))
                await self._tolerant(path, self._reopen)

    async def drop_root(self, path: bytes) -> None:
        """End the root *path*, whose store stays."""
        async with self._roots_lock:
            self.failed_roots.pop(path, None)
            root = self.roots.pop(path, None)
            if root is not None:
                await root.close()

    async def _tolerant(self, path: bytes, opening: Callable[[bytes], Awaitable[Root]]) -> None:
        try:
            await opening(path)
        except CoreError as error:
            _log.error("root_failed", root=os.fsdecode(path), reason=str(error))
            self.failed_roots[path] = str(error)

    async def unwatch(self, path: bytes, *, purge: bool) -> Root:
        """Stop watching the root *path*; *purge* deletes its store, and those set aside for it.

        A root that could not be opened is forgotten; its store is not known to be ours and stays.

        :raises NotWatchedError: no such root.
        :raises ConfiguredRootError: the configuration names it.
        """
        async with self._roots_lock:
            refuse_configured(path, self.configured)
            if path in self.failed_roots:
                return self._forget_failed(path, purge=purge)
            root = self.roots.pop(path, None)
            if root is None:
                raise NotWatchedError(
                    f"{os.fsdecode(path)} is not a watched root",
                    "dftindexd-client status lists the roots",
                )
            self.settings.pop(path, None)
            self.state_dir.save_roots(self.settings)
            await root.close()
            if purge:
                await anyio.to_thread.run_sync(delete_store, root.store_path)
        return root

    def _forget_failed(self, path: bytes, *, purge: bool) -> Root:
        root = self._new_root(path)
        if purge:
            raise CoreError(
                f"the store of {os.fsdecode(path)} could not be opened and is not deleted",
                f"unwatch without --purge, then look at {root.store_path}",
            )
        del self.failed_roots[path]
        self.settings.pop(path, None)
        self.state_dir.save_roots(self.settings)
        return root

    async def restore_roots(self) -> None:
        """Open every root that was watched before or is configured; one that cannot be opened is
        kept, with its error, and does not stop the others."""
        self.settings = self.state_dir.load_roots()
        for path in {**self.settings, **self.configured}:
            await self._tolerant(path, self.add_root)
        # Not before: unwatching saves the roots that there are.
        self._tasks.start_soon(self._unwatch_gone_roots)

    async def _try_failed_roots(self) -> None:
        """Try roots that could not be opened again and again: a disk may be well later."""
        wait = _FIRST_RETRY_SECONDS
        while True:
            await anyio.sleep(wait)
            if not self.failed_roots:
                wait = _FIRST_RETRY_SECONDS
                continue
            for path in list(self.failed_roots):
                await self._try_again(path)
            wait = min(2 * wait, _LONGEST_RETRY_SECONDS)

    async def _unwatch_gone_roots(self) -> None:
        """Unwatch roots that were deleted long ago, and delete their stores."""
        while True:
            await anyio.sleep(_GONE_LOOK_SECONDS)
            followed = [
                root
                for root in self.roots.values()
                if root.options.follow and root.path not in self.configured
            ]
            try:
                for path in await self._gone.look(followed, {*self.roots, *self.failed_roots}):
                    root = await self.unwatch(path, purge=True)
                    _log.warning(
                        "gone_root_unwatched", root=os.fsdecode(path), store=root.store_path
                    )
            except CoreError as error:
                _log.error("gone_roots_kept", reason=str(error))

    async def _try_again(self, path: bytes) -> None:
        async with self._roots_lock:
            if path not in self.failed_roots:
                return
            root = self._new_root(path)
            try:
                await root.start()
            except CoreError as error:
                self.failed_roots[path] = str(error)
                return
            self.roots[path] = root
            del self.failed_roots[path]
        _log.info("root_opened", root=os.fsdecode(path))

    def find_root(self, path: bytes) -> Root | None:
        """Return the root that *path* is or lies below, the innermost if several."""
        candidates = [root for root in self.roots.values() if root.covers(path)]
        return max(candidates, key=lambda root: len(root.path), default=None)

    def inside(self, root: Root) -> list[bytes]:
        """Return what other roots are of below *root*, relative to it: there they answer."""
        return [
            root.relative(other)
            for other in self.roots
            if other != root.path and root.covers(other)
        ]

    def root_of(self, path: bytes) -> Root:
        """Return the root that covers *path*.

        :raises NotWatchedError: there is none.
        """
        root = self.find_root(path)
        if root is None:
            raise NotWatchedError(
                f"no watched root holds {os.fsdecode(path)}",
                f"run dftindexd-client watch {os.fsdecode(path)}",
            )
        return root

    # -- reading ------------------------------------------------------------------------------

    async def read(self, root: Root, function: Callable[[StoreView], T]) -> tuple[int, T]:
        """Run *function* in a thread on the store of *root*; return the generation it saw too. One
        that is cancelled ends at the next step of the query."""

        def run(view: StoreView) -> T:
            with given_up_by(anyio.from_thread.check_cancelled):
                return function(view)

        async with root.in_use():
            with root.handle.view() as view:
                answer = await anyio.to_thread.run_sync(run, view, limiter=self._readers)
                return view.registry.generation, answer

    async def answer(
        self, root: Root, below: bytes, function: Callable[[StoreView], T]
    ) -> tuple[int, T]:
        """As :meth:`read`, for traces at or below the absolute path *below*: what *function* finds
        damaged there is rebuilt first, so that no answer is short of it.

        :raises StoreDamagedError: that takes too long, or it is not known what is damaged.
        """
        if root.handle.rebuilding:
            await root.until_whole(below)
        for _ in range(_MOST_REBUILDS):
            try:
                return await self.read(root, function)
            except StoreDamagedError as error:
                _log.warning("damage_met", root=os.fsdecode(root.path), reason=str(error))
                if not root.note_damage(error):
                    raise
            await root.until_whole(below)
        return await self.read(root, function)

    async def compact(self, root: Root, *, now: bool = False) -> CompactResult:
        """Have the store of *root* delete what nobody reads and give the room back; *now* deletes
        also what is within its retention."""
        await root.merge()
        async with root.in_use():
            result = await root.store.ask(Compact(now=now))
            await root.handle.reclaim()
        return result

    def slow_workers(self) -> list[str]:
        """Return for each worker that does not use the kernel, though it is there, why."""
        return self.pool.without_kernel(self.kernel.ready_at)

    def supervisors(self) -> Sequence[Supervisor]:
        """Every supervisor, for status and health."""
        return [
            *self.pool.supervisors,
            *(supervisor for root in self.roots.values() for supervisor in root.supervisors),
        ]


@asynccontextmanager
async def open_engine(
    options: EngineOptions, fork_server: ForkServer | None = None
) -> AsyncIterator[Engine]:
    """Run an engine for as long as the context lasts; its end is orderly, also when cancelled.

    *fork_server*, started before, makes its parser workers; it is ended with the engine.

    :raises StoreLockedError: another process works in the state directory.
    """
    state_dir = StateDir(options.state_dir, options.owner)
    failure: Exception | None = None
    server = fork_server or ForkServer(options.niceness)
    try:
        async with anyio.create_task_group() as tasks:
            engine = Engine(options, state_dir, tasks, server)
            try:
                await engine._start()
                yield engine
            except Exception as error:  # noqa: BLE001 - raised below, outside of any group
                failure = error
            finally:
                with anyio.CancelScope(shield=True):
                    await engine._stop()
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
    finally:
        server.end()
        state_dir.close()
