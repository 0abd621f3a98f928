"""Frames over one connected unix socket, and connecting it.

The sockets of anyio 4 are not used: when a wait of theirs is cancelled in the same turn of the
loop in which data arrives, the loop reports an ``InvalidStateError``. ``anyio.wait_readable`` and
``wait_writable`` are sound there.
"""

from __future__ import annotations

import socket

import anyio
from anyio.lowlevel import checkpoint

from dftindexd.protocol.framing import FROM_DAEMON, Decoder, Frame

__all__ = ("Transport",)

_RECEIVE_BYTES = 1 << 18
_FULL_BACKLOG_PAUSE_SECONDS = 0.02


class Transport:
    """One connection. One task may read while another one writes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._decoder = Decoder(FROM_DAEMON)

    @classmethod
    async def connect(cls, path: str) -> Transport:
        """Connect to the unix socket *path*; raises OSError if nobody takes the connection."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.setblocking(False)
            while True:
                try:
                    connection.connect(path)
                except BlockingIOError:
                    # The daemon's backlog is full; nothing tells when it has room again.
                    await anyio.sleep(_FULL_BACKLOG_PAUSE_SECONDS)
                else:
                    return cls(connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the connection; nobody may be reading or writing."""
        self._socket.close()

    async def next_frame(self) -> Frame:
        """Wait for the next whole frame.

        Raises:
            anyio.EndOfStream: the daemon closed.
            anyio.BrokenResourceError: the daemon is gone.
            ProtocolError: it sent what a daemon may not send.
        """
        while (frame := self._decoder.next_frame()) is None:
            self._decoder.feed(await self._receive())
        return frame

    async def _receive(self) -> bytes:
        await checkpoint()
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, data: bytes) -> None:
        """Write all of *data*; if it is cancelled, only a part may have been written.

        Raises:
            anyio.BrokenResourceError: the daemon is gone.
        """
        await checkpoint()
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error
