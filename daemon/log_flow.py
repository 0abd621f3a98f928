"""What passes into the log: repeats at a bounded rate, and a memory of what went wrong lately."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import msgspec
import structlog

__all__ = ("BURST", "WINDOW_SECONDS", "LogFlow", "Trouble")

#: So many events of one name pass in so many seconds; how many did not is told with the next one.
BURST: Final = 20
WINDOW_SECONDS: Final = 10.0
_MOST_NAMES: Final = 256
_TROUBLE: Final = ("warning", "error", "critical")


class Trouble(msgspec.Struct):
    """Warnings or errors of one name: how many, and when the last one was (since 1970)."""

    level: str
    count: int = 0
    last: float = 0.0


class _Window(msgspec.Struct):
    begin: float
    passed: int = 0
    held: int = 0


class LogFlow:
    """A processor of structlog. Names of events are constants of the code, so that what is kept of
    them is bounded; it is bounded all the same."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self.trouble: OrderedDict[str, Trouble] = OrderedDict()

    def __call__(
        self, logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Let *event* pass, with the number of those of its name that were held back before it.

        :raises structlog.DropEvent: too many of its name passed lately.
        """
        name = str(event.get("event", ""))
        self._remember(name, str(event.get("level", method)))
        window, now = self._window(name), self._clock()
        if now - window.begin >= WINDOW_SECONDS:
            window.begin, window.passed = now, 0
        if window.passed >= BURST:
            window.held += 1
            raise structlog.DropEvent
        window.passed += 1
        if window.held:
            event["held_back"], window.held = window.held, 0
        return event

    def _window(self, name: str) -> _Window:
        window = self._windows.setdefault(name, _Window(self._clock()))
        self._windows.move_to_end(name)
        if len(self._windows) > _MOST_NAMES:
            self._windows.popitem(last=False)
        return window

    def _remember(self, name: str, level: str) -> None:
        if level not in _TROUBLE:
            return
        trouble = self.trouble.setdefault(name, Trouble(level))
        self.trouble.move_to_end(name)
        trouble.level, trouble.last = level, self._wall()
        trouble.count += 1
        if len(self.trouble) > _MOST_NAMES:
            self.trouble.popitem(last=False)
