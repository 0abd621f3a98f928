"""The paths that requests name."""

from __future__ import annotations

import os
from typing import Final

from dftindexd.protocol.errors import InvalidArgumentError

__all__ = ("checked_path", "request_path")

#: The kernel's own limit: no path that is longer names anything.
_MOST_BYTES: Final = 4096


def checked_path(path: bytes) -> bytes:
    """Return *path* if it can be one.

    :raises InvalidArgumentError: it is not absolute, or too long for any.
    """
    if len(path) > _MOST_BYTES:
        raise InvalidArgumentError(
            f"a path of {len(path)} bytes is too long: {os.fsdecode(path[:40])!r} and so on",
            f"a path has at most {_MOST_BYTES}",
        )
    if not os.path.isabs(path) or b"\0" in path:
        raise InvalidArgumentError(
            f"not an absolute path: {os.fsdecode(path)!r}", "give the whole path"
        )
    return path


def request_path(text: str) -> bytes:
    """Return the real path that a request names.

    :raises InvalidArgumentError: it is not absolute, or too long for any.
    """
    return os.path.realpath(checked_path(os.fsencode(text)))
