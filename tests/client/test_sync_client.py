"""The blocking client: shared by threads, inside a running loop, across forks and interrupts."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from dftindexd.client import Answer, AsyncClient, Client, connect, discovery
from dftindexd.protocol.errors import (
    ConnectionLostError,
    DaemonUnreachableError,
    NotFoundError,
    RequestTimeoutError,
    UseAfterForkError,
)
from dftindexd.protocol.requests import ListRequest
from tests.client.conftest import REPOSITORY
from tests.client.echo_daemon import ThreadedDaemon

MIRRORED = [
    "aggregation",
    "backup",
    "compact",
    "debug_dump",
    "drop_views",
    "events",
    "explain",
    "fetch",
    "index",
    "indices",
    "list",
    "metrics",
    "partitions",
    "ping",
    "read",
    "rebuild",
    "request",
    "sql",
    "sql_progress",
    "status",
    "stop",
    "stream",
    "sync",
    "unwatch",
    "verify",
    "views",
    "wait",
    "watch",
]


def client_threads() -> list[str]:
    """Return the names of the threads that clients run."""
    return [t.name for t in threading.enumerate() if t.name.startswith("dftindexd-client")]


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def public(kind: type[Any]) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, callable) if name[0] != "_"}

    assert public(AsyncClient) - {"connect"} == set(MIRRORED)
    assert public(Client) - {"close", "run"} == set(MIRRORED)
    for name in MIRRORED:
        blocking = inspect.signature(getattr(Client, name)).parameters
        asynchronous = inspect.signature(getattr(AsyncClient, name)).parameters
        assert list(blocking.values()) == list(asynchronous.values()), name


def test_requests_are_answered_and_the_thread_ends_at_close(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client:
        assert client.ping().ready
        assert client.status().roots[0].events == 10
        assert client.watch("/t").added
        assert client.unwatch("/t").root == "/t"
        assert client.index("/t").traces == 2
        assert client.sync("/t").generation == 5
        assert client.stop().pid == client.daemon.pid
        assert client_threads()
    assert client_threads() == []
    client.close()
    with pytest.raises(ConnectionLostError, match="this client is closed"):
        client.ping()


def test_an_answer_is_a_table_for_whoever_reads_arrow(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client:
        answer = client.aggregation("/rows-4", "events", group_by=["n"])
    assert isinstance(answer, Answer)
    assert len(answer) == 4
    assert (answer.generation, answer.warnings) == (3, ("one trace is missing",))
    assert pa.table(answer).drop(["ratio"]).equals(answer.arrow().drop(["ratio"]))
    assert sum(batch.num_rows for batch in answer.batches()) == 4
    assert answer.to_pylist()[1] == {"n": 1, "name": "name-1", "ratio": None}
    assert repr(answer) == "<Answer: 4 rows of (n, name, ratio), generation 3>"


def test_an_answer_becomes_a_data_frame_where_pandas_is(daemon: ThreadedDaemon) -> None:
    pytest.importorskip("pandas")
    with connect(daemon.path) as client:
        assert list(client.list("/rows-4").to_pandas()["n"]) == [0, 1, 2, 3]


def test_a_stream_is_read_batch_by_batch(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client:
        with client.stream(ListRequest(path="/rows-500000")) as stream:
            lengths = [batch.num_rows for batch in stream]
            assert stream.generation == 3
        with client.stream(ListRequest(path="/endless")) as stream:
            assert next(stream).num_rows == 10_000
        assert client.ping().ready
    assert sum(lengths) == 500_000
    assert len(lengths) > 1


def test_thirty_two_threads_share_one_client(daemon: ThreadedDaemon) -> None:
    def ask(number: int) -> int:
        total = 0
        for turn in range(8):
            total += len(client.list(f"/rows-{number * 100 + turn}"))
            assert client.watch(f"/{number}/{turn}").root == f"/{number}/{turn}"
        return total

    with connect(daemon.path) as client, ThreadPoolExecutor(32) as pool:
        totals = list(pool.map(ask, range(32)))
        assert len(client_threads()) == 1
    assert totals == [number * 800 + 28 for number in range(32)]
    assert len({peer.pid for peer in daemon.service.peers}) == 1


def test_it_works_inside_a_running_event_loop(daemon: ThreadedDaemon) -> None:
    async def as_in_jupyter() -> int:
        with connect(daemon.path) as client:
            return len(client.list("/rows-9"))

    assert asyncio.run(as_in_jupyter()) == 9


def test_a_timeout_is_a_timeout_error(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client:
        with pytest.raises(TimeoutError) as caught:
            client.wait("/t", timeout=0.02)
        assert isinstance(caught.value, RequestTimeoutError)
        assert client.ping().ready


def test_the_clients_own_timeout_bounds_quick_requests(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path, timeout=60.0) as client:
        assert client.ping().ready
        assert client.ping(timeout=None).ready


def test_closing_ends_requests_of_other_threads(daemon: ThreadedDaemon) -> None:
    client = connect(daemon.path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait)
        daemon.until_waiting(1)
        client.close()
        with pytest.raises(ConnectionLostError):
            waiting.result(timeout=20)


def test_a_restart_of_the_daemon_is_survived_by_the_next_call(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client:
        assert client.ping().ready
        daemon.stop()
        with pytest.raises(DaemonUnreachableError, match="no such socket"):
            client.ping()
        daemon.start()
        assert client.ping().ready
        assert client.index("/t").traces == 2


def test_a_daemon_killed_midway_is_told_at_once(
    socket_path: str, daemon_process: subprocess.Popen[str]
) -> None:
    with connect(socket_path) as client, client.stream(ListRequest(path="/endless")) as stream:
        assert next(stream).num_rows == 10_000
        daemon_process.kill()
        with pytest.raises(ConnectionLostError, match="went away"):
            _ = list(stream)


def test_no_daemon_leaves_no_thread_behind(socket_path: str) -> None:
    with pytest.raises(DaemonUnreachableError, match="no such socket"):
        connect(socket_path)
    assert client_threads() == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_that_somebody_made_in_our_name_is_not_trusted(
    daemon: ThreadedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = os.path.dirname(daemon.path)
    monkeypatch.setattr(discovery, "temporary_directory", lambda _uid: directory)
    os.chown(directory, 12345, 12345)
    try:
        with pytest.raises(DaemonUnreachableError, match="its directory belongs to user 12345"):
            connect(daemon.path)
    finally:
        os.chown(directory, os.getuid(), os.getgid())
    with connect(daemon.path) as client:
        assert client.ping().ready


def test_errors_keep_their_kind(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client, pytest.raises(NotFoundError, match="make it first"):
        client.watch("/missing")


def in_child(call: Any) -> int:
    """Fork, run *call* in the child, and return its exit code."""
    with warnings.catch_warnings():
        # Newer Pythons warn of a fork beside threads, which is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os._exit(call())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_use_after_a_fork_is_refused_in_the_child_and_harms_nothing_in_the_parent(
    daemon: ThreadedDaemon,
) -> None:
    def child() -> int:
        with client:
            try:
                client.ping()
            except UseAfterForkError:
                return 7
        return 8

    with connect(daemon.path) as client:
        assert client.ping().ready
        assert in_child(child) == 7
        assert client.ping().ready


def test_a_program_that_forgets_to_close_still_ends(daemon: ThreadedDaemon) -> None:
    program = f"from dftindexd.client import connect; print(connect({daemon.path!r}).ping().ready)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("left", ["client", "batches"])
def test_a_program_that_closes_nothing_ends_all_the_same(daemon: ThreadedDaemon, left: str) -> None:
    program = f"""
from dftindexd.client import connect
client = connect({daemon.path!r})
reading = client.read("/x/rows-10")
next(reading.__enter__()) if {left == "batches"} else client.ping()
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], timeout=60, check=False)
    assert done.returncode == 0
