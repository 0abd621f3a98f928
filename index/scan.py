"""What lies on disk: every trace below a root with its stamp, by one walk of the tree.

A scan is the truth that watching only hints at. Names are the file system's bytes. A directory that
cannot be read is reported and does not end the scan.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

import msgspec

from dftindexd.index.model import FileStamp

__all__ = ("SUFFIXES", "Scan", "is_trace_name", "scan_tree", "stamp_of", "stamp_or_none")

#: What the name of a trace ends with.
SUFFIXES: Final = (b".pfw", b".pfw.gz")


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """One walk below ``directory`` (relative to the root, ``b""`` for the root itself), or with
    ``recursive`` false one look at what lies in it.

    ``problems`` has each directory or trace that could not be looked at, with the reason;
    ``root_error`` says why the root itself could not be; then nothing else is said. ``device`` is
    that of the root, if it could.
    """

    directory: bytes
    stamps: dict[bytes, FileStamp]
    recursive: bool = True
    problems: dict[bytes, str] = {}
    root_error: str = ""
    device: int | None = None

    def covers(self, path: bytes) -> bool:
        """Return whether the scan would have shown a trace at *path*."""
        if path == self.directory:
            return True
        prefix = self.directory + b"/" if self.directory else b""
        return path.startswith(prefix) and (self.recursive or b"/" not in path[len(prefix) :])


def is_trace_name(name: bytes) -> bool:
    """Return whether a file of this name is a trace."""
    return name.endswith(SUFFIXES)


def stamp_of(status: os.stat_result) -> FileStamp:
    """Return the stamp of a ``stat`` result."""
    return FileStamp(
        ino=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
    )


def stamp_or_none(path: bytes) -> FileStamp | None:
    """Return the stamp of the regular file at *path*, or ``None`` where there is none.

    :raises OSError: the path cannot be looked at for another reason than its absence.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stamp_of(status) if stat.S_ISREG(status.st_mode) else None


def scan_tree(root: bytes, directory: bytes = b"", *, recursive: bool = True) -> Scan:
    """Walk *directory* below *root* and return what is there; it may also name a single trace.

    Symbolic links to files are followed, those to directories are not, wherever below the root they
    are: whatever the walk of the whole root would not show, that of a part does not show either.
    """
    stamps: dict[bytes, FileStamp] = {}
    problems: dict[bytes, str] = {}
    before = _look_at_root(root)
    if not isinstance(before, str) and not _leads_through_link(root, directory):
        top = os.path.join(root, directory) if directory else root
        pending = [(top, directory)]
        while pending:
            absolute, relative = pending.pop()
            try:
                below = _scan_directory(absolute, relative, stamps, problems)
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                _look_at_file(absolute, relative, stamps, problems)
            except OSError as error:
                problems[relative] = _reason(error)
            else:
                pending += below if recursive else ()
    root_error = before if isinstance(before, str) else problems.get(b"", "")
    # A root that went away meanwhile makes every directory below it look deleted.
    if not root_error and _look_at_root(root) != before:
        root_error = "it changed while it was looked at"
    if root_error:
        stamps, problems = {}, {}
    return Scan(
        directory=directory,
        stamps=stamps,
        recursive=recursive,
        problems=problems,
        root_error=root_error,
        device=None if isinstance(before, str) else before[0],
    )


def _look_at_root(root: bytes) -> tuple[int, int] | str:
    """Return which directory *root* is, or why it cannot be looked at."""
    try:
        status = os.stat(root)
    except OSError as error:
        return _reason(error)
    if not stat.S_ISDIR(status.st_mode):
        return os.strerror(errno.ENOTDIR)
    return status.st_dev, status.st_ino


def _leads_through_link(root: bytes, directory: bytes) -> bool:
    """Return whether *directory* is or lies below a symbolic link to a directory."""
    path = root
    for name in filter(None, directory.split(b"/")):
        path = os.path.join(path, name)
        if os.path.islink(path) and os.path.isdir(path):
            return True
    return False


def _scan_directory(
    absolute: bytes, relative: bytes, stamps: dict[bytes, FileStamp], problems: dict[bytes, str]
) -> list[tuple[bytes, bytes]]:
    """Note the traces in one directory and return the directories in it."""
    below: list[tuple[bytes, bytes]] = []
    with os.scandir(absolute) as entries:
        for entry in entries:
            name = os.path.join(relative, entry.name) if relative else entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append((entry.path, name))
                elif is_trace_name(entry.name) and entry.is_file():
                    stamps[name] = stamp_of(entry.stat())
            except FileNotFoundError:
                continue
            except OSError as error:
                problems[name] = _reason(error)
    return below


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _look_at_file(
    absolute: bytes, relative: bytes, stamps: dict[bytes, FileStamp], problems: dict[bytes, str]
) -> None:
    if not is_trace_name(relative):
        return
    try:
        stamp = stamp_or_none(absolute)
    except OSError as error:
        problems[relative] = _reason(error)
        return
    if stamp is not None:
        stamps[relative] = stamp
