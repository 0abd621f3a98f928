"""Tasks that belong to an actor but run beside it: they report by messages and end with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

__all__ = ("Children",)


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

    def start(self, function: Callable[[], Awaitable[None]], name: str) -> None:
        """Run *function* beside the actor until it returns or :meth:`cancel` is called."""
        child = _Child()
        self._children.add(child)
        self._tasks.start_soon(self._run, function, child, name=name)

    async def _run(self, function: Callable[[], Awaitable[None]], child: _Child) -> None:
        try:
            with child.scope:
                await function()
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
