"""Which sockets to try, and how a failure to reach any of them is told."""

from __future__ import annotations

import errno
import os

from dftindexd.client.transport import Transport
from dftindexd.protocol.errors import DaemonUnreachableError
from dftindexd.protocol.paths import (
    check_socket_path,
    socket_candidates,
    temporary_directory,
)

__all__ = ("find_daemon",)

_REASONS = {
    errno.ENOENT: "no such socket",
    errno.ENOTDIR: "no such socket",
    errno.ECONNREFUSED: "nobody listens",
    errno.EACCES: "permission denied",
    errno.ENOTSOCK: "not a socket",
}


async def find_daemon(socket: str | os.PathLike[str] | None) -> tuple[str, Transport]:
    """Connect to the first socket that takes a connection; return its path and the connection.

    *socket* is the only place to try if it is given; ``protocol.paths`` lists the places else.

    Raises:
        DaemonUnreachableError: no place answers; the message names each and what was wrong.
        InvalidArgumentError: a path cannot be that of a socket.
    """
    uid = os.getuid()
    places = socket_candidates(os.environ, uid) if socket is None else (os.fspath(socket),)
    failures: list[str] = []
    for place in places:
        check_socket_path(place)
        try:
            _require_own_directory(place, uid)
            return place, await Transport.connect(place)
        except OSError as error:
            failures.append(f"{place} ({_reason(error)})")
    raise DaemonUnreachableError(
        f"no daemon answers; tried {', '.join(failures)}",
        "start one with `dftindexd run`, or name its socket with --socket or DFTINDEXD_SOCKET",
    )


def _require_own_directory(place: str, uid: int) -> None:
    """Do not talk to whoever made our directory below ``/tmp`` before us."""
    directory = os.path.dirname(place)
    if directory != temporary_directory(uid):
        return
    owner = os.stat(directory).st_uid
    if owner != uid:
        raise OSError(f"its directory belongs to user {owner}")


def _reason(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return _REASONS.get(error.errno, error.strerror or str(error))
