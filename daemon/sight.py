"""What one peer sees: everything, or what it could read on disk itself.

A guest sees a trace when it may pass through every directory on the way, may list those from the
path that it asked about on (it knows that path already), and may read the file, and when that file
is still the one that was indexed: its inode is that of the commit record, and its real path lies
below the root. What cannot be looked at is not seen. The disk is asked anew for each answer.

All of this blocks: it belongs into a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from dftindexd.actors.directories import is_below
from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.disk_facts import DiskFacts, facts_at
from dftindexd.daemon.file_access import READ, SEARCH, Identity
from dftindexd.daemon.peer import Peer
from dftindexd.index.store.registry import Registry, sets_below

__all__ = ("EVERYTHING", "Sight", "Way", "sight_of")

T = TypeVar("T")


class Way:
    """What a guest sees of a root from the real path *base* on, which it knows."""

    def __init__(self, disk: DiskFacts, root: Root, base: bytes) -> None:
        self._disk = disk
        self._root = root.path.rstrip(b"/")
        self._follows = root.options.rules.follow_links
        self._base = base.rstrip(b"/")
        self._places: dict[bytes, bytes | None] = {}

    def place(self, directory: bytes) -> bytes | None:
        """Return the real path of *directory*, as it is called below the root, if the guest could
        find the names in it, else ``None``."""
        # From the top, and without recursion: directories may lie deeper than that goes.
        asked, new = directory, []
        while directory not in self._places and is_below(directory, self._base):
            new.append(directory)
            if directory.rstrip(b"/") == self._base:
                break
            directory = os.path.dirname(directory)
        hidden = directory in self._places and self._places[directory] is None
        for one in reversed(new):
            self._places[one] = None if hidden else self._listed(one)
            hidden = self._places[one] is None
        return self._places[asked] if asked in self._places else self._real(asked)

    def _real(self, directory: bytes) -> bytes | None:
        return directory if self._disk.reaches(directory) else self._inside(directory)

    def _listed(self, directory: bytes) -> bytes | None:
        real = self._real(directory)
        return real if real is not None and self._disk.may_list(real) else None

    def shows(self, relative: bytes, inode: int | None = None) -> bool:
        """Return whether the guest may read the file at *relative* to the root, and whether that is
        the one of *inode*, where this is given."""
        path = os.path.join(self._root or b"/", relative)
        place = self.place(os.path.dirname(path))
        if place is None:
            return False
        facts = facts_at(os.path.join(place, os.path.basename(path)))
        if facts is not None and stat.S_ISLNK(facts.mode):
            target = self._inside(path)
            facts = None if target is None else facts_at(target)
        if facts is None or not stat.S_ISREG(facts.mode):
            return False
        return inode in (None, facts.ino) and self._disk.may(facts, READ)

    def _inside(self, path: bytes) -> bytes | None:
        """Return where *path* leads by links, if the root shows what is there."""
        real = self._disk.resolve(path)
        if real is None or self._follows or is_below(real, self._root):
            return real
        return None


class Sight:
    """What the peer of one request sees; *who* is ``None`` for the owner, who sees everything."""

    def __init__(self, who: Identity | None) -> None:
        self._who = who
        self.is_whole: Final = who is None
        self.disk: Final = DiskFacts(who or Identity(0, frozenset()))
        self.uid: Final = None if who is None else who.uid

    def anew(self) -> Sight:
        """Return what the same peer sees by now: a sight remembers what it looked at."""
        return Sight(self._who)

    def way(self, root: Root, base: bytes) -> Way:
        """Return what is seen of *root* from the real path *base* on."""
        return Way(self.disk, root, base)

    def sees_directory(self, path: bytes) -> bool:
        """Return whether the directory *path*, a real path, may be listed."""
        return self.is_whole or (self.disk.reaches(path) and self.disk.may_list(path))

    def owns(self, path: bytes) -> bool:
        """Return whether *path*, a real path, can be reached and belongs to the peer."""
        if self.is_whole:
            return True
        facts = facts_at(path)
        reached = self.disk.reaches(os.path.dirname(path)) and self.disk.may(facts, READ | SEARCH)
        return reached and facts is not None and facts.uid == self.uid

    def registry(self, root: Root, base: bytes, registry: Registry) -> Registry:
        """Return *registry* with only those traces at or below *base* that are seen, itself if that
        is all of them."""
        if self.is_whole:
            return registry
        way, below = self.way(root, base), root.relative(base)
        hidden = [
            sets[0].path
            for sets in sets_below(registry, below)
            if not all(way.shows(one.path, one.stamp.ino) for one in sets)
        ]
        return without(registry, hidden)

    def present(self, root: Root, base: bytes, paths: Iterable[bytes]) -> list[bytes]:
        """Return those of *paths*, of files below *root*, that are seen."""
        way = self.way(root, base)
        return [path for path in paths if self.is_whole or way.shows(path)]

    def named(self, root: Root, base: bytes, paths: Iterable[bytes]) -> list[bytes]:
        """Return those of *paths*, of files that were below *root*, that the peer could have found
        in their directories."""
        way = self.way(root, base)
        return [
            path
            for path in paths
            if self.is_whole
            or way.place(os.path.dirname(os.path.join(root.path, path))) is not None
        ]

    def reading(
        self, root: Root, base: bytes, function: Callable[[StoreView], T]
    ) -> Callable[[StoreView], T]:
        """Return *function* such that it gets only what is seen at or below *base*."""
        if self.is_whole:
            return function

        def read(view: StoreView) -> T:
            registry = self.registry(root, base, view.registry)
            return function(msgspec.structs.replace(view, registry=registry))

        return read


EVERYTHING: Final = Sight(None)


def sight_of(peer: Peer) -> Sight:
    """Return what *peer*, a guest, sees by now."""
    return Sight(Identity(peer.uid, peer.groups | {peer.gid}))


def without(registry: Registry, hidden: Iterable[bytes]) -> Registry:
    """Return the registry of the same generation without the traces *hidden*."""
    changes = dict.fromkeys(hidden, ())
    if not changes:
        return registry
    less = registry.with_changes(registry.generation, registry.next_file_id, changes)
    return msgspec.structs.replace(less, gone=registry.gone)
