"""How far the indexing of a root is: bytes done, the rate, the time left. No I/O, no clock."""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ("RATE_SECONDS", "Progress")

#: The rate is that of so many last seconds.
RATE_SECONDS: Final = 30.0


class Progress:
    """Bytes of trace files that were read since there was last nothing to do."""

    def __init__(self) -> None:
        self._finished = 0
        self._begin = 0
        self._pending = 0
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, finished: int, pending: int, now: float) -> None:
        """Take in how many bytes were *finished* ever and how many are *pending* at *now*.

        A count of finished bytes that falls for a moment, between the end of a job and its commit,
        is no step back.
        """
        self._finished = max(self._finished, finished)
        self._pending = pending
        if not pending:
            self._begin = self._finished
            self._samples.clear()
        self._samples.append((now, self._finished))
        while len(self._samples) > 2 and now - self._samples[1][0] >= RATE_SECONDS:
            self._samples.popleft()

    @property
    def done(self) -> int:
        """Bytes that are done of the work in hand."""
        return self._finished - self._begin

    @property
    def pending(self) -> int:
        """Bytes that are still to be read."""
        return self._pending

    @property
    def rate(self) -> float:
        """Bytes a second, 0 where nothing is known."""
        (first, before), (last, after) = (
            (self._samples[0], self._samples[-1]) if self._samples else ((0.0, 0), (0.0, 0))
        )
        return (after - before) / (last - first) if last > first else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at that rate, ``None`` where that cannot be told."""
        if not self._pending:
            return 0.0
        return self._pending / self.rate if self.rate > 0 else None
