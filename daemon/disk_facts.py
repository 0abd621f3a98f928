"""The facts on disk that say who may read a path, and the resolution of paths as a user could."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from dftindexd.daemon.file_access import READ, SEARCH, Facts, Identity, allows

__all__ = ("DiskFacts", "facts_at")

_ACL: Final = "system.posix_acl_access"
#: No ACL, or a file system without any.
_WITHOUT_ACL: Final = (errno.ENODATA, errno.EOPNOTSUPP)
_MOST_LINKS: Final = 40


def facts_at(path: bytes) -> Facts | None:
    """Return the facts of *path*, of a link itself; ``None`` where they cannot be known."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    acl = None
    if not stat.S_ISLNK(status.st_mode):
        try:
            acl = os.getxattr(path, _ACL, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _WITHOUT_ACL:
                return None
    return Facts(status.st_mode, status.st_uid, status.st_gid, status.st_ino, acl)


class DiskFacts:
    """What *who* may reach; each directory is looked at once, so that it is for one answer only."""

    def __init__(self, who: Identity) -> None:
        self._who = who
        self._searched: dict[bytes, bool] = {}
        self._listed: dict[bytes, bool] = {}

    def may(self, facts: Facts | None, wanted: int) -> bool:
        """Return whether *facts* allow *wanted*; unknown facts allow nothing."""
        return facts is not None and allows(facts, self._who, wanted)

    def may_list(self, directory: bytes) -> bool:
        """Return whether the directory (not the way to it) may be listed and searched."""
        known = self._listed.get(directory)
        if known is None:
            facts = facts_at(directory)
            known = self.may(facts, READ | SEARCH) and _is_directory(facts)
            self._listed[directory] = known
        return known

    def reaches(self, directory: bytes) -> bool:
        """Return whether *directory*, a real path, and all above it may be passed through."""
        # From the top, and without recursion: directories may lie deeper than that goes.
        new = []
        while directory not in self._searched:
            new.append(directory)
            if directory == os.path.dirname(directory):
                break
            directory = os.path.dirname(directory)
        reached = self._searched.get(directory, True)
        for one in reversed(new):
            if reached:
                facts = facts_at(one)
                reached = self.may(facts, SEARCH) and _is_directory(facts)
            self._searched[one] = reached
        return reached

    def opens(self, path: bytes) -> bool:
        """Return whether the file *path* may be read, or the directory searched."""
        facts = facts_at(path)
        return self.may(facts, SEARCH if _is_directory(facts) else READ)

    def resolve(self, path: bytes) -> bytes | None:
        """Return the real path of the absolute *path*, ``None`` where a part of it is not there, or
        lies behind what may not be searched: then nothing is told, also not where a link leads."""
        done, left, links = b"/", path.split(b"/")[::-1], 0
        while left:
            name = left.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                done = os.path.dirname(done)
                continue
            if not self.reaches(done):
                return None
            here = os.path.join(done, name)
            target = _link_at(here)
            if target is None:
                return None
            if not target:
                done = here
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            done = b"/" if target.startswith(b"/") else done
            left += target.split(b"/")[::-1]
        return done


def _is_directory(facts: Facts | None) -> bool:
    return facts is not None and stat.S_ISDIR(facts.mode)


def _link_at(path: bytes) -> bytes | None:
    """Return where the link *path* leads, ``b""`` if it is none, ``None`` if nothing is there."""
    try:
        return os.readlink(path)
    except OSError as error:
        return b"" if error.errno == errno.EINVAL else None
