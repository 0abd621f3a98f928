"""What the service manager is told, and when: that the daemon starts, is ready, lives, reloads and
ends.

``WATCHDOG=1`` is sent only while every actor progresses: one that hangs, or an event loop that
stands still, has the manager start the daemon anew. A root that was given up is no reason: others
work. While the daemon starts or ends it asks for more time for as long as it gets on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import anyio

from dftindexd.actors.supervisor import Health
from dftindexd.daemon.notify import notify

__all__ = (
    "all_progress",
    "ask_for_time",
    "feed_watchdog",
    "tell_reloading",
    "tell_status",
    "watchdog_seconds",
)

_STATUS_SECONDS: Final = 1.0
_EXTENSION_SECONDS: Final = 30.0
#: Asked again long before the time that was given is over.
_ASK_SECONDS: Final = 10.0
#: For how long without progress more time is asked for: a store may have much to recover.
_PATIENCE_SECONDS: Final = 600.0


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """Return how often the manager wants to hear of the process *pid*: twice in its time; ``None``:
    never."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID") not in (None, "", str(pid)):
        return None
    if not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 2e6


def all_progress(healths: Iterable[Health]) -> bool:
    """Return whether no actor hangs."""
    return Health.UNHEALTHY not in healths


async def feed_watchdog(
    healths: Callable[[], Iterable[Health]], environment: Mapping[str, str] = os.environ
) -> None:
    """Tell the manager that the daemon lives, while all of *healths* do; without end, if it wants
    to be told."""
    seconds = watchdog_seconds(environment, os.getpid())
    if seconds is None:
        return
    while True:
        if all_progress(healths()):
            notify("WATCHDOG=1", environment)
        await anyio.sleep(seconds)


async def tell_status(line: Callable[[], str], environment: Mapping[str, str] = os.environ) -> None:
    """Tell the manager what the daemon is at, whenever *line* is another."""
    told = ""
    while True:
        now = line()
        if now != told and notify(f"STATUS={now}", environment):
            told = now
        await anyio.sleep(_STATUS_SECONDS)


async def ask_for_time(
    progress: Callable[[], object],
    environment: Mapping[str, str] = os.environ,
    *,
    patience: float = _PATIENCE_SECONDS,
    interval: float = _ASK_SECONDS,
) -> None:
    """Ask the manager for more time, until *progress* has been the same for *patience* seconds."""
    last, since = progress(), anyio.current_time()
    while anyio.current_time() - since <= patience:
        notify(f"EXTEND_TIMEOUT_USEC={int(_EXTENSION_SECONDS * 1e6)}", environment)
        await anyio.sleep(interval)
        now = progress()
        if now != last:
            last, since = now, anyio.current_time()


def tell_reloading(environment: Mapping[str, str] = os.environ) -> None:
    """Tell the manager that a reload begins; ``READY=1`` is its end."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify(f"RELOADING=1\nMONOTONIC_USEC={now}", environment)
