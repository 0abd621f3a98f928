"""The paths that requests name."""

from __future__ import annotations

import os

from dftindexd.protocol.errors import InvalidArgumentError

__all__ = ("request_path",)


def request_path(text: str) -> bytes:
    """Return the real path that a request names.

    :raises InvalidArgumentError: it is not absolute.
    """
    if not os.path.isabs(text) or "\0" in text:
        raise InvalidArgumentError(f"not an absolute path: {text!r}", "give the whole path")
    return os.path.realpath(os.fsencode(text))
