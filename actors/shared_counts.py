"""Two counts in memory that a worker and whoever started it share.

The worker writes them while it works, so that telling costs nothing and needs nobody to listen. A
number may be seen half written: it is only compared, and shown to people.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import Final

__all__ = ("SharedCounts", "new_counts")

_COUNTS: Final = struct.Struct("=QQ")


def new_counts() -> int:
    """Return the descriptor of memory for the counts of one worker; the caller closes it."""
    descriptor = os.memfd_create("dftindexd-counts", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _COUNTS.size)
    return descriptor


class SharedCounts:
    """All work a worker ever did, and the bytes of files that its job in hand has behind it."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _COUNTS.size)

    def read(self) -> tuple[int, int]:
        """Return both; zeros where they were closed."""
        if self._memory.closed:
            return 0, 0
        work, job_bytes = _COUNTS.unpack_from(self._memory)
        return work, job_bytes

    def write(self, work: int, job_bytes: int) -> None:
        """Set both."""
        _COUNTS.pack_into(self._memory, 0, work, job_bytes)

    def close(self) -> None:
        """Give the memory back; may be repeated."""
        self._memory.close()
