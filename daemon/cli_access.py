"""The options of ``dftindexd run`` that say who gets in and where metrics go."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from typing import TypeVar

import click

from dftindexd.daemon.callers import Admission

__all__ = ("access_options", "admission_of")

T = TypeVar("T")


def access_options(function: Callable[..., T]) -> Callable[..., T]:
    """Add the options to a command."""
    options = [
        click.option(
            "--allow-user",
            "allow_users",
            multiple=True,
            metavar="USER",
            help="Let this user (name or number) in as a guest, who sees only what they may read "
            "on disk; may be given several times.",
        ),
        click.option(
            "--allow-group",
            "allow_groups",
            multiple=True,
            metavar="GROUP",
            help="Let users of this group (name or number) in as guests; may be given several "
            "times.",
        ),
        click.option(
            "--metrics-port",
            type=click.IntRange(1, 65535),
            metavar="PORT",
            help="Serve metrics for Prometheus at http://127.0.0.1:PORT/metrics, to whoever can "
            "connect there.",
        ),
        click.option(
            "--metrics-file",
            type=click.Path(dir_okay=False),
            metavar="FILE",
            help="Write metrics to this file every 15 seconds, for the textfile collector of "
            "node_exporter.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def admission_of(users: tuple[str, ...], groups: tuple[str, ...]) -> Admission:
    """Return whom these names and numbers let in beside the user who runs this.

    :raises click.UsageError: there is no such user or group.
    """
    return Admission(
        owner=os.getuid(),
        users=frozenset(_number(name, "user", _uid) for name in users),
        groups=frozenset(_number(name, "group", _gid) for name in groups),
    )


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
        raise click.UsageError(f"there is no {what} {name!r}; give a name or a number") from error
