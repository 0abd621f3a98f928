"""Who is at the other end of a unix socket, as the kernel vouches for it."""

from __future__ import annotations

import errno
import socket
import struct
from typing import NamedTuple

__all__ = ("Peer", "peer_of")

_UCRED = struct.Struct("3i")
_GROUP_BYTES = 4
#: ``SO_PEERGROUPS`` of Linux 4.13, which Python's ``socket`` does not name.
_SO_PEERGROUPS = 59
_MOST_GROUPS = 65_536


class Peer(NamedTuple):
    """The process that connected, with its supplementary groups.

    From inside a user namespace the ids read 65534.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()


def peer_of(connection: socket.socket) -> Peer:
    """Return the credentials that the peer had when it connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    # uid_t and gid_t are unsigned.
    return Peer(pid, uid % 2**32, gid % 2**32, _groups_of(connection))


def _groups_of(connection: socket.socket) -> frozenset[int]:
    room = 64 * _GROUP_BYTES
    while True:
        try:
            raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, room)
        except OSError as error:
            # Too many for the room; a user may have 65,536 at most.
            if error.errno != errno.ERANGE or room >= _MOST_GROUPS * _GROUP_BYTES:
                raise
            room *= 8
            continue
        return frozenset(group for (group,) in struct.iter_unpack("=I", raw))
