"""Taking a backup over: the daemon makes a copy of a store, its caller makes it their own.

Only the caller's process writes to the place that the caller names, with the caller's rights. What
is written has another life than the store: its tables are copied, not linked, so that a fault of
the disk under the one leaves the other whole.
"""

from __future__ import annotations

import os
import shutil

from dftindexd.protocol.errors import DftIndexError, InvalidArgumentError

__all__ = ("free_place", "sync", "take_over")

_PART = ".part"


def free_place(out: str | os.PathLike[str]) -> str:
    """Return *out* as an absolute path if a backup can be made there.

    Raises:
        InvalidArgumentError: something is there already, or its directory is not there.
    """
    target = os.path.abspath(os.fspath(out))
    if os.path.lexists(target):
        raise InvalidArgumentError(f"{target} exists already", "name a path that does not")
    if not os.path.isdir(os.path.dirname(target)):
        raise InvalidArgumentError(f"{os.path.dirname(target)} is not a directory", "make it first")
    return target


def take_over(folder: str, target: str) -> int:
    """Copy the daemon's directory *folder* to *target*, whole or not at all, and delete it; return
    how many bytes the backup has.

    Raises:
        DftIndexError: it cannot be read or written; nothing is left at *target*.
    """
    try:
        return _copied(folder, target)
    except (OSError, shutil.Error) as error:
        raise DftIndexError(
            f"cannot copy the backup to {target}: {error}", "check its place and its room"
        ) from error
    finally:
        # Left behind, it would go when the daemon opens the store next.
        shutil.rmtree(folder, ignore_errors=True)


def _copied(folder: str, target: str) -> int:
    part = target + _PART
    os.mkdir(part, 0o700)
    try:
        shutil.copytree(folder, part, dirs_exist_ok=True)
        size = _synced(part)
        os.rename(part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync(os.path.dirname(target))
    return size


def _synced(folder: str) -> int:
    """Make the files in *folder* durable; return their size."""
    size = 0
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        size += os.path.getsize(path)
        sync(path)
    sync(folder)
    return size


def sync(path: str) -> None:
    """Make a file, or what a directory holds, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
