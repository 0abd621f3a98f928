"""The watcher of one root: it passes on what the kernel says, as hints.

Hints may be late, doubled or lost; the scheduler's looks are the truth. Each watch begins with the
hint to look at everything, and so does whatever follows lost events. Where the kernel has no room
for another watch, the root is polled and the watch tried again; any other failure ends the actor,
and the supervisor starts another. The same happens when the root was deleted and made anew, since
the kernel watches the old one for ever.
"""

from __future__ import annotations

import os

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.children import ChildFailed, Children
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.file_systems import WantedBackend, backend_of
from dftindexd.actors.inotify import Event, Inotify, limit_named
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.watch_state import WatchState
from dftindexd.actors.watched_tree import WatchedTree
from dftindexd.index.trace_rules import TraceRules

__all__ = ("Hint", "WatchFailedError", "Watcher")

_log = get_log(__name__)

#: Changes come in bursts: what follows within a step is told with them, up to the whole time.
_STEP_SECONDS = 0.01
_MOST_SECONDS = 0.05
_ROOT_CHECK_SECONDS = 1.0
#: How long a root is polled before the kernel is asked for watches again.
RETRY_SECONDS = 60.0


class Hint(msgspec.Struct, frozen=True):
    """Something may have changed at these paths (relative to the root); ``None``: anywhere."""

    paths: frozenset[bytes] | None = None


class WatchFailedError(Exception):
    """The kernel gave the watch up."""


class Watcher(Actor):
    """Watches *root* by inotify, where *backend* has it so, and sends :class:`Hint` messages to
    *scheduler*.

    *state* is told when the kernel has no room for another watch, and when it has again.
    """

    tick_interval = _ROOT_CHECK_SECONDS

    def __init__(
        self,
        root: bytes,
        scheduler: Mailbox,
        tasks: anyio.abc.TaskGroup,
        state: WatchState,
        *,
        backend: WantedBackend,
        rules: TraceRules,
    ) -> None:
        self.name = f"watcher:{os.fsdecode(root)}"
        self._root = root
        self._scheduler = scheduler
        self._children = Children(tasks)
        self._state = state
        self._backend = backend
        self._rules = rules
        self._inode: tuple[int, int] | None = None
        self._local = False
        self._hints = 0
        self._directories = 0
        self._begun_anew = 0

    async def initialize(self, context: ActorContext) -> None:
        # Another file system may have been mounted there.
        self._state.backend = await anyio.to_thread.run_sync(backend_of, self._root, self._backend)
        self._state.reason = ""
        self._local = self._state.backend == "inotify"
        if not self._local:
            return
        self._inode = _inode(self._root)
        if self._inode is None:
            await self._scheduler.tell(Hint())
        else:
            self._children.start(self._watch, f"{self.name}:watch", context.mailbox)

    async def _watch(self) -> None:
        while True:
            try:
                await self._watch_once()
            except OSError as error:
                limit = limit_named(error)
                if limit is None:
                    raise WatchFailedError(
                        f"watching {os.fsdecode(self._root)} failed: {error.strerror}"
                    ) from error
                self._poll_because(limit)
            await self._scheduler.tell(Hint())
            await anyio.sleep(RETRY_SECONDS)

    def _poll_because(self, limit: str) -> None:
        if not self._state.reason:
            _log.warning("watches_used_up", root=os.fsdecode(self._root), limit=limit)
        self._directories = 0
        self._state.backend = "poll"
        self._state.reason = (
            f"the kernel's limit {limit} is reached; the root is looked at every "
            f"{self._state.interval:g} s instead until there is room; raise {limit}"
        )

    async def _watch_once(self) -> None:
        kernel = Inotify()
        try:
            tree = WatchedTree(self._root, self._rules, kernel)
            await anyio.to_thread.run_sync(tree.cover_anew, abandon_on_cancel=True)
            self._directories = len(tree)
            self._state.backend, self._state.reason = "inotify", ""
            # What happened before the kernel watched was not told.
            await self._scheduler.tell(Hint())
            while True:
                await self._pass_on(tree, await _burst(kernel))
        finally:
            kernel.close()

    async def _pass_on(self, tree: WatchedTree, events: list[Event]) -> None:
        told = tree.take(events)
        if told.root_gone:
            raise self._replaced()
        if told.anywhere:
            self._begun_anew += 1
            await anyio.to_thread.run_sync(tree.cover_anew, abandon_on_cancel=True)
        elif told.directories:
            directories = sorted(told.directories)
            await anyio.to_thread.run_sync(tree.cover, directories, abandon_on_cancel=True)
        self._directories = len(tree)
        if told:
            self._hints += 1
            await self._scheduler.tell(Hint(None if told.anywhere else frozenset(told.paths)))

    async def handle(self, message: ChildFailed, context: ActorContext) -> None:
        raise message.error

    async def tick(self, context: ActorContext) -> None:
        # Where it is polled, the looks tell; and a network file system may hold us here for long.
        if self._local and _inode(self._root) != self._inode:
            raise self._replaced()

    def _replaced(self) -> WatchFailedError:
        return WatchFailedError(f"{os.fsdecode(self._root)} is not the directory it was")

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        await self._children.cancel()

    def observe(self) -> dict[str, object]:
        return {
            "hints": self._hints,
            "directories": self._directories,
            "begun_anew": self._begun_anew,
        }


async def _burst(kernel: Inotify) -> list[Event]:
    """Wait for events and return them with those that follow at once."""
    await anyio.wait_readable(kernel.descriptor)
    events = kernel.read()
    deadline = anyio.current_time() + _MOST_SECONDS
    while anyio.current_time() < deadline:
        await anyio.sleep(_STEP_SECONDS)
        more = kernel.read()
        if not more:
            break
        events += more
    return events


def _inode(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
