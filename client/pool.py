"""The connections of one client: one for as long as that does, more where very much is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import anyio
from anyio.abc import TaskGroup

from dftindexd.client.connection import Connection
from dftindexd.protocol.requests import HelloResult

__all__ = ("ConnectionPool", "Lent")

#: With so many requests in flight on each, another connection is opened; a daemon takes twice as
#: many before it is busy.
_FULL: Final = 128
_MOST_CONNECTIONS: Final = 8


class Lent(NamedTuple):
    """A connection for one request; ``fresh`` if it was opened for it."""

    connection: Connection
    fresh: bool


class ConnectionPool:
    """Connections that *opener* makes and that run in *tasks*. Lost ones are left out."""

    def __init__(self, opener: Callable[[], Awaitable[Connection]], tasks: TaskGroup) -> None:
        self._opener = opener
        self._tasks = tasks
        self._opening = anyio.Lock()
        self._connections: list[Connection] = []

    @property
    def daemon(self) -> HelloResult:
        """What the daemon said when it was last connected to."""
        return self._connections[-1].daemon

    def add(self, connection: Connection) -> None:
        """Take a connection in, and run it."""
        self._connections.append(connection)
        self._tasks.start_soon(connection.run)

    async def lend(self) -> Lent:
        """Return a live connection for one request: the first with room, else a new one."""
        async with self._opening:
            live = [one for one in self._connections if not one.is_lost]
            with_room = next((one for one in live if one.in_flight < _FULL), None)
            if with_room is not None:
                return Lent(with_room, fresh=False)
            if len(live) >= _MOST_CONNECTIONS:
                return Lent(min(live, key=lambda one: one.in_flight), fresh=False)
            opened = await self._opener()
            self._connections = live
            self.add(opened)
            return Lent(opened, fresh=True)
