"""What lies on disk: every trace below a root with its stamp, by one walk of the tree.

A scan is the truth that watching only hints at. Names are the file system's bytes. A directory that
cannot be read is reported and does not end the scan.
"""

from __future__ import annotations

import os
import stat
from typing import Final

import msgspec

from dftindexd.index.model import FileStamp

__all__ = ("SUFFIXES", "Scan", "is_trace_name", "scan_tree", "stamp_of", "stamp_or_none")

#: What the name of a trace ends with.
SUFFIXES: Final = (b".pfw", b".pfw.gz")


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """One walk below ``directory`` (relative to the root, ``b""`` for the root itself).

    ``problems`` has each directory or trace that could not be looked at, with the reason;
    ``root_error`` says why the root itself could not be.
    """

    directory: bytes
    stamps: dict[bytes, FileStamp]
    problems: dict[bytes, str] = {}
    root_error: str = ""


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


def scan_tree(root: bytes, directory: bytes = b"") -> Scan:
    """Walk *directory* below *root* and return what is there; it may also name a single trace.

    Symbolic links to files are followed, those to directories are not.
    """
    stamps: dict[bytes, FileStamp] = {}
    problems: dict[bytes, str] = {}
    top = os.path.join(root, directory) if directory else root
    try:
        os.stat(root)
    except OSError as error:
        return Scan(directory=directory, stamps={}, root_error=error.strerror or str(error))
    pending = [(top, directory)]
    while pending:
        absolute, relative = pending.pop()
        try:
            entries = os.scandir(absolute)
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            _look_at_file(absolute, relative, stamps, problems)
            continue
        except OSError as error:
            problems[relative] = error.strerror or str(error)
            continue
        with entries:
            for entry in entries:
                name = os.path.join(relative, entry.name) if relative else entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, name))
                    elif is_trace_name(entry.name) and entry.is_file():
                        stamps[name] = stamp_of(entry.stat())
                except FileNotFoundError:
                    continue
                except OSError as error:
                    problems[name] = error.strerror or str(error)
    return Scan(directory=directory, stamps=stamps, problems=problems)


def _look_at_file(
    absolute: bytes, relative: bytes, stamps: dict[bytes, FileStamp], problems: dict[bytes, str]
) -> None:
    if not is_trace_name(relative):
        return
    try:
        stamp = stamp_or_none(absolute)
    except OSError as error:
        problems[relative] = error.strerror or str(error)
        return
    if stamp is not None:
        stamps[relative] = stamp
