"""What lies on disk: every trace below a root with its stamp, by one walk of the tree.

A scan is the truth that watching only hints at. Names are the file system's bytes. A directory that
cannot be read is reported and does not end the scan.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from dftindexd.index.model import FileStamp
from dftindexd.index.trace_rules import TraceRules

__all__ = ("Scan", "directories_below", "outermost_of", "scan_tree", "stamp_of", "stamp_or_none")

#: The directories outside of the root that links led to on the way.
_Followed: TypeAlias = tuple[bytes, ...]


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


def scan_tree(
    root: bytes,
    directory: bytes = b"",
    *,
    recursive: bool = True,
    rules: TraceRules = TraceRules(),  # noqa: B008 - frozen
) -> Scan:
    """Walk *directory* below *root* and return what is there; it may also name a single trace.

    A link that stays below the root shows nothing, since its target is shown by its own name. If
    that is no name of a trace, the link shows it, provided that the target lies in or below the
    link's own directory: so a directory shows the same whichever root it is part of. Links that
    lead out of the root are followed if *rules* say so, on each way down once, so that no walk is
    without an end. Whatever the walk of the whole root would not show, that of a part does not show
    either.
    """
    walk = _Walk(root, rules)
    before = _look_at_root(root)
    if not isinstance(before, str):
        walk.run(directory, recursive=recursive)
    root_error = before if isinstance(before, str) else walk.problems.get(b"", "")
    # A root that went away meanwhile makes every directory below it look deleted.
    if not root_error and _look_at_root(root) != before:
        root_error = "it changed while it was looked at"
    return Scan(
        directory=directory,
        stamps={} if root_error else walk.stamps,
        recursive=recursive,
        problems={} if root_error else walk.problems,
        root_error=root_error,
        device=None if isinstance(before, str) else before[0],
    )


def directories_below(root: bytes, directory: bytes, rules: TraceRules) -> Iterator[bytes]:
    """Yield every directory that a scan of *directory* looks into, each before it does so; those
    that cannot be read are among them."""
    walk = _Walk(root, rules)
    pending = walk.start(directory)
    while pending:
        one = pending.pop()
        yield one.relative
        with suppress(OSError):
            pending += walk.look_into(one, stamps=False)


def outermost_of(directories: Collection[bytes]) -> list[bytes]:
    """Return *directories* without those that a scan of another of them shows anyway."""
    if b"" in directories:
        return [b""]
    known = set(directories)
    return [path for path in directories if known.isdisjoint(_ancestors(path))]


def _ancestors(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory to be looked into, and the links on the way to it."""

    relative: bytes
    followed: _Followed = ()


@dataclass
class _Walk:
    """One walk below *root*; ``stamps`` and ``problems`` are as in :class:`Scan`."""

    root: bytes
    rules: TraceRules
    stamps: dict[bytes, FileStamp] = field(default_factory=dict)
    problems: dict[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._real_root = os.path.realpath(self.root)
        self._prefix = os.path.join(self.root, b"")

    def run(self, directory: bytes, *, recursive: bool) -> None:
        pending = self.start(directory)
        while pending:
            one = pending.pop()
            try:
                below = self.look_into(one)
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                self._look_at_file(one)
            except OSError as error:
                self.problems[one.relative] = _reason(error)
            else:
                pending += below if recursive else ()

    def start(self, directory: bytes) -> list[_Directory]:
        """Return where a walk of *directory* begins: nowhere if none of the root leads there."""
        if not self.rules.enters(directory):
            return []
        one = _Directory(b"")
        for name in filter(None, directory.split(b"/")):
            path = os.path.join(one.relative, name)
            absolute = os.path.join(self.root, path)
            if not os.path.islink(absolute) or not os.path.isdir(absolute):
                one = _Directory(path, one.followed)
                continue
            linked = self._linked_directory(absolute, path, one.followed)
            if linked is None:
                return []
            one = linked
        return [one]

    def look_into(self, directory: _Directory, *, stamps: bool = True) -> list[_Directory]:
        """Note the *stamps* of the traces in one directory and return the directories in it."""
        below: list[_Directory] = []
        relative = directory.relative
        prefix = relative + b"/" if relative else b""
        with os.scandir(self._prefix + relative if relative else self.root) as entries:
            for entry in entries:
                name = prefix + entry.name
                try:
                    if entry.is_symlink():
                        below += self._look_at_link(entry.path, name, directory.followed)
                    elif entry.is_dir(follow_symlinks=False):
                        if self.rules.enters(name):
                            below.append(_Directory(name, directory.followed))
                    elif stamps and self.rules.shows(name) and entry.is_file():
                        self.stamps[name] = stamp_of(entry.stat())
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self.problems[name] = _reason(error)
        return below

    def _look_at_file(self, file: _Directory) -> None:
        name = file.relative
        absolute = os.path.join(self.root, name)
        try:
            if os.path.islink(absolute):
                self._look_at_link(absolute, name, file.followed)
            elif self.rules.shows(name) and (stamp := stamp_or_none(absolute)) is not None:
                self.stamps[name] = stamp
        except FileNotFoundError:
            return
        except OSError as error:
            self.problems[name] = _reason(error)

    def _look_at_link(self, absolute: bytes, name: bytes, followed: _Followed) -> list[_Directory]:
        """Note the trace that a link leads to, or return the directory."""
        shows = self.rules.shows(name)
        if not shows and not self.rules.follow_links:
            return []
        try:
            status = os.stat(absolute)
        except FileNotFoundError:
            return []
        except OSError:
            if shows:
                raise
            return []
        if stat.S_ISDIR(status.st_mode):
            linked = self._linked_directory(absolute, name, followed)
            return [linked] if linked is not None else []
        if shows and stat.S_ISREG(status.st_mode) and self._may_show(absolute):
            self.stamps[name] = stamp_of(status)
        return []

    def _may_show(self, link: bytes) -> bool:
        target = os.path.realpath(link)
        if not _lies_in(target, self._real_root):
            return self.rules.follow_links
        if self.rules.shows(target[len(self._real_root.rstrip(b"/")) + 1 :]):
            return False
        return _lies_in(target, os.path.realpath(os.path.dirname(link)))

    def _linked_directory(
        self, absolute: bytes, name: bytes, followed: _Followed
    ) -> _Directory | None:
        """Return the directory that a link leads to, where it is followed."""
        if not self.rules.follow_links or not self.rules.enters(name):
            return None
        target = os.path.realpath(absolute)
        for known in (self._real_root, *followed):
            if _lies_in(target, known) or _lies_in(known, target):
                return None
        return _Directory(name, (*followed, target))


def _lies_in(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _look_at_root(root: bytes) -> tuple[int, int] | str:
    """Return which directory *root* is, or why it cannot be looked at."""
    try:
        status = os.stat(root)
    except OSError as error:
        return _reason(error)
    if not stat.S_ISDIR(status.st_mode):
        return os.strerror(errno.ENOTDIR)
    return status.st_dev, status.st_ino


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
