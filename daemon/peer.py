"""Who is at the other end of a unix socket, as the kernel vouches for it."""

from __future__ import annotations

import os
import socket
import struct
from typing import NamedTuple

from dftindexd.protocol.errors import PermissionDeniedError

__all__ = ("Peer", "peer_of", "require_owner")

_UCRED = struct.Struct("3i")


class Peer(NamedTuple):
    """The process that connected. From inside a user namespace the ids read 65534."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the credentials that the peer had when it connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    # uid_t and gid_t are unsigned.
    return Peer(pid, uid % 2**32, gid % 2**32)


def require_owner(peer: Peer, owner: int | None = None) -> None:
    """Let only *owner* (the daemon's own user unless given) and root pass.

    Raises:
        PermissionDeniedError: the peer is somebody else.
    """
    allowed = os.getuid() if owner is None else owner
    if peer.uid in (0, allowed):
        return
    raise PermissionDeniedError(
        f"user {peer.uid} may not use the daemon of user {allowed}",
        "run a daemon of your own with `dftindexd run`",
    )
