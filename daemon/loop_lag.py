"""How late the event loop is: what whoever asks the daemon waits for before anything happens.

Many times a second a task sleeps for a moment; by how much it wakes too late is a sample. A loop
that stood still for long would give few samples, so that what would have been measured meanwhile is
added: the percentiles are those of requests that come at any moment.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import anyio
import msgspec

__all__ = ("LagSummary", "LoopLag", "lags_of", "summary_of")

#: Seconds between two samples.
INTERVAL: Final = 0.02
#: How far back the samples go that are told, in seconds.
WINDOW: Final = 60.0


class LagSummary(msgspec.Struct, frozen=True):
    """The lag of an event loop within the last so many seconds, in milliseconds."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    seconds: float = 0.0


def lags_of(late: float, interval: float) -> list[float]:
    """Return the samples that a wake-up stands for that came *late* seconds too late: its own, and
    those of the wake-ups that it kept from happening."""
    return [late - skipped * interval for skipped in range(math.ceil(late / interval) or 1)]


def summary_of(lags: Sequence[float], seconds: float) -> LagSummary:
    """Return the percentiles of *lags* (seconds), by nearest rank."""
    if not lags:
        return LagSummary(seconds=seconds)
    ordered = sorted(lags)

    def rank(share: float) -> float:
        return 1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return LagSummary(rank(0.5), rank(0.99), 1000 * ordered[-1], seconds)


class LoopLag:
    """Measures the loop that :meth:`run` runs in, over the last *window* seconds."""

    def __init__(
        self, window: float = WINDOW, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._window = window
        self._clock = clock
        self._begun = clock()
        self._samples: deque[tuple[float, float]] = deque()
        self.listener: Callable[[float], None] | None = None
        """Who is told of every sample, in seconds."""

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            begin = self._clock()
            await anyio.sleep(INTERVAL)
            now = self._clock()
            self.note(max(0.0, now - begin - INTERVAL), now)

    def note(self, late: float, now: float) -> None:
        """Take in that a wake-up at *now* came *late* seconds too late."""
        for lag in lags_of(late, INTERVAL):
            self._samples.append((now, lag))
            if self.listener is not None:
                self.listener(lag)
        while self._samples[0][0] < now - self._window:
            self._samples.popleft()

    def summary(self) -> LagSummary:
        """Return what was measured within the window, or since the beginning if that is later."""
        seconds = min(self._window, self._clock() - self._begun)
        return summary_of([lag for _, lag in self._samples], seconds)
