"""How many files the daemon may have open: a store has up to 256, a client one."""

from __future__ import annotations

import resource
from typing import Final

__all__ = ("MOST_OPEN_FILES", "raise_open_files")

#: More than this the daemon never needs, and some programs walk all that they may have.
MOST_OPEN_FILES: Final = 65536


def raise_open_files() -> int:
    """Allow this process as many open files as it may allow itself; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most
