"""Socket activation: the listening socket that a service manager hands over (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

from dftindexd.protocol.errors import InvalidArgumentError

__all__ = ("FIRST_DESCRIPTOR", "inherited_listener")

FIRST_DESCRIPTOR = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited_listener(
    environment: MutableMapping[str, str], pid: int, first: int = FIRST_DESCRIPTOR
) -> socket.socket | None:
    """Return the socket handed over to the process *pid*, ``None`` if there is none.

    The variables are taken out of *environment*, and the socket is kept from processes that are
    started later: neither is for them.

    Raises:
        InvalidArgumentError: several were handed over, or what was is no listening unix socket.
    """
    told, count, _ = (environment.pop(name, "") for name in _VARIABLES)
    if told != str(pid) or not count.isdecimal() or int(count) == 0:
        return None
    if int(count) > 1:
        raise InvalidArgumentError(
            f"{count} sockets were handed over, the daemon serves one",
            "give the .socket unit one ListenStream=",
        )
    os.set_inheritable(first, False)
    listener = socket.socket(fileno=first)
    if not _is_usable(listener):
        listener.close()
        raise InvalidArgumentError(
            "what was handed over is not a listening unix stream socket with a path",
            "give the .socket unit ListenStream= with an absolute path",
        )
    return listener


def _is_usable(listener: socket.socket) -> bool:
    if listener.family is not socket.AF_UNIX or listener.type is not socket.SOCK_STREAM:
        return False
    name = listener.getsockname()
    is_path = isinstance(name, str) and name.startswith("/")
    return is_path and bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
