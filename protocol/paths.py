"""Where the daemon's socket lies: one decision for the daemon and its clients. Pure, no I/O."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dftindexd.protocol.errors import InvalidArgumentError

__all__ = (
    "MAX_SOCKET_PATH_BYTES",
    "SOCKET_NAME",
    "check_socket_path",
    "default_socket_path",
    "socket_candidates",
    "temporary_directory",
)

SOCKET_NAME = "dftindexd.sock"
# sun_path holds 108 bytes, the last one a NUL.
MAX_SOCKET_PATH_BYTES = 107


def temporary_directory(uid: int) -> str:
    """Return the directory, mode 0700, of a user who has no runtime directory."""
    return f"/tmp/dftindexd-{uid}"


def socket_candidates(environment: Mapping[str, str], uid: int) -> tuple[str, ...]:
    """Return the places where a client of *uid* looks for a socket, best first.

    ``DFTINDEXD_SOCKET`` is the only place when it is set. Else: ``$RUNTIME_DIRECTORY`` (of a
    systemd unit), ``$XDG_RUNTIME_DIR/dftindexd``, or ``/tmp/dftindexd-<uid>`` for a user without
    one, and ``/run/dftindexd``.
    """
    if chosen := environment.get("DFTINDEXD_SOCKET"):
        return (chosen,)
    directories: list[str] = []
    if runtime := environment.get("RUNTIME_DIRECTORY"):
        # systemd separates several directories by colons.
        directories.append(runtime.split(":")[0])
    if user_runtime := environment.get("XDG_RUNTIME_DIR"):
        directories.append(os.path.join(user_runtime, "dftindexd"))
    elif uid != 0:
        directories.append(temporary_directory(uid))
    directories.append("/run/dftindexd")
    return tuple(dict.fromkeys(os.path.join(directory, SOCKET_NAME) for directory in directories))


def default_socket_path(environment: Mapping[str, str], uid: int) -> str:
    """Return where a daemon of *uid* binds: the first place where its clients look."""
    return socket_candidates(environment, uid)[0]


def check_socket_path(path: str) -> None:
    """Refuse a path that no unix socket can have.

    Raises:
        InvalidArgumentError: the path is empty, holds a NUL, or is over the limit of ``sun_path``.
    """
    if not path or "\0" in path:
        raise InvalidArgumentError(f"{path!r} is no path of a socket", "name a file path")
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise InvalidArgumentError(
            f"the socket path {path} has {length} bytes, the limit is {MAX_SOCKET_PATH_BYTES}",
            "choose a shorter one with --socket or DFTINDEXD_SOCKET",
        )
