"""How far a worker is with its job, and when it hangs."""

from __future__ import annotations

from typing import Final

from dftindexd.actors.shared_counts import SharedCounts
from dftindexd.index.trace.trace_file import Meter

__all__ = ("START_SECONDS", "JobMeter", "Patience")


class JobMeter(Meter):
    """The worker's side: it counts the work of all its jobs, and the bytes of the one in hand."""

    __slots__ = ("_begin", "_behind", "_counts", "_reached", "_work")

    def __init__(self, counts: SharedCounts) -> None:
        self._counts = counts
        self._work = 0
        self._behind = 0
        self._begin = 0
        self._reached = 0

    def begin_job(self) -> None:
        """Begin another job."""
        self._behind = self._begin = self._reached = 0
        self.note(1, 0)

    def begin_trace(self, c_begin: int) -> None:
        """Begin another trace of the job, which is read from byte *c_begin* on."""
        self._behind += self._reached - self._begin
        self._begin = self._reached = c_begin
        self.note(1, c_begin)

    def note(self, work: int, reached: int) -> None:
        self._work += work
        self._reached = max(self._reached, reached)
        self._counts.write(self._work, self._behind + self._reached - self._begin)


#: How long a worker may take to start, on a machine that has much else to do.
START_SECONDS: Final = 60.0


class Patience:
    """Decides from looks at a count of work, whenever they come, whether that has stood still for
    *seconds*, or for longer where it has not begun."""

    def __init__(self, seconds: float, work: int, now: float) -> None:
        self._seconds = seconds
        self._work = work
        self._since = now

    def is_over(self, work: int, now: float) -> bool:
        """Look once."""
        if work != self._work:
            self._work, self._since = work, now
        most = self._seconds if work else max(self._seconds, START_SECONDS)
        return now - self._since >= most
