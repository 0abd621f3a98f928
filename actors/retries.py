"""How often each trace of a root failed, and until when it is left alone; no clock of its own.

Of a quarantined trace nothing is kept across restarts but that it is one: it is tried again an hour
after the start, then after twice the time, up to a day.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from dftindexd.actors.jobs import MAX_ATTEMPTS, quarantine_delay, retry_delay

__all__ = ("Retries",)


class _Quarantine(msgspec.Struct):
    """How often a trace was tried in its quarantine, and when it is next."""

    tries: int
    until: float


class Retries:
    """The failures of traces; times are those that the caller counts by."""

    def __init__(self) -> None:
        self._attempts: dict[bytes, int] = {}
        self._rest_until: dict[bytes, float] = {}
        self._quarantines: dict[bytes, _Quarantine] = {}
        self._soonest = math.inf
        # Those in quarantine that are tried now.
        self._again: set[bytes] = set()

    def attempts(self, path: bytes) -> int:
        """Return how often *path* failed since it was forgiven."""
        return self._attempts.get(path, 0)

    def failed(self, path: bytes, attempt: int, now: float) -> None:
        """Note that *path* failed for the *attempt*-th time (from 1); it rests for a while."""
        self._attempts[path] = attempt
        self._rest_until[path] = now + retry_delay(attempt)
        if attempt >= MAX_ATTEMPTS:
            self.quarantined(path, now)

    def rest(self, paths: Iterable[bytes], until: float) -> None:
        """Leave *paths* alone until then, though they did not fail."""
        self._rest_until.update(dict.fromkeys(paths, until))

    def rests(self, path: bytes, now: float) -> bool:
        """Return whether *path* is to be left alone now."""
        return self._rest_until.get(path, now) > now

    def quarantined(self, path: bytes, now: float) -> None:
        """Note that *path* is in quarantine, still or again."""
        known = self._quarantines.get(path)
        if known is not None and path not in self._again:
            return
        tries = known.tries + 1 if known is not None else 0
        until = now + quarantine_delay(tries)
        self._quarantines[path] = _Quarantine(tries, until)
        self._soonest = min(self._soonest, until)
        self._again.discard(path)

    def due(self, now: float) -> list[bytes]:
        """Return those in quarantine whose time it is; they are tried from now on."""
        if now < self._soonest:
            return []
        waiting = {path: one for path, one in self._quarantines.items() if path not in self._again}
        due = [path for path, one in waiting.items() if one.until <= now]
        self._again.update(due)
        self._soonest = min(
            (one.until for one in waiting.values() if one.until > now), default=math.inf
        )
        return due

    def tries_again(self, path: bytes) -> bool:
        """Return whether *path* is tried though it is in quarantine."""
        return path in self._again

    def forgive(self, path: bytes) -> None:
        """Forget what is known of *path*."""
        self._attempts.pop(path, None)
        self._rest_until.pop(path, None)
        self._quarantines.pop(path, None)
        self._again.discard(path)
