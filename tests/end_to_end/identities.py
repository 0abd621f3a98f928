"""Being somebody else for a moment, as the kernel tells the daemon, and files with ACLs."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ("GROUP", "GROUP_OBJ", "MASK", "OTHER", "USER", "USER_OBJ", "Person", "being", "set_acl")

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32


class Person(NamedTuple):
    """A user with a group and further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@contextmanager
def being(person: Person) -> Iterator[None]:
    """Have all of this process, but for its right to come back, be *person*.

    A connection keeps the credentials that it was opened with.
    """
    before = os.getgroups()
    try:
        os.setgroups(person.groups)
        os.setegid(person.gid)
        os.seteuid(person.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def set_acl(path: Path, *entries: tuple[int, int, int]) -> None:
    """Give *path* the ACL of these entries: tag, permissions and id (any where there is none)."""
    body = b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries))
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + body)
