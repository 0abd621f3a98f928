"""Paths relative to a root, and which of them lie below which."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ("is_below", "outermost_of")


def is_below(path: bytes, directory: bytes) -> bool:
    """Return whether *path* is *directory* or lies below it; ``b""`` is the root."""
    return not directory or path == directory or path.startswith(directory + b"/")


def outermost_of(directories: set[bytes]) -> list[bytes]:
    """Return *directories* without those that lie below another of them."""
    if b"" in directories:
        return [b""]
    return [path for path in directories if directories.isdisjoint(_ancestors(path))]


def _ancestors(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path
