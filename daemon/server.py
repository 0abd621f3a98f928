"""The IPC server: accepts clients of one unix socket and gives each a session.

``docs/protocol.md`` describes what goes over the socket. The server owns its path by a lock for
as long as :meth:`IpcServer.serve` runs; cancelling that call ends the server in order: requests in
flight are told that the daemon is ending, then sockets close and the socket file goes away.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from dftindexd.daemon.answer import ArrowAnswer, BatchStream
from dftindexd.daemon.callers import Admission
from dftindexd.daemon.peer import Peer, peer_of
from dftindexd.daemon.session import ServerLimits, Service, Session, write_farewell
from dftindexd.daemon.socket_file import BoundSocket, adopt_socket, bind_socket, release_socket
from dftindexd.daemon.transport import Transport, accept
from dftindexd.protocol.errors import BusyError, DftIndexError
from dftindexd.protocol.negotiation import CAPABILITIES, PROTOCOLS
from dftindexd.protocol.requests import HelloResult

__all__ = ("ArrowAnswer", "BatchStream", "IpcServer", "Peer", "ServerLimits", "Service")

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_DESCRIPTOR_PAUSE_SECONDS = 0.2

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class IpcServer:
    """Serves *service* at the unix socket *path*.

    Args:
        service: answers the requests.
        path: where to bind; its directory is made with mode 0700 if it is missing.
        version: the daemon's version, told to clients.
        limits: what clients may take.
        protocols: versions of the protocol to speak.
        lock: the lock of the path where the caller has it already.
        admission: who may connect; the daemon's own user and root unless given.
        listener: the socket at *path* where the service manager bound it; the lock is a must.
    """

    def __init__(
        self,
        service: Service,
        path: str,
        *,
        version: str,
        limits: ServerLimits | None = None,
        protocols: tuple[int, ...] = PROTOCOLS,
        lock: int | None = None,
        admission: Admission | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self._service = service
        self._admission = admission or Admission()
        self._path = path
        self._lock = lock
        self._listener = listener
        self._limits = limits or ServerLimits()
        self._protocols = protocols
        self._greeting = HelloResult(
            protocol=max(protocols), version=version, pid=os.getpid(), capabilities=CAPABILITIES
        )
        self._connections = 0
        self._users: Counter[int] = Counter()

    @property
    def path(self) -> str:
        """Where the socket is."""
        return self._path

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return self._connections

    def clients(self) -> dict[str, int]:
        """Return how many connections there are, and of how many users."""
        return {"connections": self._connections, "users": len(self._users)}

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Bind, report that clients can connect, and serve until cancelled.

        Raises:
            BusyError: another daemon serves the path; the message names its pid.
            InvalidArgumentError: no socket can be at the path.
            PermissionDeniedError: others could replace the socket.
        """
        bound = await anyio.to_thread.run_sync(self._bind)
        try:
            await self._serve_bound(bound, task_status)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(release_socket, bound)

    def _bind(self) -> BoundSocket:
        if self._listener is not None and self._lock is not None:
            return adopt_socket(self._listener, self._lock, self._admission)
        return bind_socket(self._path, self._lock, self._admission)

    async def _serve_bound(self, bound: BoundSocket, task_status: TaskStatus[None]) -> None:
        stopping = anyio.Event()
        async with anyio.create_task_group() as tasks:
            sessions = await tasks.start(self._host_sessions, stopping)
            try:
                with bound.listener:
                    _log.info("socket_bound", path=self._path)
                    task_status.started()
                    await self._accept(bound.listener, sessions, stopping)
            finally:
                stopping.set()

    async def _host_sessions(
        self, stopping: anyio.Event, *, task_status: TaskStatus[TaskGroup]
    ) -> None:
        # Shielded: sessions end by the event, so that requests in flight can still be answered.
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as sessions:
                task_status.started(sessions)
                await stopping.wait()

    async def _accept(
        self, listener: socket.socket, sessions: TaskGroup, stopping: anyio.Event
    ) -> None:
        while True:
            try:
                connection = await accept(listener)
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                _log.warning("accept_paused", error=str(error), connections=self._connections)
                await anyio.sleep(_DESCRIPTOR_PAUSE_SECONDS)
                continue
            self._connections += 1
            sessions.start_soon(self._attend, connection, stopping)

    async def _attend(self, connection: socket.socket, stopping: anyio.Event) -> None:
        peer = peer_of(connection)
        self._users[peer.uid] += 1
        try:
            with connection:
                await self._serve_client(connection, peer, stopping)
        finally:
            self._connections -= 1
            self._users[peer.uid] -= 1
            self._users += Counter()  # those who are gone are forgotten

    async def _serve_client(
        self, connection: socket.socket, peer: Peer, stopping: anyio.Event
    ) -> None:
        transport = Transport(connection)
        try:
            self._admission.require(peer)
            self._require_room(peer)
        except DftIndexError as error:
            _log.warning("client_refused", pid=peer.pid, uid=peer.uid, error=str(error))
            await write_farewell(transport, error, self._limits.farewell_seconds)
            return
        session = Session(
            transport,
            self._service,
            peer,
            greeting=self._greeting,
            protocols=self._protocols,
            limits=self._limits,
            stopping=stopping,
        )
        await session.run()

    def _require_room(self, peer: Peer) -> None:
        limits = self._limits
        room = limits.connections
        if not self._admission.owns(peer):
            room -= limits.connections_for_owner
            most = limits.connections_per_guest
            if self._users[peer.uid] > most:
                raise BusyError(
                    f"user {peer.uid} has {most} connections, the limit of one user",
                    "close some, or try again later",
                )
        if self._connections > room:
            raise BusyError(
                f"the daemon serves {room} connections, its limit",
                "close some, or try again later",
            )
