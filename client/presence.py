"""The daemon for programs that work with it and without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dftindexd.client.sync_client import Client, connect
from dftindexd.protocol.errors import (
    DaemonUnreachableError,
    PermissionDeniedError,
    VersionMismatchError,
)

__all__ = ("daemon_if_any",)


@contextmanager
def daemon_if_any() -> Iterator[Client | None]:
    """Give a client of the daemon for as long as the context lasts; ``None`` where none answers,
    lets us in, or understands us."""
    try:
        client = connect()
    except (DaemonUnreachableError, PermissionDeniedError, VersionMismatchError):
        yield None
        return
    with client:
        yield client
