"""The names and numbers of those who are let in as guests."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable

from dftindexd.daemon.callers import Admission

__all__ = ("admission_of", "known_groups", "known_users")


def admission_of(users: Iterable[str], groups: Iterable[str]) -> Admission:
    """Return whom these names and numbers let in beside the user who runs this.

    :raises ValueError: there is no such user or group.
    """
    return Admission(
        owner=os.getuid(),
        users=frozenset(_number(name, "user", _uid) for name in users),
        groups=frozenset(_number(name, "group", _gid) for name in groups),
    )


def known_users(names: list[str]) -> list[str]:
    """Return *names*.

    :raises ValueError: one is that of no user.
    """
    admission_of(names, ())
    return names


def known_groups(names: list[str]) -> list[str]:
    """Return *names*.

    :raises ValueError: one is that of no group.
    """
    admission_of((), names)
    return names


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _number(name: str, what: str, find: Callable[[str], int]) -> int:
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return find(name)
    except KeyError as error:
        raise ValueError(f"there is no {what} {name!r}; give a name or a number") from error
