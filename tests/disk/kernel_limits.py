"""The kernel's limits of inotify, lowered for a while where we may."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ("INSTANCES", "QUEUE", "WATCHES", "as_they_are", "limited")

_FOLDER = Path("/proc/sys/fs/inotify")
QUEUE, INSTANCES, WATCHES = (
    _FOLDER / name for name in ("max_queued_events", "max_user_instances", "max_user_watches")
)


#: The least that a kernel has by itself; less was left behind by a test that was killed.
_LEAST = {QUEUE: 16384, INSTANCES: 128, WATCHES: 8192}

#: Less than a test may take: those who wait for the turn wait as long.
_PATIENCE_SECONDS = 150.0
_POLL_SECONDS = 0.02


#: What this process holds: the limits, shared while a test runs; the turn, too, while it has them
#: alone.
_held: list[int] = []


@contextmanager
def as_they_are() -> Iterator[None]:
    """Keep the tests of other processes from lowering a limit as long as the context lasts."""
    with QUEUE.open() as lock:
        with _turn():
            fcntl.flock(lock, fcntl.LOCK_SH)
        _held.append(lock.fileno())
        try:
            yield
        finally:
            _held.remove(lock.fileno())


@contextmanager
def limited(limit: Path, value: int) -> Iterator[None]:
    """Set one of the limits as long as the context lasts; only root may. It holds for everybody:
    tests of other processes end before it, and begin after it."""
    with _alone():
        before = max(int(limit.read_text()), _LEAST[limit])
        limit.write_text(str(value))
        try:
            yield
        finally:
            limit.write_text(str(before))


@contextmanager
def _alone() -> Iterator[None]:
    if len(_held) > 1:  # within another
        yield
        return
    (lock,) = _held
    fcntl.flock(lock, fcntl.LOCK_UN)  # two that wait for each other would wait for ever
    with _turn() as turn:
        _held.append(turn)
        try:
            _wait_until_alone(lock)
            yield
        finally:
            _held.remove(turn)
            fcntl.flock(lock, fcntl.LOCK_SH)


def _wait_until_alone(lock: int) -> None:
    """Wait for the tests of other processes, but not for one that goes on for long, as `make load`
    does: all others wait meanwhile."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"a test of another process has needed the limits in {_FOLDER} as they are for "
                    f"{_PATIENCE_SECONDS:g} s; run this one again when that is over"
                ) from error
            time.sleep(_POLL_SECONDS)


@contextmanager
def _turn() -> Iterator[int]:
    """Who wants the limits alone is not overtaken again and again by who shares them."""
    with WATCHES.open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield turn.fileno()
