"""The IPC server at the level of frames: strangers, half frames, cancelling, credit, limits."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio.abc import SocketStream, TaskStatus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dftindexd.daemon.server import ArrowAnswer, IpcServer, Peer, ServerLimits
from dftindexd.protocol.codec import decode_error, decode_reply, encode_request
from dftindexd.protocol.errors import (
    BusyError,
    CancelledError,
    ProtocolError,
    RequestTimeoutError,
    VersionMismatchError,
)
from dftindexd.protocol.framing import (
    FROM_DAEMON,
    MAX_DATA_BYTES,
    WINDOW_FRAMES,
    Decoder,
    Frame,
    Kind,
    encode_credit,
    encode_frame,
)
from dftindexd.protocol.message import Request
from dftindexd.protocol.negotiation import CAPABILITIES
from dftindexd.protocol.requests import (
    Hello,
    ListRequest,
    Ping,
    StopRequest,
    WaitRequest,
    WatchRequest,
)
from tests.client.echo_daemon import VERSION, EchoService, serving


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Take the server's log instead of printing it."""
    with capture_logs():
        yield


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    """Where the server of this test binds."""
    return os.fspath(tmp_path / "d.sock")


class RawClient:
    """Speaks frames, or anything else, as no client of ours would."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._decoder = Decoder(FROM_DAEMON)

    async def send(self, request_id: int, request: Request[object]) -> None:
        await self.stream.send(encode_frame(Kind.REQUEST, request_id, encode_request(request)))

    async def frame(self) -> Frame:
        with anyio.fail_after(60):
            while (frame := self._decoder.next_frame()) is None:
                self._decoder.feed(await self.stream.receive())
        return frame

    async def greet(self, *protocols: int) -> Frame:
        await self.send(1, Hello(protocols=protocols or (1,), client="raw"))
        return await self.frame()

    async def is_hung_up_on(self) -> bool:
        with anyio.fail_after(60):
            try:
                await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return True
        return False


async def raw(path: str) -> RawClient:
    return RawClient(await anyio.connect_unix(path))


@pytest.mark.anyio
async def test_a_greeting_is_answered_with_the_highest_common_version(socket_path: str) -> None:
    async with serving(socket_path):
        client = await raw(socket_path)
        async with client.stream:
            frame = await client.greet(1, 7)
    hello = decode_reply(Hello(protocols=(1,), client=""), frame.payload)
    assert (hello.protocol, hello.version, hello.pid) == (1, VERSION, os.getpid())
    assert hello.capabilities == CAPABILITIES


@pytest.mark.anyio
async def test_no_common_version_is_refused_naming_both_sides(socket_path: str) -> None:
    async with serving(socket_path):
        client = await raw(socket_path)
        async with client.stream:
            error = decode_error((await client.greet(7, 8)).payload)
            assert await client.is_hung_up_on()
    assert isinstance(error, VersionMismatchError)
    assert error.message == "the daemon speaks protocol 1, the client 7, 8"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not allowed here"),
        (struct.pack(">IBI", 2**32 - 1, Kind.REQUEST, 1), "4294967295 bytes, the limit is"),
        (encode_frame(Kind.REQUEST, 1, b"\xc1"), "the request cannot be read"),
        (encode_frame(Kind.REQUEST, 1, encode_request(Ping())), "has to be a hello"),
        (encode_frame(Kind.CANCEL, 1), "has to be a hello"),
    ],
)
async def test_whoever_does_not_greet_is_told_why_and_hung_up_on(
    socket_path: str, sent: bytes, text: str
) -> None:
    async with serving(socket_path):
        client = await raw(socket_path)
        async with client.stream:
            await client.stream.send(sent)
            frame = await client.frame()
            assert await client.is_hung_up_on()
        good = await raw(socket_path)
        async with good.stream:
            assert (await good.greet()).kind is Kind.REPLY
    error = decode_error(frame.payload)
    assert frame.request_id == 0
    assert isinstance(error, ProtocolError)
    assert text in error.message


@pytest.mark.anyio
async def test_half_a_frame_waits_and_never_greeting_times_out(socket_path: str) -> None:
    async with serving(socket_path, limits=ServerLimits(hello_seconds=0.05)):
        client = await raw(socket_path)
        async with client.stream:
            await client.stream.send(b"\0\0\0")
            error = decode_error((await client.frame()).payload)
    assert isinstance(error, RequestTimeoutError)


@pytest.mark.anyio
async def test_a_request_may_arrive_byte_by_byte(socket_path: str) -> None:
    async with serving(socket_path):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            for byte in encode_frame(Kind.REQUEST, 2, encode_request(Ping())):
                await client.stream.send(bytes([byte]))
            assert (await client.frame()).request_id == 2


@pytest.mark.anyio
async def test_a_bad_request_fails_alone_and_the_connection_goes_on(socket_path: str) -> None:
    async with serving(socket_path):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            unknown = msgspec.msgpack.encode({"type": "dance"})
            await client.stream.send(encode_frame(Kind.REQUEST, 2, unknown))
            refused = await client.frame()
            await client.send(3, Hello(protocols=(1,), client="again"))
            again = await client.frame()
            await client.send(4, Ping())
            answered = await client.frame()
    assert (refused.kind, refused.request_id) == (Kind.ERROR, 2)
    assert "'dance'" in decode_error(refused.payload).message
    assert "one hello only" in decode_error(again.payload).message
    assert (answered.kind, answered.request_id) == (Kind.REPLY, 4)


@pytest.mark.anyio
async def test_an_id_that_is_in_use_ends_the_connection(socket_path: str) -> None:
    service = EchoService()
    async with serving(socket_path, service):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            await client.send(2, WaitRequest())
            await client.send(2, WaitRequest())
            frame = await client.frame()
            assert await client.is_hung_up_on()
        await service.until_waiting(0)
    assert decode_error(frame.payload).message == "request id 2 is in use"


@pytest.mark.anyio
async def test_answers_come_as_they_finish(socket_path: str) -> None:
    async with serving(socket_path):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            await client.send(2, WaitRequest())
            await client.send(3, Ping())
            assert (await client.frame()).request_id == 3
            await client.stream.send(encode_frame(Kind.CANCEL, 2))
            cancelled = await client.frame()
    assert cancelled.request_id == 2
    assert isinstance(decode_error(cancelled.payload), CancelledError)


@pytest.mark.anyio
async def test_hanging_up_cancels_what_was_asked(socket_path: str) -> None:
    service = EchoService()
    async with serving(socket_path, service) as server:
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            await client.send(2, WaitRequest())
            await client.send(3, WaitRequest())
            await service.until_waiting(2)
        await service.until_waiting(0)
        other = await raw(socket_path)
        async with other.stream:
            await other.greet()
            assert server.connections == 1
    assert service.cancelled == 2


@pytest.mark.anyio
async def test_a_reader_that_grants_nothing_gets_its_window_and_holds_nobody(
    socket_path: str,
) -> None:
    async with serving(socket_path):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            await client.send(2, ListRequest(path="/endless"))
            data = [await client.frame() for _ in range(1 + WINDOW_FRAMES)]
            await client.send(3, Ping())
            after = await client.frame()
            await client.stream.send(encode_credit(2, 2) + encode_frame(Kind.CANCEL, 99))
            more = [await client.frame(), await client.frame()]
    assert [frame.kind for frame in data] == [Kind.REPLY] + [Kind.DATA] * WINDOW_FRAMES
    assert all(len(frame.payload) <= MAX_DATA_BYTES for frame in data)
    assert (after.kind, after.request_id) == (Kind.REPLY, 3)
    assert [(frame.kind, frame.request_id) for frame in more] == [(Kind.DATA, 2)] * 2


@pytest.mark.anyio
async def test_requests_over_the_limit_of_a_connection_are_refused(socket_path: str) -> None:
    async with serving(socket_path, limits=ServerLimits(requests_per_connection=2)):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            for request_id in (2, 3, 4):
                await client.send(request_id, WaitRequest())
            frame = await client.frame()
    assert frame.request_id == 4
    assert isinstance(decode_error(frame.payload), BusyError)


@pytest.mark.anyio
async def test_connections_over_the_limit_are_refused_until_one_leaves(socket_path: str) -> None:
    async with serving(socket_path, limits=ServerLimits(connections=1)) as server:
        first, second = await raw(socket_path), await raw(socket_path)
        async with first.stream, second.stream:
            await first.greet()
            error = decode_error((await second.frame()).payload)
        with anyio.fail_after(60):
            while server.connections:
                await anyio.lowlevel.checkpoint()
        third = await raw(socket_path)
        async with third.stream:
            assert (await third.greet()).kind is Kind.REPLY
    assert isinstance(error, BusyError)


@pytest.mark.anyio
async def test_an_unexpected_exception_is_logged_with_its_trace_and_told_as_internal(
    socket_path: str,
) -> None:
    with capture_logs() as logs:
        async with serving(socket_path):
            client = await raw(socket_path)
            async with client.stream:
                await client.greet()
                await client.send(2, WatchRequest(path="/bug"))
                error = decode_error((await client.frame()).payload)
    assert (error.code, error.message) == ("internal", "ZeroDivisionError: division by zero")
    (entry,) = [entry for entry in logs if entry["event"] == "request_failed"]
    assert entry["exc_info"]


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.binary(max_size=300))
def test_garbage_at_the_socket_never_harms_the_server(
    tmp_path_factory: pytest.TempPathFactory, greet: bool, garbage: bytes
) -> None:
    path = os.fspath(tmp_path_factory.mktemp("s") / "d.sock")

    async def attack() -> Kind:
        limits = ServerLimits(farewell_seconds=0.05)
        async with serving(path, limits=limits):
            client = await raw(path)
            async with client.stream:
                if greet:
                    await client.greet()
                with suppress(anyio.BrokenResourceError):
                    await client.stream.send(garbage or b"\0")
                    await client.stream.send_eof()
            good = await raw(path)
            async with good.stream:
                return (await good.greet()).kind

    assert anyio.run(attack) is Kind.REPLY


@pytest.mark.anyio
async def test_a_second_daemon_is_refused_naming_the_pid_of_the_first(socket_path: str) -> None:
    async with serving(socket_path):
        with pytest.raises(BusyError) as caught:
            await IpcServer(EchoService(), socket_path, version="2").serve()
        client = await raw(socket_path)
        async with client.stream:
            assert (await client.greet()).kind is Kind.REPLY
    assert caught.value.message == f"another daemon (pid {os.getpid()}) serves {socket_path}"


@pytest.mark.anyio
async def test_an_answer_that_is_on_its_way_is_not_taken_back_when_the_daemon_ends(
    socket_path: str,
) -> None:
    class Stopping(EchoService):
        async def handle(self, request: Any, peer: Peer) -> msgspec.Struct | ArrowAnswer:
            answer = await super().handle(request, peer)
            if isinstance(request, StopRequest):
                # The server is told to end before the answer has left.
                ending.cancel()
            return answer

    ending = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:

        async def run(*, task_status: TaskStatus[None]) -> None:
            with ending:
                server = IpcServer(Stopping(), socket_path, version=VERSION)
                await server.serve(task_status=task_status)

        await tasks.start(run)
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            await client.send(2, StopRequest())
            frame = await client.frame()
            assert await client.is_hung_up_on()
    assert (frame.kind, frame.request_id) == (Kind.REPLY, 2)


class Slow(EchoService):
    """Answers a listing when it is let to; what waits for work waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = anyio.Event()

    async def handle(self, request: Any, peer: Peer) -> msgspec.Struct | ArrowAnswer:
        if isinstance(request, ListRequest):
            await self.let_go.wait()
        return await super().handle(request, peer)


@asynccontextmanager
async def asked_and_ending(path: str, service: Slow, drain: float) -> AsyncIterator[RawClient]:
    """A client that asked for a wait (2) and for a listing (3) of a server that is told to end."""
    ending = anyio.CancelScope()

    async def run(*, task_status: TaskStatus[None]) -> None:
        limits = ServerLimits(drain_seconds=drain)
        with ending:
            server = IpcServer(service, path, version=VERSION, limits=limits)
            await server.serve(task_status=task_status)

    async with anyio.create_task_group() as tasks:
        await tasks.start(run)
        client = await raw(path)
        async with client.stream:
            await client.greet()
            await client.send(2, WaitRequest())
            await client.send(3, ListRequest())
            while len(service.asked) < 1:
                await anyio.lowlevel.checkpoint()
            await client.send(4, Ping())
            assert (await client.frame()).request_id == 4
            ending.cancel()
            yield client
            assert await client.is_hung_up_on()


@pytest.mark.anyio
async def test_a_daemon_that_ends_answers_what_it_is_at_and_waits_for_nothing(
    socket_path: str,
) -> None:
    service = Slow()
    async with asked_and_ending(socket_path, service, drain=20.0) as client:
        refused = await client.frame()
        assert (refused.kind, refused.request_id) == (Kind.ERROR, 2)
        assert decode_error(refused.payload).code == "shutting-down"
        service.let_go.set()
        frames = [await client.frame()]
        while frames[-1].kind is not Kind.END:
            frames.append(await client.frame())
    assert {frame.request_id for frame in frames} == {3}
    assert frames[0].kind is Kind.REPLY


@pytest.mark.anyio
async def test_what_takes_too_long_is_told_that_the_daemon_ends(socket_path: str) -> None:
    async with asked_and_ending(socket_path, Slow(), drain=0.05) as client:
        refused = [await client.frame(), await client.frame()]
    assert [(one.kind, one.request_id) for one in refused] == [(Kind.ERROR, 2), (Kind.ERROR, 3)]
    assert {decode_error(one.payload).code for one in refused} == {"shutting-down"}
