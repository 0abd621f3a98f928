"""Where exports come to lie: files and directories that appear whole, or not at all.

They are built beside their place, synced, and renamed into it. What is there already is replaced
where that was asked for; of directories only one that holds an export, nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dftindexd.client.backup import sync
from dftindexd.client.table_files import telling_of, umask
from dftindexd.protocol.errors import InvalidArgumentError

__all__ = ("PART_NAME", "check_free", "directory_beside", "size_of")

#: What the files of an exported directory are called.
PART_NAME: Final = "part-{}.parquet"

_PART: Final = re.compile(r"part-\d+\.parquet")


def check_free(path: str, *, force: bool, directory: bool) -> None:
    """See to it that *path* can be made, or replaced if *force*.

    :raises InvalidArgumentError: it cannot.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise InvalidArgumentError(f"{folder} is not a directory", "make it first")
    if not os.path.lexists(path):
        return
    if not force:
        raise InvalidArgumentError(f"{path} exists already", "name another, or give --force")
    mode = os.lstat(path).st_mode
    if directory:
        stranger = _stranger(path) if stat.S_ISDIR(mode) else path
        if stranger is not None:
            raise InvalidArgumentError(
                f"{path} is or holds something else than an export: {stranger}",
                "only a directory of an export is replaced; name another",
            )
    elif not stat.S_ISREG(mode):
        raise InvalidArgumentError(f"{path} is no regular file", "name another")


def _stranger(path: str) -> str | None:
    """Return what is in a directory that no export of ours would have put there."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and "=" in entry.name:
                found = _stranger(entry.path)
            else:
                is_part = entry.is_file(follow_symlinks=False) and _PART.fullmatch(entry.name)
                found = None if is_part else entry.path
            if found is not None:
                return found
    return None


@contextmanager
def directory_beside(path: str) -> Iterator[str]:
    """Give a new directory beside *path* that takes its place at the end of the context, unless
    that ends with an error: then nothing is left of it.

    :raises InvalidArgumentError: it cannot be written.
    """
    place = os.path.abspath(path)
    folder, name = os.path.split(place)
    with telling_of(path):
        part = tempfile.mkdtemp(prefix=f".{name}.", dir=folder)
        try:
            yield part
            os.chmod(part, 0o777 & ~umask())
            _sync_all(part)
            _take_place(part, place)
            sync(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _take_place(part: str, place: str) -> None:
    if not os.path.lexists(place):
        os.rename(part, place)
        return
    old = tempfile.mkdtemp(prefix=f".{os.path.basename(place)}.", dir=os.path.dirname(place))
    os.rename(place, old)
    try:
        os.rename(part, place)
    except OSError:
        os.rename(old, place)
        raise
    shutil.rmtree(old)


def size_of(path: str) -> tuple[int, int]:
    """Return how many files *path* is, and how many bytes they have."""
    if not os.path.isdir(path):
        return 1, os.path.getsize(path)
    sizes = [
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    ]
    return len(sizes), sum(sizes)


def _sync_all(top: str) -> None:
    for folder, _, names in os.walk(top, topdown=False):
        for name in names:
            sync(os.path.join(folder, name))
        sync(folder)
