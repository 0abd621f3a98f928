"""The daemon's socket in the file system: locked, then bound; never stolen, never left open.

Invariants: whoever holds the lock ``<socket>.lock`` owns the path; a socket is unlinked and bound
only under that lock; nothing but a socket is ever unlinked. The socket has mode 0600; where others
are allowed in, 0660 and their group, or 0666 where they are not of one group alone, or of one that
the daemon cannot give it to: then the server decides by who the kernel says they are. A socket that
a service manager bound keeps its file, and its mode, unless that lets none of those in who are
allowed; its path is locked, too. The lock file stays behind on purpose: unlinking it would let two
daemons each lock a different file of the same name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dftindexd.daemon.callers import Admission
from dftindexd.protocol.errors import BusyError, InvalidArgumentError, PermissionDeniedError
from dftindexd.protocol.paths import check_socket_path

__all__ = ("BoundSocket", "adopt_socket", "bind_socket", "release_socket", "socket_lock")

_BACKLOG = 1024


class BoundSocket(NamedTuple):
    """A listening socket, the lock that owns its path, and the identity of its file; ``None``: the
    file belongs to the service manager."""

    path: str
    listener: socket.socket
    lock: int
    identity: tuple[int, int] | None


@contextmanager
def socket_lock(path: str) -> Iterator[int]:
    """Own *path* for as long as the context lasts, before anything can connect to it.

    Raises what :func:`bind_socket` raises.
    """
    lock = _own(path)
    try:
        yield lock
    finally:
        os.close(lock)


def bind_socket(
    path: str, owned: int | None = None, admission: Admission | None = None
) -> BoundSocket:
    """Lock *path*, take away a stale socket, bind and listen.

    *owned* is the lock of :func:`socket_lock` where the caller has it already, *admission* says who
    may connect.

    Raises:
        BusyError: another daemon serves *path*; the message names its pid.
        InvalidArgumentError: no socket can be at *path*.
        PermissionDeniedError: others could replace what lies in the directory of *path*.
    """
    lock = _own(path) if owned is None else os.dup(owned)
    try:
        _unlink_stale(path)
        listener = _listen(path)
        if admission is not None and admission.allows_others:
            _open_to(path, admission.only_group)
        return BoundSocket(path, listener, lock, _identity(path))
    except BaseException:
        os.close(lock)
        raise


def adopt_socket(
    listener: socket.socket, owned: int, admission: Admission | None = None
) -> BoundSocket:
    """Serve a socket that the service manager bound, under the lock *owned* of its path.

    Raises:
        InvalidArgumentError: *admission* lets others in, and the socket lets nobody connect.
    """
    listener.setblocking(False)
    path: str = listener.getsockname()
    if admission is not None and admission.allows_others and not _lets_others_connect(path):
        _open_to(path, admission.only_group)
    return BoundSocket(path, listener, os.dup(owned), None)


def _lets_others_connect(path: str) -> bool:
    # Connecting is writing.
    return bool(os.stat(path).st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _own(path: str) -> int:
    check_socket_path(path)
    _prepare_directory(os.path.dirname(path) or ".")
    return _take_lock(path)


def release_socket(bound: BoundSocket) -> None:
    """Unlink the socket if it is still the one that we bound, then give the lock up."""
    try:
        if (
            bound.identity is not None
            and os.path.lexists(bound.path)
            and _identity(bound.path) == bound.identity
        ):
            os.unlink(bound.path)
    finally:
        os.close(bound.lock)


def _prepare_directory(directory: str) -> None:
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise InvalidArgumentError(
            f"the socket directory {directory} cannot be made: {error.strerror}",
            "make it, or choose another socket with --socket",
        ) from error
    found = os.stat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidArgumentError(
            f"{directory} is not a directory", "choose another socket with --socket"
        )
    if found.st_uid not in (0, os.getuid()):
        raise PermissionDeniedError(
            f"the socket directory {directory} belongs to user {found.st_uid}",
            "choose a directory of your own with --socket",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        others = "everybody" if found.st_mode & stat.S_IWOTH else f"group {found.st_gid}"
        raise PermissionDeniedError(
            f"{others} can write the socket directory {directory}",
            f"run `chmod go-w {directory}`, or choose another socket with --socket",
        )


def _take_lock(path: str) -> int:
    lock_path = f"{path}.lock"
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InvalidArgumentError(
            f"the lock {lock_path} cannot be opened: {error.strerror}",
            "choose another socket with --socket",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise BusyError(
            f"another daemon (pid {holder}) serves {path}",
            f"end it with `dftindexd-client --socket {path} stop`, or choose another --socket",
        ) from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def _unlink_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidArgumentError(
            f"{path} exists and is not a socket", "move it away, or choose another --socket"
        )
    os.unlink(path)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        with _umask(0o177):
            listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        name = errno.errorcode.get(error.errno or 0, "unknown error")
        raise InvalidArgumentError(
            f"no socket can be bound at {path}: {name}, {error.strerror}",
            "choose a directory on a local file system with --socket",
        ) from error
    return listener


def _open_to(path: str, group: int | None) -> None:
    """Let others connect: those of *group*, or where there is none, or none that the daemon's user
    is of, whoever reaches the socket."""
    try:
        os.chmod(path, 0o660 if group is not None and _give(path, group) else 0o666)
    except OSError as error:
        raise InvalidArgumentError(
            f"the socket {path} lets no guest connect, and its mode cannot be changed: "
            f"{error.strerror}",
            "give it SocketMode=0666 in the .socket unit, or allow nobody else in",
        ) from error


def _give(path: str, group: int) -> bool:
    try:
        os.chown(path, -1, group)
    except PermissionError:
        return False
    return True


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    # For the whole process, but a file another thread makes meanwhile only gets less access.
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino
