"""Which paths lie below which, and in which directories traces were."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ("Directories", "is_below")


class Directories:
    """Every directory that ever held a trace, however far below; ``b""`` is the root."""

    def __init__(self) -> None:
        self._known: set[bytes] = {b""}

    def __contains__(self, path: object) -> bool:
        return path in self._known

    def note(self, paths: Iterable[bytes]) -> None:
        """Take in the directories of the traces *paths*."""
        for path in paths:
            while (path := path.rpartition(b"/")[0]) not in self._known:
                self._known.add(path)


def is_below(path: bytes, directory: bytes) -> bool:
    """Return whether *path* is *directory* or lies below it; ``b""`` is the root."""
    return not directory or path == directory or path.startswith(directory + b"/")
