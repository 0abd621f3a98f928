"""The bytes of a trace file, as many as it had when it was opened.

A trace may grow while it is read. Nothing beyond the size of the first ``fstat`` is looked at, so
that the stamp stored with a parse and the bytes that were parsed say the same.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dftindexd.index.errors import TraceGoneError
from dftindexd.index.model import FileStamp

__all__ = ("GZIP_MAGIC", "Meter", "TraceFile", "open_trace")

#: The first bytes of a gzip member: the magic and the method "deflate".
GZIP_MAGIC: Final = b"\x1f\x8b\x08"

#: A file that is no longer is read at once: each part of a small trace is asked for several times.
_AT_ONCE: Final = 64 << 10


class Meter:
    """Is told what a parse does while it does it; this one forgets it."""

    __slots__ = ()

    def note(self, work: int, reached: int) -> None:
        """Take in that *work* more bytes were read or inflated, and up to where in the file."""


class TraceFile:
    """A readable range of bytes: the file behind *fd* up to ``size``, at most *until*.

    ``reached`` is how far it was read, ``meter`` is told so.
    """

    __slots__ = ("_fd", "_whole", "meter", "reached", "size", "stamp")

    def __init__(self, fd: int, meter: Meter, until: int | None = None) -> None:
        status = os.fstat(fd)
        self._fd = fd
        self.meter = meter
        self.reached = 0
        self._whole: bytes | None = None
        self.stamp = FileStamp(
            status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )
        self.size = status.st_size if until is None else min(until, status.st_size)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to *length* bytes from *offset*; fewer at the end, or where the file shrank."""
        wanted = min(length, self.size - offset)
        if wanted <= 0:
            return b""
        self.reached = max(self.reached, offset + wanted)
        self.meter.note(wanted, self.reached)
        if self.size > _AT_ONCE:
            return os.pread(self._fd, wanted, offset)
        if self._whole is None:
            self._whole = os.pread(self._fd, self.size, 0)
        return self._whole[offset : offset + wanted]

    def is_gzip(self) -> bool:
        """Tell by content whether this is gzip; the first byte of a header is enough."""
        head = self.read(0, len(GZIP_MAGIC))
        return bool(head) and GZIP_MAGIC.startswith(head)


@contextmanager
def open_trace(
    path: bytes, meter: Meter | None = None, until: int | None = None
) -> Iterator[TraceFile]:
    """Open the trace at *path*, as if it ended at byte *until*.

    Raises :class:`TraceGoneError` if nothing is there any more, and ``OSError`` if it cannot be
    opened or is not a regular file. Opening never waits for a writer at the end of a pipe.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TraceGoneError(f"{os.fsdecode(path)} is gone", "scan its folder again") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        yield TraceFile(fd, meter or Meter(), until)
    finally:
        os.close(fd)
