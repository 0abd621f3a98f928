"""The kernel's limits of inotify, lowered for a while where we may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ("INSTANCES", "QUEUE", "WATCHES", "limited")

_FOLDER = Path("/proc/sys/fs/inotify")
QUEUE, INSTANCES, WATCHES = (
    _FOLDER / name for name in ("max_queued_events", "max_user_instances", "max_user_watches")
)


#: The least that a kernel has by itself; less was left behind by a test that was killed.
_LEAST = {QUEUE: 16384, INSTANCES: 128, WATCHES: 8192}


@contextmanager
def limited(limit: Path, value: int) -> Iterator[None]:
    """Set one of the limits as long as the context lasts; only root may. It holds for everybody,
    so that it should not last longer than it takes."""
    before = max(int(limit.read_text()), _LEAST[limit])
    limit.write_text(str(value))
    try:
        yield
    finally:
        limit.write_text(str(before))
