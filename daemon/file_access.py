"""May a user read a file or pass through a directory: the kernel's rule, as a pure function.

The daemon of a node may read everything, by a capability, but may not become another user, which is
another capability and would give it everything that user has. So it decides by what ``stat`` and
the POSIX ACL say, as the kernel does (acl(5), "access check algorithm").
"""

from __future__ import annotations

import stat
import struct
from typing import Final, NamedTuple

__all__ = ("READ", "SEARCH", "Facts", "Identity", "allows")

READ: Final = 4
SEARCH: Final = 1

_VERSION: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
_ACL_VERSION: Final = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32


class Identity(NamedTuple):
    """A user and all their groups."""

    uid: int
    groups: frozenset[int]


class Facts(NamedTuple):
    """What the disk says of a file or directory; *acl* is ``system.posix_acl_access``, if any."""

    mode: int
    uid: int
    gid: int
    ino: int
    acl: bytes | None = None


def allows(facts: Facts, who: Identity, wanted: int) -> bool:
    """Return whether *who* may do all of *wanted*, of ``READ`` and ``SEARCH`` (on a file: execute).

    An ACL that cannot be understood allows its owner what the mode says, and others nothing.
    """
    mode = stat.S_IMODE(facts.mode)
    if who.uid == facts.uid:
        return mode >> 6 & wanted == wanted
    # As in the kernel, an ACL whose mask is empty says nothing: then named users are others.
    if facts.acl is not None and mode & stat.S_IRWXG:
        return _acl_allows(facts, who, wanted)
    # Whoever is in the group gets what the group has, though others may have more.
    shift = 3 if facts.gid in who.groups else 0
    return mode >> shift & wanted == wanted


def _acl_allows(facts: Facts, who: Identity, wanted: int) -> bool:
    entries = _entries(facts.acl or b"")
    if entries is None:
        return False
    mask = next((permitted for tag, permitted, _ in entries if tag == _MASK), 7)
    for tag, permitted, ident in entries:
        if tag == _USER and ident == who.uid:
            return permitted & mask & wanted == wanted
    groups = [
        permitted & mask
        for tag, permitted, ident in entries
        if (tag == _GROUP_OBJ and facts.gid in who.groups)
        or (tag == _GROUP and ident in who.groups)
    ]
    if groups:
        return any(permitted & wanted == wanted for permitted in groups)
    return any(tag == _OTHER and permitted & wanted == wanted for tag, permitted, _ in entries)


def _entries(acl: bytes) -> list[tuple[int, int, int]] | None:
    body = acl[_VERSION.size :]
    if len(acl) < _VERSION.size or len(body) % _ENTRY.size:
        return None
    if _VERSION.unpack_from(acl) != (_ACL_VERSION,):
        return None
    return [(tag, permitted, ident) for tag, permitted, ident in _ENTRY.iter_unpack(body)]
