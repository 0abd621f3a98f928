"""Tasks that belong to an actor but run beside it: they report by messages and end with it.

One that fails tells its actor by :class:`ChildFailed`, ahead of all data; the task group it runs in
belongs to everybody and never sees the exception.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc
import msgspec

from dftindexd.actors.errors import MailboxClosedError
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox

__all__ = ("ChildFailed", "Children")


_log = get_log(__name__)


class ChildFailed(msgspec.Struct, frozen=True):
    """A child ended with an exception. The actor raises it, unless it knows better."""

    name: str
    error: Exception


class _Child:
    """One child's scope, and whether it has ended."""

    __slots__ = ("ended", "scope")

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()


class Children:
    """The child tasks of one actor, run in a task group that outlives it.

    An actor's hooks cannot hold a task group of their own open from ``initialize`` to ``finalize``,
    since the actor may be cancelled in between.
    """

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self._children: set[_Child] = set()

    def __len__(self) -> int:
        return len(self._children)

    def start(self, function: Callable[[], Awaitable[None]], name: str, mailbox: Mailbox) -> None:
        """Run *function* beside the actor of *mailbox* until it returns or :meth:`cancel`."""
        child = _Child()
        self._children.add(child)
        self._tasks.start_soon(self._run, function, child, name, mailbox, name=name)

    async def _run(
        self, function: Callable[[], Awaitable[None]], child: _Child, name: str, mailbox: Mailbox
    ) -> None:
        try:
            with child.scope:
                await function()
        except MailboxClosedError:
            # Whoever the child reports to, its actor or another, has ended and needs no report.
            _log.debug("child_ended_unheard", child=name)
        except Exception as error:  # noqa: BLE001 - the actor is told, and raises it
            _report(mailbox, ChildFailed(name, error))
        finally:
            self._children.discard(child)
            child.ended.set()

    async def cancel(self) -> None:
        """Cancel all children and wait until they have ended."""
        children = list(self._children)
        for child in children:
            child.scope.cancel()
        for child in children:
            await child.ended.wait()


def _report(mailbox: Mailbox, failure: ChildFailed) -> None:
    try:
        mailbox.tell_control(failure)
    except MailboxClosedError:
        _log.debug("child_failed_unheard", child=failure.name, exc_info=failure.error)
