"""What one client may take: bytes of requests, bytes of answers, and time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from dftindexd.daemon.server import ServerLimits
from dftindexd.protocol.codec import decode_error
from dftindexd.protocol.errors import BusyError
from dftindexd.protocol.framing import Kind, encode_frame
from dftindexd.protocol.requests import ListRequest, Ping
from tests.client.echo_daemon import serving
from tests.daemon.test_server import raw

pytestmark = pytest.mark.anyio


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    """The server's log, instead of its being printed."""
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    """Where the server of this test binds."""
    return os.fspath(tmp_path / "d.sock")


async def test_requests_in_flight_take_so_many_bytes_and_more_are_refused_and_logged(
    socket_path: str, logs: list[dict[str, object]]
) -> None:
    # The daemon ignores fields that it does not know, but they were sent and held.
    large = msgspec.msgpack.encode({"type": "wait", "padding": "x" * 400_000})
    async with serving(socket_path, limits=ServerLimits(request_bytes=1 << 20)):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            for number in (2, 3, 4):
                await client.stream.send(encode_frame(Kind.REQUEST, number, large))
            refused = await client.frame()
            await client.stream.send(encode_frame(Kind.CANCEL, 2))
            cancelled = await client.frame()
            await client.send(5, Ping())
            answered = await client.frame()
    assert refused.request_id == 4
    assert isinstance(decode_error(refused.payload), BusyError)
    assert (cancelled.request_id, answered.kind) == (2, Kind.REPLY)
    assert [entry["code"] for entry in logs if entry["event"] == "request_refused"] == ["busy"]


async def test_answers_that_wait_to_be_read_are_bounded_and_one_alone_is_never_refused(
    socket_path: str, logs: list[dict[str, object]]
) -> None:
    async with serving(socket_path, limits=ServerLimits(answer_bytes=1)):
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            await client.send(2, ListRequest(path="/rows-2000000"))
            head = await client.frame()
            await client.send(3, ListRequest(path="/rows-3"))
            while (frame := await client.frame()).request_id == 2:
                assert frame.kind is Kind.DATA
    assert (head.kind, head.request_id) == (Kind.REPLY, 2)
    assert frame.request_id == 3
    assert isinstance(decode_error(frame.payload), BusyError)


async def test_a_client_that_takes_nothing_is_hung_up_on_in_the_end(
    socket_path: str, logs: list[dict[str, object]]
) -> None:
    async with serving(socket_path, limits=ServerLimits(stalled_seconds=0.2)) as server:
        client = await raw(socket_path)
        async with client.stream:
            await client.greet()
            await client.send(2, ListRequest(path="/endless"))
            with anyio.fail_after(60):
                while server.connections:
                    await anyio.lowlevel.checkpoint()
    assert "client_stalled" in [entry["event"] for entry in logs]
