"""Which paths lie below which."""

from __future__ import annotations

__all__ = ("is_below",)


def is_below(path: bytes, directory: bytes) -> bool:
    """Return whether *path* is *directory* or lies below it; ``b""`` is the root."""
    return not directory or path == directory or path.startswith(directory + b"/")
