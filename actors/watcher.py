"""The watcher of one root: it passes on what the file system says, as hints.

Hints may be late, doubled or lost; the scheduler's scans are the truth. A watch that fails ends its
actor, and the supervisor starts another, which begins with the hint to look at everything. The same
happens when the root was deleted and made anew, since the kernel watches the old one for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import anyio
import anyio.abc
import msgspec
import structlog
import watchfiles

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.children import Children
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.mailbox import Mailbox
from dftindexd.index.scan import is_trace_name

__all__ = ("Hint", "WatchFailedError", "Watcher", "hinted_paths")

_log = structlog.get_logger(__name__)

#: How long watchfiles may block before it looks at its stop event; a shutdown waits that long.
_RUST_TIMEOUT_MS = 500
_DEBOUNCE_MS = 50
_STEP_MS = 10
_ROOT_CHECK_SECONDS = 1.0


class Hint(msgspec.Struct, frozen=True):
    """Something may have changed at these paths (relative to the root); ``None``: anywhere."""

    paths: frozenset[bytes] | None = None


class _Failed(msgspec.Struct, frozen=True):
    reason: str


class WatchFailedError(Exception):
    """The kernel or watchfiles gave the watch up."""


def hinted_paths(root: bytes, changes: set[tuple[watchfiles.Change, str]]) -> frozenset[bytes]:
    """Return the paths relative to *root* that *changes* speak of.

    A change of anything but a trace may be one of a directory; only added ones tell that there is
    something to look at, and removed ones that something has gone.
    """
    prefix = root.rstrip(b"/") + b"/"
    paths = set()
    for change, name in changes:
        path = os.fsencode(name)
        if not path.startswith(prefix):
            continue
        if is_trace_name(path) or change is not watchfiles.Change.modified:
            paths.add(path[len(prefix) :])
    return frozenset(paths)


class Watcher(Actor):
    """Watches *root* by inotify and sends :class:`Hint` messages to *scheduler*."""

    tick_interval = _ROOT_CHECK_SECONDS

    def __init__(self, root: bytes, scheduler: Mailbox, tasks: anyio.abc.TaskGroup) -> None:
        self.name = f"watcher:{os.fsdecode(root)}"
        self._root = root
        self._scheduler = scheduler
        self._children = Children(tasks)
        self._stop = anyio.Event()
        self._inode: tuple[int, int] | None = None
        self._hints = 0

    async def initialize(self, context: ActorContext) -> None:
        self._inode = _inode(self._root)
        if self._inode is not None:
            report = context.mailbox.tell_control
            self._children.start(lambda: self._watch(report), name=self.name)
        await self._scheduler.tell(Hint())

    async def _watch(self, report: Callable[[object], None]) -> None:
        try:
            async for changes in watchfiles.awatch(
                self._root.decode(errors="surrogateescape"),
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                rust_timeout=_RUST_TIMEOUT_MS,
                stop_event=self._stop,
                ignore_permission_denied=True,
            ):
                paths = hinted_paths(self._root, changes)
                if paths:
                    self._hints += 1
                    await self._scheduler.tell(Hint(paths))
        except (OSError, RuntimeError) as error:
            report(_Failed(f"{type(error).__name__}: {error}"))

    async def handle(self, message: _Failed, context: ActorContext) -> None:
        raise WatchFailedError(
            f"watching {os.fsdecode(self._root)} failed: {message.reason}; "
            "if a limit was reached, raise fs.inotify.max_user_watches"
        )

    async def tick(self, context: ActorContext) -> None:
        if _inode(self._root) != self._inode:
            raise WatchFailedError(f"{os.fsdecode(self._root)} is not the directory it was")

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        self._stop.set()
        await self._children.cancel()

    def observe(self) -> dict[str, object]:
        return {"hints": self._hints, "watching": self._inode is not None}


def _inode(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
