"""Frames over one connected unix socket, and connecting it.

The sockets of anyio 4 are not used: when a wait of theirs is cancelled in the same turn of the
loop in which data arrives, the loop reports an ``InvalidStateError``. ``anyio.wait_readable`` and
``wait_writable`` are sound there.
"""

from __future__ import annotations

import os
import socket
from collections import deque

import anyio
from anyio.lowlevel import checkpoint

from dftindexd.client.shared_memory import map_sealed
from dftindexd.protocol.errors import ProtocolError
from dftindexd.protocol.framing import FROM_DAEMON, Decoder, Frame, Kind, decode_memory

__all__ = ("Transport",)

_RECEIVE_BYTES = 1 << 18
# One comes at a time; the frame that it belongs to comes with it.
_MOST_DESCRIPTORS = 4
_FULL_BACKLOG_PAUSE_SECONDS = 0.02


class Transport:
    """One connection. One task may read while another one writes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._decoder = Decoder(FROM_DAEMON)
        self._descriptors: deque[int] = deque()

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
        while self._descriptors:
            os.close(self._descriptors.popleft())

    async def next_frame(self) -> Frame:
        """Wait for the next whole frame.

        Raises:
            anyio.EndOfStream: the daemon closed.
            anyio.BrokenResourceError: the daemon is gone.
            ProtocolError: it sent what a daemon may not send.
        """
        while (frame := self._decoder.next_frame()) is None:
            self._decoder.feed(await self._receive())
        if frame.kind is Kind.MEMORY:
            return frame._replace(memory=self._mapped(decode_memory(frame.payload)))
        return frame

    def _mapped(self, size: int) -> memoryview:
        """Map the memory whose descriptor came first."""
        if not self._descriptors:
            raise ProtocolError("a memory frame came without a descriptor")
        descriptor = self._descriptors.popleft()
        try:
            return map_sealed(descriptor, size)
        finally:
            os.close(descriptor)

    async def _receive(self) -> bytes:
        await checkpoint()
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(
                    self._socket, _RECEIVE_BYTES, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                self._descriptors.extend(descriptors)
                if flags & socket.MSG_CTRUNC or len(self._descriptors) > _MOST_DESCRIPTORS:
                    raise ProtocolError("the daemon sends more descriptors than frames for them")
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
