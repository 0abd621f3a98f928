"""How one root is watched now, and how often it is looked at besides."""

from __future__ import annotations

import msgspec

from dftindexd.actors.file_systems import Backend

__all__ = ("WatchState", "seconds_to_next_look")

#: Looks take at most one part in so many of the time, however large the root is.
_SHARE_OF_TIME = 5


class WatchState(msgspec.Struct):
    """Shared by a root's watcher, which changes it, its scheduler and whoever tells of it.

    ``backend`` is what is in force, ``reason`` why that is less than what was wanted.
    """

    backend: Backend
    rescan_seconds: float
    poll_seconds: float
    reason: str = ""

    @property
    def interval(self) -> float:
        """Seconds from one look at everything to the next."""
        if self.backend == "poll":
            return min(self.poll_seconds, self.rescan_seconds)
        return self.rescan_seconds


def seconds_to_next_look(interval: float, took: float) -> float:
    """Return how long to wait after a look at everything that *took* so many seconds."""
    return max(interval, (_SHARE_OF_TIME - 1) * took)
