"""Files that somebody else wrote: whether they may be taken in, and copies that nobody can change.

Whoever takes a file in reads it as the file's descriptor shows it, and gives the store a link to
that very file, or a copy where the file system allows no link. So nothing that is done to its name
afterwards matters.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from dftindexd.index.errors import CoreError

__all__ = ("ArtifactError", "digest_of", "open_artifact", "protect", "take_copy", "unlink_all")

_DIGEST_BYTES: Final = 16
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_AGAIN: Final = "have the worker build its batch again"


class ArtifactError(CoreError):
    """An artifact is missing, incomplete, not as it was written, or not to be trusted."""

    code = "invalid-argument"


def protect(path: str) -> None:
    """Let nobody but its owner write the file *path*, whatever the process's umask.

    :raises OSError: its mode cannot be changed.
    """
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~_WRITABLE_BY_OTHERS)


def open_artifact(path: str) -> int:
    """Open the file *path* for reading and return its descriptor.

    :raises ArtifactError: it is missing, no regular file, somebody else's, or others may write it.
    """
    try:
        # Opening a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing", _AGAIN) from error
    except (OSError, ValueError) as error:
        why = "is a link" if os.path.islink(path) else f"cannot be read: {error}"
        raise ArtifactError(f"{path} {why}", "name the file itself") from error
    problem = _problem(os.fstat(descriptor))
    if problem:
        os.close(descriptor)
        raise ArtifactError(f"{path} {problem}", _AGAIN)
    return descriptor


def _problem(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {status.st_uid}, not to user {os.geteuid()}"
    if status.st_mode & _WRITABLE_BY_OTHERS:
        return "can be written by others than its owner"
    return ""


def digest_of(path: str) -> bytes:
    """Return the digest of the file *path*.

    :raises OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _new_digest).digest()


def take_copy(path: str, target: str, *, size: int, digest: bytes) -> None:
    """Have the file *path*, of which *size* and *digest* are known, at *target* as well.

    :raises ArtifactError: it is not as it was written, or not to be trusted.
    :raises OSError: *target* cannot be written.
    """
    descriptor = open_artifact(path)
    with os.fdopen(descriptor, "rb") as file:
        actual = os.fstat(descriptor).st_size
        if actual != size:
            raise ArtifactError(f"{path} has {actual} of {size} bytes", _AGAIN)
        if hashlib.file_digest(file, _new_digest).digest() != digest:
            raise ArtifactError(f"{path} is damaged", _AGAIN)
        if not _linked(path, target, os.fstat(descriptor)):
            file.seek(0)
            with open(target, "xb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)


def _new_digest() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def _linked(path: str, target: str, status: os.stat_result) -> bool:
    """Link *target* to the file *path* if it still is the one that *status* shows; return whether
    it was."""
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError:  # another file system, or one without links: it is copied
        return False
    linked = os.lstat(target)
    if (linked.st_dev, linked.st_ino) == (status.st_dev, status.st_ino):
        return True
    os.unlink(target)
    return False


def unlink_all(paths: Iterable[str]) -> None:
    """Remove the files *paths*, those that are there."""
    for path in paths:
        with suppress(OSError):  # whose directory it is, they may have removed it
            os.unlink(path)
