"""What else may be at the socket: strangers, older daemons, daemons that misbehave."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest
from anyio.abc import TaskStatus

from dftindexd.client import AsyncClient
from dftindexd.protocol.codec import encode_reply
from dftindexd.protocol.errors import (
    ConnectionLostError,
    ProtocolError,
    RequestTimeoutError,
    VersionMismatchError,
)
from dftindexd.protocol.framing import FROM_CLIENT, Decoder, Kind, encode_frame
from dftindexd.protocol.negotiation import CAPABILITIES
from dftindexd.protocol.requests import HelloResult

pytestmark = pytest.mark.anyio

GREETING = HelloResult(protocol=1, version="9", pid=1, capabilities=CAPABILITIES)


async def scripted(path: str, *answers: bytes, task_status: TaskStatus[None]) -> None:
    """Be a daemon that sends one of *answers* for each request frame, then hangs up."""
    listener = await anyio.create_unix_listener(path)
    task_status.started()
    async with listener, await listener.accept() as stream:
        decoder = Decoder(FROM_CLIENT)
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            for answer in answers:
                while decoder.next_frame() is None:
                    decoder.feed(await stream.receive())
                await stream.send(answer)


@pytest.mark.parametrize(
    ("answers", "error", "text"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), ProtocolError, "not allowed here"),
        ((encode_frame(Kind.REPLY, 1, b"\xc1"),), ProtocolError, "reply to hello cannot be read"),
        ((encode_frame(Kind.END, 1),), ProtocolError, "in place of a greeting"),
        ((b"\0\0",), ConnectionLostError, "went away before it greeted"),
    ],
)
async def test_a_stranger_at_the_socket_is_told_apart(
    socket_path: str, answers: tuple[bytes, ...], error: type[Exception], text: str
) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(scripted, socket_path, *answers)
        with pytest.raises(error, match=text):
            async with AsyncClient(socket_path):
                pass


async def test_an_older_daemon_is_not_sent_what_it_does_not_know(socket_path: str) -> None:
    old = HelloResult(protocol=1, version="0.0.1", pid=1, capabilities=("ping",))
    async with anyio.create_task_group() as tasks:
        await tasks.start(
            scripted, socket_path, encode_frame(Kind.REPLY, 1, encode_reply(old)), b""
        )
        async with AsyncClient(socket_path) as client:
            with pytest.raises(VersionMismatchError, match="does not know the request 'status'"):
                await client.status()


async def test_a_daemon_that_floods_a_request_is_hung_up_on(socket_path: str) -> None:
    flood = encode_frame(Kind.DATA, 2, b"x") * 100
    async with anyio.create_task_group() as tasks:
        await tasks.start(
            scripted, socket_path, encode_frame(Kind.REPLY, 1, encode_reply(GREETING)), flood
        )
        async with AsyncClient(socket_path) as client:
            with pytest.raises(ProtocolError):
                await client.ping()


async def test_a_daemon_that_does_not_greet_is_given_up(socket_path: str) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(scripted, socket_path, b"", b"")
        with pytest.raises(RequestTimeoutError, match=r"did not greet within 0\.05 s"):
            async with AsyncClient(socket_path, timeout=0.05):
                pass
