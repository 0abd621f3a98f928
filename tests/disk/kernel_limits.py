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


@contextmanager
def limited(limit: Path, value: int) -> Iterator[None]:
    """Set one of the limits as long as the context lasts; only root may."""
    before = limit.read_text()
    limit.write_text(str(value))
    try:
        yield
    finally:
        limit.write_text(before)
