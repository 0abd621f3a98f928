"""The end of many roots at once: none waits for another, and none that fails stops the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio

from dftindexd.actors.log import get_log

__all__ = ("end_all",)

_log = get_log(__name__)


async def end_all(functions: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Run *functions* beside each other; one that fails is logged and does not stop the others."""

    async def run(function: Callable[[], Awaitable[None]]) -> None:
        try:
            await function()
        except Exception:  # noqa: BLE001 - told by the log; the others have to end in order
            _log.exception("root_ended_badly")

    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(run, function)
