"""Which directories below a root the kernel watches, and what its events mean for the root.

A directory is watched before it is looked into: what comes into it is told by an event, and what
was there is seen by the look at the disk that the hint brings. Where events were lost, all
directories are watched anew.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from dftindexd.actors import inotify
from dftindexd.actors.inotify import Event, Inotify
from dftindexd.index.scan import directories_below
from dftindexd.index.trace_rules import TraceRules

__all__ = ("Told", "WatchedTree")

_CAME = inotify.CREATE | inotify.MOVED_TO
_WENT = inotify.DELETE | inotify.MOVED_FROM
_ROOT_WENT = inotify.DELETE_SELF | inotify.MOVE_SELF | inotify.UNMOUNT

#: A directory may go away, or be shut, while it is about to be watched.
_NOT_WATCHED = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP))


@dataclass
class Told:
    """What some events say: ``paths`` (relative to the root) have changed; ``directories`` of them
    are to be watched; ``anywhere``: anything may have changed; ``root_gone``: the root is not there
    any more."""

    paths: set[bytes] = field(default_factory=set)
    directories: set[bytes] = field(default_factory=set)
    anywhere: bool = False
    root_gone: bool = False

    def __bool__(self) -> bool:
        return bool(self.paths) or self.anywhere or self.root_gone


class WatchedTree:
    """The watches below *root*. Not to be used by two threads at once."""

    def __init__(self, root: bytes, rules: TraceRules, kernel: Inotify) -> None:
        self._root = root
        self._rules = rules
        self._kernel = kernel
        self._paths: dict[int, bytes] = {}
        self._watches: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def cover(self, directories: Iterable[bytes]) -> None:
        """Watch *directories* (relative to the root) and all below them.

        :raises OSError: the root cannot be watched, or a limit of the kernel is reached.
        """
        for top in directories:
            for directory in directories_below(self._root, top, self._rules):
                self._watch(directory)

    def cover_anew(self) -> None:
        """Watch all that is there now, and nothing that is not."""
        before = set(self._paths)
        self._paths.clear()
        self._watches.clear()
        self.cover([b""])
        for watch in before - self._paths.keys():
            self._kernel.remove(watch)

    def _watch(self, directory: bytes) -> None:
        try:
            absolute = os.path.join(self._root, directory) if directory else self._root
            watch = self._kernel.add(absolute)
        except OSError as error:
            if directory and error.errno in _NOT_WATCHED:
                return
            raise
        self._paths[watch] = directory
        self._watches[directory] = watch

    def take(self, events: Iterable[Event]) -> Told:
        """Return what *events* say, and forget the watches that ended."""
        told = Told()
        for event in events:
            self._take_one(event, told)
        return told

    def _take_one(self, event: Event, told: Told) -> None:
        if event.mask & inotify.OVERFLOW:
            told.anywhere = True
            return
        directory = self._paths.get(event.watch)
        if directory is None:
            return
        if event.mask & inotify.IGNORED:
            self._forget(event.watch, directory)
        elif event.mask & inotify.UNMOUNT:
            told.anywhere, told.root_gone = True, told.root_gone or not directory
        elif event.mask & _ROOT_WENT:
            told.root_gone = told.root_gone or not directory
        elif not event.name:
            # The root may be readable now.
            told.anywhere = told.anywhere or not directory
        else:
            self._take_name(os.path.join(directory, event.name), event.mask, told)

    def _take_name(self, path: bytes, mask: int, told: Told) -> None:
        is_directory = bool(mask & inotify.IS_DIRECTORY)
        if is_directory and mask & inotify.MOVED_FROM:
            self._end_below(path)
        comes_or_goes = bool(mask & (_CAME | _WENT))
        may_lead_on = is_directory or (self._rules.follow_links and comes_or_goes)
        if may_lead_on and not mask & _WENT and self._rules.enters(path):
            told.directories.add(path)
            told.paths.add(path)
        elif self._rules.shows(path) or (may_lead_on and mask & _WENT):
            told.paths.add(path)

    def _end_below(self, path: bytes) -> None:
        """End the watches of a directory that is not at *path* any more."""
        prefix = path + b"/"
        for directory, watch in list(self._watches.items()):
            if directory != path and not directory.startswith(prefix):
                continue
            del self._watches[directory]
            if self._paths[watch] == directory:  # else it is known by its new name already
                del self._paths[watch]
                self._kernel.remove(watch)

    def _forget(self, watch: int, directory: bytes) -> None:
        self._paths.pop(watch, None)
        if self._watches.get(directory) == watch:
            del self._watches[directory]
