"""Hostile clients at a real daemon: each hurts only itself."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings

from dftindexd.daemon.session import ServerLimits
from dftindexd.protocol.cluster_requests import ClusterHoldRequest
from dftindexd.protocol.codec import decode_error, encode_request
from dftindexd.protocol.errors import BusyError, InvalidArgumentError, ProtocolError
from dftindexd.protocol.framing import (
    FROM_DAEMON,
    MAX_REQUEST_BYTES,
    Decoder,
    Frame,
    Kind,
    encode_frame,
)
from dftindexd.protocol.index_requests import IndexSetsRequest
from dftindexd.protocol.requests import AggregationRequest, Hello, ListRequest, WaitRequest
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, until
from tests.protocol.requests_made import damaged_frames

#: How many requests a connection may have in flight.
_AT_ONCE = ServerLimits().requests_per_connection
#: What the daemon's memory may vary by, whatever was done to it.
SLACK_BYTES = 48 << 20
_SECONDS = 20.0
_HELLO = encode_frame(Kind.REQUEST, 1, encode_request(Hello(protocols=(1,), client="hostile")))


@contextmanager
def raw(daemon: Daemon, *, greets: bool = True) -> Iterator[socket.socket]:
    """A connection that says what no client of ours would."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        connection.connect(os.fspath(daemon.socket))
        if greets:
            connection.sendall(_HELLO)
            next(frames_of(connection))
        yield connection


def frames_of(connection: socket.socket) -> Iterator[Frame]:
    """Yield what the daemon sends, until it hangs up."""
    decoder = Decoder(FROM_DAEMON)
    while True:
        while (frame := decoder.next_frame()) is not None:
            yield frame
        data = connection.recv(1 << 16)
        if not data:
            return
        decoder.feed(data)


def memory_of(daemon: Daemon) -> int:
    return int(psutil.Process(daemon.process.pid).memory_info().rss)


def descriptors_of(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


@pytest.fixture(autouse=True)
def unhurt(module_daemon: Daemon) -> Iterator[None]:
    """After each test the daemon answers, and holds what it held before."""
    module_daemon.client.ping()
    module_daemon.events()
    memory, descriptors = memory_of(module_daemon), descriptors_of(module_daemon)
    yield
    assert module_daemon.client.ping().ready
    assert module_daemon.events() == 8
    # Readers that are kept, and their pipes, come and go.
    until(lambda: descriptors_of(module_daemon) <= descriptors + 8, "the end of descriptors")
    assert memory_of(module_daemon) <= memory + SLACK_BYTES


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged_frames())
def test_damaged_frames_get_typed_errors_or_a_clean_close(
    module_daemon: Daemon, data: bytes
) -> None:
    # A request to stop that came out whole is none of the attacks.
    data = data.replace(b"\xa4stop", b"\xa4stap")
    with raw(module_daemon) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            for frame in frames_of(connection):
                if frame.kind is Kind.ERROR:
                    error = decode_error(frame.payload)
                    assert error.code != "internal", error
    assert module_daemon.client.ping().ready


def test_a_huge_length_is_refused_by_its_header(module_daemon: Daemon) -> None:
    for length in (MAX_REQUEST_BYTES + 1, 2**32 - 1):
        with raw(module_daemon) as connection:
            connection.sendall(struct.pack(">IBI", length, Kind.REQUEST, 2))
            (frame,) = frames_of(connection)
        assert isinstance(decode_error(frame.payload), ProtocolError)


def test_garbage_after_the_greeting_ends_that_connection_alone(module_daemon: Daemon) -> None:
    with raw(module_daemon) as witness, raw(module_daemon) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
        (frame,) = frames_of(connection)
        assert isinstance(decode_error(frame.payload), ProtocolError)
        witness.sendall(encode_frame(Kind.REQUEST, 2, b"\xc1"))
        answer = next(frames_of(witness))
        assert (answer.kind, answer.request_id) == (Kind.ERROR, 2)


def test_many_who_send_half_a_frame_and_wait_keep_nobody(module_daemon: Daemon) -> None:
    held = []
    try:
        for number in range(100):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(os.fspath(module_daemon.socket))
            connection.sendall(_HELLO[: number % len(_HELLO)])
            held.append(connection)
        half = struct.pack(">IBI", MAX_REQUEST_BYTES, Kind.REQUEST, 2) + bytes(
            MAX_REQUEST_BYTES - 1
        )
        with raw(module_daemon) as slow:
            slow.sendall(half)
            assert module_daemon.events() == 8
    finally:
        for connection in held:
            connection.close()


def test_descriptors_that_a_client_sends_are_not_kept(module_daemon: Daemon) -> None:
    with raw(module_daemon) as connection, Path(os.devnull).open("rb") as file:
        before = descriptors_of(module_daemon)
        flood = array.array("i", [file.fileno()] * 200).tobytes()
        for number in range(2, 22):
            frame = encode_frame(Kind.CANCEL, number)
            connection.sendmsg([frame], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, flood)])
        connection.sendall(encode_frame(Kind.REQUEST, 99, b"\xc1"))
        assert next(frames_of(connection)).request_id == 99
        assert descriptors_of(module_daemon) <= before + 8


def test_a_path_longer_than_any_is_refused_before_it_is_looked_for(module_daemon: Daemon) -> None:
    endless = os.fspath(module_daemon.traces) + "/.." * 300_000
    for request in (WaitRequest(path=endless), IndexSetsRequest(directory=endless.encode())):
        with raw(module_daemon) as connection:
            connection.sendall(encode_frame(Kind.REQUEST, 2, encode_request(request)))
            frame = next(frames_of(connection))
        error = decode_error(frame.payload)
        assert isinstance(error, InvalidArgumentError)
        assert len(error.message) < 300


def test_whoever_takes_no_answer_is_refused_more_and_leaves_nothing(
    module_daemon: Daemon, tmp_path: Path
) -> None:
    """A client that asks and never reads is held by its own window, and its memory by a limit."""
    path = os.fspath(module_daemon.traces)
    with raw(module_daemon) as connection:
        connection.setblocking(False)
        sent = bytearray()
        for number in range(2, 400):
            kind = ListRequest(path=path) if number % 2 else AggregationRequest(path=path)
            sent += encode_frame(Kind.REQUEST, number, encode_request(kind))
        with suppress(BlockingIOError):
            while sent:
                del sent[: connection.send(sent)]
        for _ in range(20):
            assert module_daemon.events() == 8


def test_more_requests_than_one_may_have_are_busy(module_daemon: Daemon) -> None:
    """Only what waits stays in flight: here for a trace that is held for somebody else."""
    held = module_daemon.traces / "held" / "h.pfw.gz"
    held.parent.mkdir(exist_ok=True)
    _hold(module_daemon, held, 600.0)
    write_trace(held, 0)
    try:
        with raw(module_daemon) as connection:
            request = encode_request(WaitRequest(path=os.fspath(held)))
            for number in range(2, 2 + 300):
                connection.sendall(encode_frame(Kind.REQUEST, number, request))
            frames = islice(frames_of(connection), 300 - _AT_ONCE)
            errors = [decode_error(frame.payload) for frame in frames]
        assert {type(error) for error in errors} == {BusyError}
    finally:
        held.unlink()
        _hold(module_daemon, held, 0.0)
        module_daemon.client.sync()


def _hold(daemon: Daemon, trace: Path, seconds: float) -> None:
    name = os.fsencode(trace.relative_to(daemon.traces))
    directory = os.fsencode(daemon.traces)
    daemon.client.request(ClusterHoldRequest(directory=directory, names=(name,), seconds=seconds))
