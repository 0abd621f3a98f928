"""How often each trace of a root failed, and until when it is left alone; no clock of its own."""

from __future__ import annotations

from collections.abc import Iterable

from dftindexd.actors.jobs import retry_delay

__all__ = ("Retries",)


class Retries:
    """The failures of traces; times are those that the caller counts by."""

    def __init__(self) -> None:
        self._attempts: dict[bytes, int] = {}
        self._rest_until: dict[bytes, float] = {}

    def attempts(self, path: bytes) -> int:
        """Return how often *path* failed since it was forgiven."""
        return self._attempts.get(path, 0)

    def failed(self, path: bytes, attempt: int, now: float) -> None:
        """Note that *path* failed for the *attempt*-th time (from 1); it rests for a while."""
        self._attempts[path] = attempt
        self._rest_until[path] = now + retry_delay(attempt)

    def rest(self, paths: Iterable[bytes], until: float) -> None:
        """Leave *paths* alone until then, though they did not fail."""
        self._rest_until.update(dict.fromkeys(paths, until))

    def rests(self, path: bytes, now: float) -> bool:
        """Return whether *path* is to be left alone now."""
        return self._rest_until.get(path, now) > now

    def forgive(self, path: bytes) -> None:
        """Forget what is known of *path*."""
        self._attempts.pop(path, None)
        self._rest_until.pop(path, None)
