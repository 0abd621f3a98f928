"""Frames over one accepted unix socket, and accepting it.

The sockets of anyio 4 are not used: when a wait of theirs is cancelled in the same turn of the
loop in which data arrives, the loop reports an ``InvalidStateError``. ``anyio.wait_readable`` and
``wait_writable`` are sound there.
"""

from __future__ import annotations

import socket

import anyio
from anyio.lowlevel import checkpoint

from dftindexd.protocol.framing import FROM_CLIENT, Decoder, Frame

__all__ = ("Transport", "accept")

_RECEIVE_BYTES = 1 << 16


async def accept(listener: socket.socket) -> socket.socket:
    """Wait for a client and return its socket."""
    await checkpoint()
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            await anyio.wait_readable(listener)
        else:
            connection.setblocking(False)
            return connection


class Transport:
    """One connection. One task may read while another one writes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._decoder = Decoder(FROM_CLIENT)

    async def next_frame(self) -> Frame:
        """Wait for the next whole frame.

        Raises:
            anyio.EndOfStream: the client closed.
            anyio.BrokenResourceError: the client is gone.
            ProtocolError: it sent what a client may not send.
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

    async def send(self, data: bytes, descriptor: int | None = None) -> None:
        """Write all of *data*; if it is cancelled, only a part may have been written.

        A *descriptor* goes with the first byte, and stays the caller's to close.

        Raises:
            anyio.BrokenResourceError: the client is gone.
        """
        await checkpoint()
        view = memoryview(data)
        attached = () if descriptor is None else (descriptor,)
        while view:
            try:
                sent = (
                    socket.send_fds(self._socket, [view], attached)
                    if attached
                    else self._socket.send(view)
                )
                view, attached = view[sent:], ()
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
            except OSError as error:
                raise anyio.BrokenResourceError from error
