"""One client's connection: greeting, requests side by side, flow control, end in order.

Invariants:

* Only the writing task touches the sending side, so a cancelled request never leaves half a frame.
* Each request is one task. It ends when its answer is sent, at a cancel frame, when the client
  goes away, or when the daemon ends: then those that wait for work end at once, and the others
  have a while to be answered. A slow reader holds its own tasks and nothing else.
* Nothing a client sends ends anything but its own connection.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Protocol

import anyio
import anyio.to_thread
import msgspec
import pyarrow as pa
import structlog
from anyio.abc import TaskGroup

from dftindexd.daemon.answer import ArrowAnswer, ipc_pieces, table_bytes
from dftindexd.daemon.peer import Peer
from dftindexd.daemon.shared_answer import SharedAnswer, shareable
from dftindexd.daemon.transport import Transport
from dftindexd.protocol.codec import (
    decode_request,
    encode_error,
    encode_reply,
    request_tag,
)
from dftindexd.protocol.errors import (
    BusyError,
    CancelledError,
    DftIndexError,
    PermissionDeniedError,
    ProtocolError,
    RequestTimeoutError,
    ShuttingDownError,
)
from dftindexd.protocol.framing import (
    CONNECTION_ID,
    MAX_REPLY_BYTES,
    WINDOW_FRAMES,
    Frame,
    Kind,
    decode_credit,
    encode_data,
    encode_frame,
)
from dftindexd.protocol.index_requests import IndexBuildRequest
from dftindexd.protocol.negotiation import choose_protocol, shares_memory
from dftindexd.protocol.requests import (
    Hello,
    HelloResult,
    IndexRequest,
    SyncRequest,
    TailRequest,
    WaitRequest,
)

__all__ = ("ServerLimits", "Service", "Session", "error_frame", "write_farewell")

#: Errors that say that something is not allowed, or not now.
_REFUSALS = (PermissionDeniedError.code, BusyError.code)
#: These wait for traces to be indexed or to change: a daemon that ends does not bring that about.
_WAITING = (IndexBuildRequest, IndexRequest, SyncRequest, TailRequest, WaitRequest)
# Answers in shared memory that one client may have been sent and not taken yet.
_SHARED_ANSWERS = 4

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Service(Protocol):
    """What answers the requests. It is called by many tasks at once and may be cancelled."""

    async def handle(self, request: Any, peer: Peer) -> msgspec.Struct | ArrowAnswer:
        """Answer *request*, any of ``AnyRequest`` but Hello, with the reply it declares."""
        ...


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may take, all together and each. Times are in seconds.

    ``connections_per_guest`` is for each user who is not the owner, ``connections_for_owner`` are
    those that guests leave to the owner. Of one connection, ``request_bytes`` is what its requests
    in flight take, ``answer_bytes`` what its answers take that it has not taken yet, if these are
    more than one; a client that takes nothing for ``stalled_seconds`` while there is something to
    take is hung up on.
    """

    connections: int = 256
    connections_per_guest: int = 64
    connections_for_owner: int = 32
    requests_per_connection: int = 256
    request_bytes: int = 8 << 20
    answer_bytes: int = 256 << 20
    stalled_seconds: float = 3600.0
    hello_seconds: float = 10.0
    drain_seconds: float = 2.0
    farewell_seconds: float = 1.0


class _Flight:
    """One request that is being answered."""

    def __init__(self, request_bytes: int) -> None:
        self.request_bytes = request_bytes
        self.answer_bytes = 0
        self.scope = anyio.CancelScope()
        self.reason: DftIndexError = CancelledError("the request was cancelled by its client")
        # A short answer that is being sent is not taken back, such as that to a request to stop.
        self.is_answered = False
        self.waits = False
        self._credit = WINDOW_FRAMES
        self._granted = anyio.Event()

    def end(self, reason: DftIndexError) -> None:
        if not self.is_answered:
            self.reason = reason
            self.scope.cancel()

    def grant(self, frames: int) -> None:
        self._credit += frames
        self._granted.set()

    def watch_grants(self) -> anyio.Event:
        """Return an event that the next credit sets."""
        self._granted = anyio.Event()
        return self._granted

    async def spend(self) -> None:
        """Wait until the client has room for one more data frame."""
        while self._credit == 0:
            self._granted = anyio.Event()
            await self._granted.wait()
        self._credit -= 1


class Session:
    """Serves one accepted connection until either side ends it."""

    def __init__(
        self,
        transport: Transport,
        service: Service,
        peer: Peer,
        *,
        greeting: HelloResult,
        protocols: tuple[int, ...],
        limits: ServerLimits,
        stopping: anyio.Event,
    ) -> None:
        self._transport = transport
        self._service = service
        self._peer = peer
        self._greeting = greeting
        self._protocols = protocols
        self._limits = limits
        self._stopping = stopping
        self._flights: dict[int, _Flight] = {}
        self._landed = anyio.Event()
        self._outbox, self._to_write = anyio.create_memory_object_stream[
            bytes | SharedAnswer | anyio.Event
        ](0)
        self._shares_memory = False
        self._shared = anyio.Semaphore(_SHARED_ANSWERS)

    async def run(self) -> None:
        """Serve until the client leaves, breaks the protocol, or the daemon ends."""
        async with self._outbox, self._to_write, anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, tasks)
            tasks.start_soon(self._end_in_order, tasks)
            try:
                await self._greet()
                await self._read(tasks)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                _log.debug("client_left", pid=self._peer.pid, in_flight=len(self._flights))
            except DftIndexError as error:
                _log.warning(
                    "client_refused", pid=self._peer.pid, uid=self._peer.uid, error=str(error)
                )
                await self._say_farewell(error)
            tasks.cancel_scope.cancel()

    async def _greet(self) -> None:
        try:
            with anyio.fail_after(self._limits.hello_seconds):
                frame = await self._transport.next_frame()
        except TimeoutError as error:
            raise RequestTimeoutError("no greeting came after the connection was opened") from error
        hello = decode_request(frame.payload) if frame.kind is Kind.REQUEST else None
        if not isinstance(hello, Hello):
            raise ProtocolError("the first frame on a connection has to be a hello request")
        chosen = choose_protocol(self._protocols, hello.protocols)
        self._shares_memory = shares_memory(hello, self._peer.pid)
        greeting = msgspec.structs.replace(self._greeting, protocol=chosen)
        await self._reply(frame.request_id, greeting)

    async def _read(self, tasks: TaskGroup) -> None:
        while True:
            frame = await self._transport.next_frame()
            flight = self._flights.get(frame.request_id)
            if frame.kind is Kind.REQUEST:
                await self._begin(frame, tasks)
            # The answer may have crossed a cancel or a credit: then there is nothing to do.
            elif flight is not None and frame.kind is Kind.CANCEL:
                flight.end(CancelledError("the request was cancelled by its client"))
            elif flight is not None and frame.kind is Kind.CREDIT:
                flight.grant(decode_credit(frame.payload))

    async def _begin(self, frame: Frame, tasks: TaskGroup) -> None:
        if frame.request_id == CONNECTION_ID or frame.request_id in self._flights:
            raise ProtocolError(f"request id {frame.request_id} is in use")
        try:
            request = decode_request(frame.payload)
            if isinstance(request, Hello):
                raise ProtocolError("a connection takes one hello only")
            self._require_room(len(frame.payload))
        except DftIndexError as error:
            self._log_refusal("unread", error.code, error)
            await self._outbox.send(error_frame(frame.request_id, error))
            return
        flight = self._flights[frame.request_id] = _Flight(len(frame.payload))
        tasks.start_soon(self._answer, frame.request_id, request, flight)

    def _log_refusal(self, request: str, code: str, error: Exception) -> None:
        _log.warning(
            "request_refused",
            request=request,
            pid=self._peer.pid,
            uid=self._peer.uid,
            code=code,
            error=str(error),
        )

    def _require_room(self, size: int) -> None:
        if self._stopping.is_set():
            raise ShuttingDownError("the daemon is ending")
        limit = self._limits.requests_per_connection
        if len(self._flights) >= limit:
            raise BusyError(
                f"this connection has {limit} requests in flight",
                "wait for an answer, or open another connection",
            )
        most = self._limits.request_bytes
        if size + sum(flight.request_bytes for flight in self._flights.values()) > most:
            raise BusyError(
                f"the requests in flight on this connection would take more than {most} bytes",
                "wait for an answer",
            )

    def _hold(self, flight: _Flight, size: int) -> None:
        """Count in that an answer of *size* bytes waits to be taken.

        :raises BusyError: there is too much of that already.
        """
        most = self._limits.answer_bytes
        held = sum(one.answer_bytes for one in self._flights.values())
        if held and held + size > most:
            raise BusyError(
                f"answers of {held} bytes wait to be read on this connection, the limit is {most}",
                "read them before asking for more",
            )
        flight.answer_bytes = size

    async def _answer(self, request_id: int, request: Any, flight: _Flight) -> None:
        flight.waits = isinstance(request, _WAITING)
        try:
            with flight.scope:
                await self._serve(request_id, request, flight)
            if flight.scope.cancelled_caught:
                await self._outbox.send(error_frame(request_id, flight.reason))
        finally:
            del self._flights[request_id]
            self._landed.set()

    async def _serve(self, request_id: int, request: Any, flight: _Flight) -> None:
        try:
            answer = await self._service.handle(request, self._peer)
            if not isinstance(answer, ArrowAnswer):
                flight.is_answered = True
                await self._reply(request_id, answer, flight)
                return
            try:
                self._hold(flight, sum(table_bytes(source) for source in answer.sources))
                await self._reply(request_id, answer.head)
                await self._send_answer(request_id, answer, flight)
            finally:
                await answer.close()
            await self._outbox.send(encode_frame(Kind.END, request_id))
        except Exception as error:  # noqa: BLE001 - the client gets it, whatever it is
            code = getattr(error, "code", None)
            if not isinstance(code, str):
                _log.exception("request_failed", request=type(request).__name__)
            elif code in _REFUSALS:
                self._log_refusal(request_tag(type(request)), code, error)
            await self._outbox.send(error_frame(request_id, error))

    async def _send_answer(self, request_id: int, answer: ArrowAnswer, flight: _Flight) -> None:
        tables = shareable(answer.sources) if self._shares_memory else None
        if tables is not None:
            await self._share(request_id, tables, flight)
        else:
            await self._send_rows(request_id, answer, flight)

    async def _send_rows(self, request_id: int, answer: ArrowAnswer, flight: _Flight) -> None:
        for source in answer.sources:
            async with aclosing(ipc_pieces(source)) as pieces:
                async for piece in pieces:
                    for frame in encode_data(request_id, piece):
                        await flight.spend()
                        await self._outbox.send(frame)

    async def _share(self, request_id: int, tables: list[pa.Table], flight: _Flight) -> None:
        """Hand the rows over as sealed memory, and wait until the client has it: what is on its way
        to a client that does not read is memory of nobody's."""
        async with self._shared:
            shared = await anyio.to_thread.run_sync(SharedAnswer, request_id, tables)
            taken = flight.watch_grants()
            try:
                await self._outbox.send(shared)
                await shared.sent.wait()
            finally:
                shared.abandon()
            await taken.wait()

    async def _reply(
        self, request_id: int, reply: msgspec.Struct, flight: _Flight | None = None
    ) -> None:
        payload = encode_reply(reply)
        if flight is not None:
            self._hold(flight, len(payload))
        if len(payload) > MAX_REPLY_BYTES:
            raise BusyError(
                f"the reply has {len(payload)} bytes, the limit is {MAX_REPLY_BYTES}",
                "ask for a directory further down",
            )
        await self._outbox.send(encode_frame(Kind.REPLY, request_id, payload))

    async def _write(self, tasks: TaskGroup) -> None:
        async for item in self._to_write:
            if isinstance(item, anyio.Event):
                item.set()
                continue
            try:
                with anyio.fail_after(self._limits.stalled_seconds):
                    if isinstance(item, SharedAnswer):
                        await item.send(self._transport)
                    else:
                        await self._transport.send(item)
            except (anyio.BrokenResourceError, TimeoutError) as error:
                if isinstance(error, TimeoutError):
                    _log.warning("client_stalled", pid=self._peer.pid, uid=self._peer.uid)
                tasks.cancel_scope.cancel()
                return

    async def _end_in_order(self, tasks: TaskGroup) -> None:
        await self._stopping.wait()
        self._end_flights(waiting=True)
        with anyio.move_on_after(self._limits.drain_seconds):
            await self._all_landed()
        with anyio.move_on_after(self._limits.farewell_seconds):
            self._end_flights(waiting=False)
            await self._all_landed()
            await self._flush()
        tasks.cancel_scope.cancel()

    def _end_flights(self, *, waiting: bool) -> None:
        """End the requests in flight; those alone that wait for work, if *waiting*."""
        for flight in self._flights.values():
            if flight.waits or not waiting:
                flight.end(ShuttingDownError("the daemon is ending", "ask again when it is back"))

    async def _all_landed(self) -> None:
        while self._flights:
            self._landed = anyio.Event()
            await self._landed.wait()

    async def _say_farewell(self, error: DftIndexError) -> None:
        with anyio.move_on_after(self._limits.farewell_seconds):
            await self._outbox.send(error_frame(CONNECTION_ID, error))
            await self._flush()

    async def _flush(self) -> None:
        written = anyio.Event()
        await self._outbox.send(written)
        await written.wait()


def error_frame(request_id: int, error: Exception) -> bytes:
    """Return the frame that tells the client of *error*, with its own code if it has one."""
    code = getattr(error, "code", None)
    if isinstance(code, str):
        message = str(getattr(error, "message", error))
        payload = encode_error(code, message, str(getattr(error, "hint", "")))
    else:
        payload = encode_error(
            "internal", f"{type(error).__name__}: {error}", "see the daemon's log"
        )
    return encode_frame(Kind.ERROR, request_id, payload)


async def write_farewell(transport: Transport, error: DftIndexError, seconds: float) -> None:
    """Tell a client that it is not served, and why; wait for it no longer than *seconds*."""
    with anyio.move_on_after(seconds):
        try:
            await transport.send(error_frame(CONNECTION_ID, error))
        except anyio.BrokenResourceError:
            _log.debug("client_left_before_farewell")
