"""A daemon that is replaced by a newer one while clients are connected to it."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa

from dftindexd.protocol.errors import DaemonUnreachableError, DftIndexError
from tests.end_to_end import newer_daemon
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import (
    COMMAND_SECONDS,
    Daemon,
    errors_in,
    running_daemon,
    until,
    wait_for_exit,
)


@contextmanager
def upgraded(daemon: Daemon) -> Iterator[None]:
    """End *daemon* and run a newer one in its place for as long as the context lasts."""
    daemon.process.terminate()
    assert wait_for_exit(daemon.process) == 0
    line = [sys.executable, "-P", newer_daemon.__file__, "run", "--workers", "1"]
    line += ["--state-dir", str(daemon.state), "--socket", str(daemon.socket)]
    with daemon.log.open("ab") as log:
        process = subprocess.Popen(line, stderr=log)
    try:
        until(lambda: _answers(daemon), "an answer of the newer daemon")
        yield
        process.terminate()
        assert wait_for_exit(process) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert errors_in(daemon.log) == []


def _answers(daemon: Daemon) -> bool:
    try:
        daemon.client.ping()
    except DaemonUnreachableError:
        return False
    return True


def test_a_client_that_is_connected_goes_on_with_a_newer_daemon(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--settle", "600") as daemon:
        write_trace(daemon.traces / "a.pfw.gz", 100)
        daemon.client.sync()
        before = daemon.client.ping()
        waited: list[str] = []

        def wait() -> None:
            try:
                daemon.client.wait()
            except DftIndexError as error:
                waited.append(error.code)

        # A trace that grows keeps who waits waiting.
        write_trace(daemon.traces / "b.pfw", 1)
        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: daemon.waiters() == 1, "a request that waits")
        with upgraded(daemon):
            waiting.join(timeout=COMMAND_SECONDS)
            # Whoever waits is told by the daemon that ends, or by the end of its connection.
            assert not waiting.is_alive()
            assert waited in (["shutting-down"], ["connection-lost"])
            after = daemon.client.ping()
            assert (after.version, after.pid != before.pid) == (newer_daemon.VERSION, True)
            write_trace(daemon.traces / "c.pfw", 50)
            daemon.client.sync()
            assert daemon.events() == 151
            assert len(daemon.listed()) == 3
            status = daemon.client.status()
            assert [root.traces for root in status.roots] == [3]
            with daemon.client.read(daemon.traces) as batches:
                assert sum(batch.num_rows for batch in batches) == 151


class FirstClient:
    """A client of the first version of the protocol, as it was: frames and fields are written down
    here, and not made by today's code."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60.0)
        self._socket.connect(str(daemon.socket))
        self._incoming = self._socket.makefile("rb")
        self._last = 0

    def __enter__(self) -> FirstClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._incoming.close()
        self._socket.close()

    def ask(self, **request: object) -> list[tuple[int, bytes]]:
        """Return kind and payload of each frame of the answer."""
        self._last += 1
        payload = msgspec.msgpack.encode(request)
        self._socket.sendall(struct.pack(">IBI", len(payload), 1, self._last) + payload)
        frames: list[tuple[int, bytes]] = []
        streams = request["type"] in ("list", "aggregation")
        while not frames or (streams and frames[-1][0] not in (3, 5)):
            size, kind, number = struct.unpack(">IBI", self._incoming.read(9))
            assert number == self._last
            frames.append((kind, self._incoming.read(size)))
        return frames


def test_a_client_of_the_first_version_is_served_as_ever(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon, FirstClient(daemon) as old:
        write_trace(daemon.traces / "a.pfw.gz", 30)
        ((kind, greeting),) = old.ask(type="hello", protocols=[1], client="0.0.1")
        told = msgspec.msgpack.decode(greeting)
        assert (kind, told["protocol"], told["pid"]) == (2, 1, daemon.process.pid)
        assert {"ping", "status", "sync", "list", "aggregation", "stop"} <= set(
            told["capabilities"]
        )
        ((kind, synced),) = old.ask(type="sync", path=str(daemon.traces))
        assert (kind, msgspec.msgpack.decode(synced)["generation"] > 0) == (2, True)
        (_, head), *data, (last, _) = old.ask(
            type="aggregation", path=str(daemon.traces), group_by=["func_name"]
        )
        assert msgspec.msgpack.decode(head)["generation"] > 0
        assert {kind for kind, _ in data} == {4}  # no memory, which it does not know
        assert last == 5
        table = pa.ipc.open_stream(b"".join(piece for _, piece in data)).read_all()
        assert table.select(["func_name", "count"]).to_pylist() == [
            {"func_name": "read", "count": 30}
        ]
        ((kind, error),) = old.ask(type="list", path="/nowhere")
        assert (kind, msgspec.msgpack.decode(error)["code"]) == (3, "not-found")
