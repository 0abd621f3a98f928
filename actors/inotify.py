"""The kernel's inotify, as far as a watch of directories needs it.

Everything that it tells is passed on: what it lost (the queue was too short), that a watch ended,
and names as bytes. Times it tells none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache
from typing import Final, NamedTuple

__all__ = ("Event", "Inotify", "limit_named")

MODIFY: Final = 0x2
ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
UNMOUNT: Final = 0x2000
OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
IS_DIRECTORY: Final = 0x40000000
_ONLY_DIRECTORIES: Final = 0x01000000
_EXCLUDE_UNLINKED: Final = 0x04000000

_WATCHED: Final = (
    MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF
) | (MOVE_SELF | _ONLY_DIRECTORIES | _EXCLUDE_UNLINKED)

_HEADER: Final = struct.Struct("iIII")
_READ_BYTES: Final = 1 << 18

#: Which limit of the kernel an error means.
_LIMITS: Final = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances",
}


class Event(NamedTuple):
    """What happened to ``name`` in the directory of ``watch``, or to that itself (``b""``)."""

    watch: int
    mask: int
    name: bytes


def limit_named(error: OSError) -> str | None:
    """Return the limit of the kernel that *error* says is reached, ``None`` if it is another."""
    return _LIMITS.get(error.errno or 0)


class Inotify:
    """One queue of events. Its descriptor is readable when there are some."""

    def __init__(self) -> None:
        """Open it.

        :raises OSError: there are too many (:func:`limit_named`), or no descriptor is left.
        """
        self.descriptor = _checked(_libc().inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), b"")

    def add(self, directory: bytes) -> int:
        """Watch *directory* and return the number of the watch: one a directory, however named.

        :raises OSError: it is none, cannot be read, or there are too many watches.
        """
        made = _libc().inotify_add_watch(self.descriptor, directory, _WATCHED)
        return _checked(made, directory)

    def remove(self, watch: int) -> None:
        """End a watch; one that has ended by itself is fine."""
        _libc().inotify_rm_watch(self.descriptor, watch)

    def read(self) -> list[Event]:
        """Return the events that there are now."""
        events: list[Event] = []
        while True:
            try:
                data = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                return events
            position = 0
            while position < len(data):
                watch, mask, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size
                name = data[position : position + length].rstrip(b"\0")
                position += length
                events.append(Event(watch, mask, name))

    def close(self) -> None:
        """End all watches."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _checked(result: int, path: bytes) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
    return libc
