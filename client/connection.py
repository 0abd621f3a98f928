"""One connection to a daemon, shared by all requests that are in flight.

A reading task hands each frame to the request it belongs to, and never waits for one: what the
daemon may send ahead is bounded by the window of each answer (``protocol.framing``). When the
connection ends, every request in flight ends with the reason at once.
"""

from __future__ import annotations

import itertools
import os
from contextlib import closing, suppress
from typing import Any, TypeVar

import anyio

from dftindexd.client.discovery import find_daemon
from dftindexd.client.transport import Transport
from dftindexd.protocol.codec import decode_error, decode_reply, encode_request
from dftindexd.protocol.errors import (
    ConnectionLostError,
    DftIndexError,
    ProtocolError,
    RequestTimeoutError,
)
from dftindexd.protocol.framing import (
    CONNECTION_ID,
    MAX_REQUEST_ID,
    WINDOW_FRAMES,
    Frame,
    Kind,
    encode_credit,
    encode_frame,
)
from dftindexd.protocol.message import Request
from dftindexd.protocol.negotiation import CAPABILITIES, PROTOCOLS, require_capability
from dftindexd.protocol.requests import Hello, HelloResult

__all__ = ("Connection", "Exchange")

R = TypeVar("R")

_HELLO_ID = 1
# Frames that wait to be written; a daemon that reads nothing at all is given up beyond it.
_OUTBOX_FRAMES = 1024
# A reply, an end or an error beside the data frames.
_INBOX_FRAMES = WINDOW_FRAMES + 2
_CREDIT_STEP = WINDOW_FRAMES // 2


class Connection:
    """A greeted connection. :meth:`run` has to run in a task as long as it is used."""

    def __init__(self, path: str, transport: Transport, daemon: HelloResult) -> None:
        self.path = path
        self.daemon = daemon
        self._transport = transport
        self._lost: DftIndexError | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._ids = itertools.cycle(range(_HELLO_ID + 1, MAX_REQUEST_ID + 1))
        self._outbox, self._to_write = anyio.create_memory_object_stream[bytes](_OUTBOX_FRAMES)
        self._scope = anyio.CancelScope()

    @classmethod
    async def open(
        cls, socket: str | os.PathLike[str] | None, *, client: str, timeout: float | None
    ) -> Connection:
        """Connect and greet.

        Raises:
            DaemonUnreachableError: no daemon answers at any place.
            RequestTimeoutError: the daemon did not greet within *timeout* seconds.
            VersionMismatchError: it speaks no version of the protocol that we know.
            DftIndexError: it refuses us, for the reason it gives.
        """
        try:
            with anyio.fail_after(timeout):
                path, transport = await find_daemon(socket)
                try:
                    daemon = await _greet(path, transport, client)
                except BaseException:
                    transport.close()
                    raise
        except TimeoutError as error:
            if isinstance(error, DftIndexError):
                raise
            raise RequestTimeoutError(
                f"the daemon did not greet within {timeout:g} s", "see whether it hangs"
            ) from error
        return cls(path, transport, daemon)

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost is not None

    @property
    def in_flight(self) -> int:
        """How many requests wait for their answers."""
        return len(self._exchanges)

    def lost_error(self) -> DftIndexError:
        """Return a new error that says why the connection ended."""
        lost = self._lost or ConnectionLostError(f"the connection to {self.path} was closed")
        return type(lost)(lost.message, lost.hint)

    async def run(self) -> None:
        """Read and write until the connection ends."""
        with closing(self._transport), self._outbox, self._to_write:
            try:
                with self._scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._write)
                        await self._read()
            finally:
                self._end(ConnectionLostError(f"the connection to {self.path} was closed"))

    async def send(self, request: Request[Any]) -> Exchange:
        """Send *request* and return its exchange, which has to be closed."""
        require_capability(self.daemon, request)
        payload = encode_request(request)
        if self._lost is not None:
            raise self.lost_error()
        request_id = next(self._ids)
        exchange = self._exchanges[request_id] = Exchange(self, request_id)
        try:
            await self._outbox.send(encode_frame(Kind.REQUEST, request_id, payload))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            exchange.close()
            raise self.lost_error() from error
        except BaseException:
            exchange.close()
            raise
        return exchange

    def forget(self, request_id: int, *, cancel: bool) -> None:
        """Drop what still arrives for a request, and tell the daemon if it is to stop."""
        self._exchanges.pop(request_id, None)
        if cancel:
            self.post(encode_frame(Kind.CANCEL, request_id))

    def post(self, frame: bytes) -> None:
        """Queue a frame without waiting."""
        if self._lost is not None:
            return
        try:
            self._outbox.send_nowait(frame)
        except anyio.WouldBlock:
            self._end(ConnectionLostError(f"the daemon at {self.path} reads nothing any more"))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._end(ConnectionLostError(f"the daemon at {self.path} went away"))

    def _end(self, reason: DftIndexError) -> None:
        if self._lost is None:
            self._lost = reason
            self._scope.cancel()
        for exchange in self._exchanges.values():
            exchange.end()
        self._exchanges.clear()

    async def _read(self) -> None:
        try:
            while True:
                self._dispatch(await self._transport.next_frame())
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self._end(ConnectionLostError(f"the daemon at {self.path} went away"))
        except DftIndexError as error:
            self._end(error)

    def _dispatch(self, frame: Frame) -> None:
        if frame.request_id == CONNECTION_ID:
            raise decode_error(frame.payload)
        # A cancelled request may still be answered: nobody waits for that any more.
        if (exchange := self._exchanges.get(frame.request_id)) is not None:
            exchange.deliver(frame)

    async def _write(self) -> None:
        # The reading task finds the end; what a daemon that refuses us said comes before it.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for frame in self._to_write:
                await self._transport.send(frame)


class Exchange:
    """One request in flight, seen from the task that waits for its answer."""

    def __init__(self, connection: Connection, request_id: int) -> None:
        self._connection = connection
        self._request_id = request_id
        self._deliver, self._frames = anyio.create_memory_object_stream[Frame](_INBOX_FRAMES)
        self._consumed = 0
        self._over = False

    async def reply(self, request: Request[R], timeout: float | None) -> R:
        """Wait for the reply; an error of the daemon is raised.

        Raises:
            ConnectionLostError: the daemon went away first.
            RequestTimeoutError: *timeout* seconds went by.
        """
        frame = await self._next(timeout)
        if frame.kind is not Kind.REPLY:
            raise ProtocolError(f"a {frame.kind.name.lower()} frame came in place of a reply")
        return decode_reply(request, frame.payload)

    async def chunk(self, timeout: float | None) -> bytes | memoryview:
        """Wait for the next bytes of the Arrow stream; empty at its end. Raises as `reply`.

        A ``memoryview`` is all of it, mapped.
        """
        if self._over:
            return b""
        frame = await self._next(timeout)
        if frame.kind is Kind.END:
            self._over = True
            return b""
        if frame.memory is not None:
            self._connection.post(encode_credit(self._request_id, 1))
            return frame.memory
        if frame.kind is not Kind.DATA:
            raise ProtocolError(f"a {frame.kind.name.lower()} frame came in place of data")
        self._consumed += 1
        if self._consumed == _CREDIT_STEP:
            self._connection.post(encode_credit(self._request_id, self._consumed))
            self._consumed = 0
        return frame.payload

    def finish(self) -> None:
        """The answer is whole: there is nothing to cancel."""
        self._over = True

    def close(self) -> None:
        """Stop waiting; the daemon is told unless its answer is whole."""
        self._deliver.close()
        self._frames.close()
        self._connection.forget(self._request_id, cancel=not self._over)
        self._over = True

    def deliver(self, frame: Frame) -> None:
        """Take a frame of the answer; called by the reading task."""
        try:
            self._deliver.send_nowait(frame)
        except anyio.WouldBlock as error:
            raise ProtocolError("the daemon sends more than it was granted") from error

    def end(self) -> None:
        """No more frames will come."""
        self._deliver.close()

    async def _next(self, timeout: float | None) -> Frame:
        try:
            with anyio.fail_after(timeout):
                frame = await self._frames.receive()
        except TimeoutError as error:
            raise RequestTimeoutError(
                f"no answer from the daemon at {self._connection.path} within {timeout:g} s",
                "allow more with timeout=",
            ) from error
        except anyio.EndOfStream as error:
            self._over = True
            raise self._connection.lost_error() from error
        if frame.kind is Kind.ERROR:
            self._over = True
            raise decode_error(frame.payload)
        return frame


async def _greet(path: str, transport: Transport, client: str) -> HelloResult:
    hello = Hello(protocols=PROTOCOLS, client=client, capabilities=CAPABILITIES, pid=os.getpid())
    try:
        # A daemon that refuses us says why before it closes: that can be read even if this fails.
        with suppress(anyio.BrokenResourceError):
            await transport.send(encode_frame(Kind.REQUEST, _HELLO_ID, encode_request(hello)))
        frame = await transport.next_frame()
    except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
        raise ConnectionLostError(f"the daemon at {path} went away before it greeted") from error
    if frame.kind is Kind.ERROR:
        raise decode_error(frame.payload)
    if frame.kind is not Kind.REPLY:
        raise ProtocolError(f"a {frame.kind.name.lower()} frame came in place of a greeting")
    return decode_reply(hello, frame.payload)
