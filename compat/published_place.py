"""Where a store is published: beside the traces or in a directory of its own, whole or not at all.

A store that we published has a marker, and is replaced by another. What somebody else made is left
alone, or kept aside under another name where that was asked for. A new store is written beside its
place and takes it by one renaming, so that whoever opens it finds either the old one or the new.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from dftindexd import __version__
from dftindexd.index.store.identity import sync_path
from dftindexd.protocol.errors import InvalidArgumentError

__all__ = ("FOLDER", "MARKER", "Marker", "Place", "free_place", "is_ours", "new_store")

#: The name that dftracer-utils looks for.
FOLDER: Final = ".dftindex"
#: The file that says that a store is ours; dftracer-utils ignores it.
MARKER: Final = "dftindexd-published.json"

_PART: Final = ".part-"
_AT_CWD: Final = -100
_EXCHANGE: Final = 2
#: The file system cannot exchange two names.
_CANNOT: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class Marker(msgspec.Struct, frozen=True):
    """What was published, and of what."""

    directory: str
    generation: int
    format: str
    product: str = "dftindexd"
    version: str = __version__


class Place(msgspec.Struct, frozen=True):
    """Where the store goes: ``path``; what is there now is ours, or goes ``aside``."""

    path: str
    aside: str | None


def is_ours(path: str) -> bool:
    """Return whether the store at *path* has our marker."""
    return os.path.isfile(os.path.join(path, MARKER))


def free_place(directory: str, *, force: bool) -> Place:
    """Return where in *directory* a store can be published.

    :raises InvalidArgumentError: it is not a directory, or one where nobody would look, or somebody
        else's store is there and *force* does not say that it may go aside.
    """
    if not os.path.isdir(directory):
        raise InvalidArgumentError(f"{directory} is not a directory", "make it first")
    if os.path.splitext(os.path.basename(directory))[1]:
        raise InvalidArgumentError(
            f"dftracer-utils 0.0.12 takes {directory} for a file, since there is a dot in its name,"
            " and looks in the directory above",
            "rename it, or give --to a directory without a dot",
        )
    path = os.path.join(directory, FOLDER)
    if not os.path.lexists(path) or is_ours(path):
        return Place(path, None)
    if not force:
        raise InvalidArgumentError(
            f"{path} was not published by dftindexd",
            "give --force to keep it aside, or --to another directory",
        )
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return Place(path, f"{path}.aside-{now}-{os.getpid()}")


@contextmanager
def new_store(place: Place, marker: Marker) -> Iterator[str]:
    """Give the path of a new directory, which takes *place* when the block ends without error."""
    part = f"{place.path}{_PART}{os.getpid()}"
    _remove_leftovers(place.path)
    try:
        os.mkdir(part)
        yield part
        with open(os.path.join(part, MARKER), "wb") as file:
            file.write(msgspec.json.encode(marker))
            file.flush()
            os.fsync(file.fileno())
        sync_path(part)
        _take(place, part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _take(place: Place, part: str) -> None:
    if place.aside is not None:
        os.rename(place.path, place.aside)
    if os.path.lexists(place.path):
        if not is_ours(place.path):
            raise InvalidArgumentError(
                f"{place.path} was made by somebody else meanwhile", "give --force to keep it aside"
            )
        _exchange(part, place.path)
        shutil.rmtree(part)
    else:
        os.rename(part, place.path)
    sync_path(os.path.dirname(place.path))


def _exchange(new: str, old: str) -> None:
    """Let two directories take each other's names, at once where the file system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(new), os.fsencode(old))
    if not libc.renameat2(_AT_CWD, names[0], _AT_CWD, names[1], _EXCHANGE):
        return
    code = ctypes.get_errno()
    if code not in _CANNOT:
        raise OSError(code, os.strerror(code), old)
    between = f"{new}.old"
    os.rename(old, between)
    os.rename(new, old)
    os.rename(between, new)


def _remove_leftovers(path: str) -> None:
    """Remove what publishing processes left that are no more."""
    directory, name = os.path.split(path)
    for entry in os.listdir(directory):
        if entry.startswith(name + _PART) and not _lives(entry.rpartition("-")[2]):
            shutil.rmtree(os.path.join(directory, entry), ignore_errors=True)


def _lives(number: str) -> bool:
    return number.isdecimal() and os.path.exists(f"/proc/{number}")
