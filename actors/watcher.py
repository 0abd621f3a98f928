"""The watcher of one root: it passes on what the file system says, as hints.

Hints may be late, doubled or lost; the scheduler's scans are the truth. A watch that fails ends its
actor, and the supervisor starts another, which begins with the hint to look at everything. The same
happens when the root was deleted and made anew, since the kernel watches the old one for ever. Only
a name that is not UTF-8, which ends any watch of watchfiles, is no failure: the watch begins again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.abc
import msgspec
import watchfiles

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.children import ChildFailed, Children
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.index.scan import is_trace_name

__all__ = ("Hint", "WatchFailedError", "Watcher", "hinted_paths")

_log = get_log(__name__)

#: How long watchfiles may block before it looks at its stop event; a shutdown waits that long.
_RUST_TIMEOUT_MS = 500
_DEBOUNCE_MS = 50
_STEP_MS = 10
_ROOT_CHECK_SECONDS = 1.0
#: How long a watch rests that a name ended: files of such names may be written all the time.
_NAME_PAUSE_SECONDS = 0.25
#: How watchfiles begins to say that a name is not UTF-8.
_UNDECODABLE = "Unable to decode path"


class Hint(msgspec.Struct, frozen=True):
    """Something may have changed at these paths (relative to the root); ``None``: anywhere."""

    paths: frozenset[bytes] | None = None


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
            self._children.start(self._watch, f"{self.name}:watch", context.mailbox)
        await self._scheduler.tell(Hint())

    async def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                await self._pass_on_changes()
            except* (OSError, RuntimeError) as group:
                failures = [error for error in leaves(group) if not _is_about_a_name(error)]
            else:
                return
            if failures:
                reasons = "; ".join(f"{type(why).__name__}: {why}" for why in failures)
                raise WatchFailedError(
                    f"watching {os.fsdecode(self._root)} failed: {reasons}; "
                    "if a limit was reached, raise fs.inotify.max_user_watches"
                )
            await anyio.sleep(_NAME_PAUSE_SECONDS)

    async def _pass_on_changes(self) -> None:
        begun = False
        with _utf8_name(self._root) as name:
            async for changes in watchfiles.awatch(
                name,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                rust_timeout=_RUST_TIMEOUT_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                ignore_permission_denied=True,
            ):
                # The number of its inode is no sign of it: the next directory may get the same.
                if (watchfiles.Change.deleted, name) in changes:
                    raise self._replaced()
                paths = hinted_paths(name.encode(), changes)
                if not begun:
                    # What happened before the kernel watched was not told.
                    await self._scheduler.tell(Hint())
                elif paths:
                    await self._scheduler.tell(Hint(paths))
                begun = True
                self._hints += bool(paths)

    async def handle(self, message: ChildFailed, context: ActorContext) -> None:
        raise message.error

    async def tick(self, context: ActorContext) -> None:
        if _inode(self._root) != self._inode:
            raise self._replaced()

    def _replaced(self) -> WatchFailedError:
        return WatchFailedError(f"{os.fsdecode(self._root)} is not the directory it was")

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        self._stop.set()
        await self._children.cancel()

    def observe(self) -> dict[str, object]:
        return {"hints": self._hints, "watching": self._inode is not None}


def leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """Return the exceptions of *group* and of the groups in it."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


@contextmanager
def _utf8_name(directory: bytes) -> Iterator[str]:
    """Give a name of *directory* that watchfiles takes: it takes only those in UTF-8."""
    if _is_utf8(directory):
        yield directory.decode()
    else:
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_about_a_name(error: Exception) -> bool:
    return str(error).startswith(_UNDECODABLE)


def _inode(path: bytes) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
