"""A process of our own that is spoken with in frames: a length, a kind of one byte, a payload.

Its socket is waited for by ``anyio.wait_readable``: that may be cancelled in the same turn of the
loop in which something arrives, which the streams of anyio do not bear.
"""

from __future__ import annotations

from typing import Final

import anyio
import anyio.to_thread

from dftindexd.actors.child_process import ChildProcess
from dftindexd.actors.read_order import READ_FRAME

__all__ = ("FramedProcess",)

_PART_BYTES: Final = 1 << 20


class FramedProcess:
    """One process of the module *module*, and what came from it and was not taken yet.

    Its end is a ConnectionError for whoever sends or receives.
    """

    def __init__(self, module: str) -> None:
        self._process = ChildProcess(module)
        self._socket = self._process.socket
        self._socket.setblocking(False)
        self._received = bytearray()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive

    async def send(self, kind: bytes, payload: bytes) -> None:
        """Send one frame."""
        left = memoryview(READ_FRAME.pack(len(payload), kind) + payload)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    async def receive(self) -> tuple[bytes, bytes]:
        """Return the next frame's kind and payload; may be cancelled and repeated."""
        size, kind = READ_FRAME.unpack(await self._upto(READ_FRAME.size))
        frame = READ_FRAME.size + size
        payload = bytes((await self._upto(frame))[READ_FRAME.size :])
        del self._received[:frame]
        return kind, payload

    async def _upto(self, size: int) -> bytes:
        """Return the first *size* bytes that are not taken, and leave them."""
        while len(self._received) < size:
            try:
                part = self._socket.recv(_PART_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            if not part:
                raise ConnectionResetError
            self._received += part
        return bytes(self._received[:size])

    async def epitaph(self) -> str:
        """Wait for its end; return how it ended."""
        code = await anyio.to_thread.run_sync(self._process.wait)
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"

    async def kill(self) -> None:
        """Kill it, if it still runs, and wait for its end."""
        # The end of a process takes its time.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._process.kill)
