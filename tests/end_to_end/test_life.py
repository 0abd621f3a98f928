"""How a daemon begins and ends: signals, two at once, and being killed in the midst of its work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from dftindexd.client import connect
from dftindexd.protocol.errors import DftIndexError
from dftindexd.protocol.requests import AggregationRequest
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import (
    COMMAND_SECONDS,
    Daemon,
    command,
    events_below,
    rows_of,
    run_to_end,
    running_daemon,
    wait_for_exit,
    wait_until_gone,
)

_TRACES, _EVENTS = 24, 2_000


def _fill(folder: Path) -> None:
    """Write traces that take the workers a while."""
    for number in range(_TRACES):
        write_trace(folder / f"t{number}.pfw.gz", _EVENTS)


def _reopened_events(folder: Path) -> int:
    """Return what a daemon answers that opens the store of one before it."""
    with running_daemon(folder) as again:
        again.client.sync()
        return again.events()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_daemon_with_status_0(daemon: Daemon, number: signal.Signals) -> None:
    daemon.process.send_signal(number)
    assert wait_for_exit(daemon.process) == 0
    assert not daemon.socket.exists()


def test_sigterm_ends_a_daemon_that_is_indexing_and_nothing_is_half_written(
    tmp_path: Path,
) -> None:
    with running_daemon(tmp_path) as daemon:
        _fill(daemon.traces)
        daemon.client.index(daemon.traces)
        daemon.process.terminate()
        assert wait_for_exit(daemon.process) == 0
    assert _reopened_events(tmp_path) == _TRACES * _EVENTS


def test_sigterm_ends_a_daemon_whose_clients_wait_and_read(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        _fill(daemon.traces)
        daemon.client.sync()
        with (
            socket.socket(socket.AF_UNIX) as mute,
            connect(daemon.socket) as reader,
            reader.stream(AggregationRequest(path=str(daemon.traces))) as answer,
        ):
            mute.connect(str(daemon.socket))
            next(answer)
            waiting = subprocess.Popen(
                command("client", "--socket", daemon.socket, "wait", daemon.traces),
                stderr=subprocess.PIPE,
                text=True,
            )
            daemon.process.terminate()
            assert wait_for_exit(daemon.process) == 0
            _, errors = waiting.communicate(timeout=COMMAND_SECONDS)
            assert waiting.returncode in (0, 1, 3)
            assert "Traceback" not in errors
    assert _reopened_events(tmp_path) == _TRACES * _EVENTS


def test_stop_ends_the_daemon_and_names_its_pid(daemon: Daemon) -> None:
    (stopped,) = rows_of(daemon.run("stop", "--json"))
    assert stopped == {"pid": daemon.process.pid}
    assert wait_for_exit(daemon.process) == 0
    assert daemon.run("ping").returncode == 3


def test_no_worker_outlives_its_daemon(daemon: Daemon) -> None:
    workers = daemon.workers()
    everything = [process.pid for process in daemon.processes()]
    assert set(everything) > set(workers)
    daemon.process.kill()
    daemon.process.wait()
    wait_until_gone(everything)


@pytest.mark.parametrize("shared", ["state", "socket"])
def test_a_second_daemon_is_refused_and_told_who_is_there(
    daemon: Daemon, tmp_path: Path, shared: str
) -> None:
    state = daemon.state if shared == "state" else tmp_path / "other-state"
    path = daemon.socket if shared == "socket" else tmp_path / "other-socket"
    second = run_to_end(
        *("daemon", "run", "--watch", daemon.traces, "--workers", "1"),
        *("--state-dir", state, "--socket", path),
    )
    assert second.returncode == 1
    told = [line for line in second.stderr.splitlines() if not line.startswith("{")]
    assert len(told) == 1
    assert told[0].startswith("error: ")
    assert str(daemon.process.pid) in told[0]
    assert daemon.client.ping().pid == daemon.process.pid


def test_the_socket_of_a_killed_daemon_is_taken_over(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as first:
        write_trace(first.traces / "t.pfw", 10)
        first.client.sync()
        first.process.kill()
        first.process.wait()
        assert first.socket.exists()
    assert _reopened_events(tmp_path) == 10


@pytest.mark.parametrize("commits", [0, 1, 3])
def test_a_daemon_killed_while_it_indexes_goes_on_where_it_was(
    tmp_path: Path, commits: int
) -> None:
    with running_daemon(tmp_path) as daemon:
        workers = daemon.workers()
        _fill(daemon.traces)
        while daemon.client.status().roots[0].generation < commits:
            time.sleep(0.005)
        daemon.process.kill()
        daemon.process.wait()
        wait_until_gone(workers)
    assert _reopened_events(tmp_path) == events_below(tmp_path / "traces") == _TRACES * _EVENTS


@pytest.mark.crash
def test_a_daemon_killed_again_and_again_comes_to_the_right_answer(tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    _fill(tmp_path / "traces")
    for cycle in range(int(os.environ.get("DFTINDEXD_TEST_CRASH_CYCLES", "3"))):
        with running_daemon(tmp_path) as daemon:
            time.sleep((0.0, 0.05, 0.2)[cycle % 3])
            daemon.process.kill()
            daemon.process.wait()
    assert _reopened_events(tmp_path) == _TRACES * _EVENTS


def test_a_worker_that_is_killed_costs_no_event(daemon: Daemon) -> None:
    daemon.expected.add("WorkerDiedError")
    _fill(daemon.traces)
    daemon.client.index(daemon.traces)
    os.kill(daemon.workers()[0], signal.SIGKILL)
    daemon.client.index(daemon.traces, force=True)  # had it been idle, it is missed now
    daemon.client.sync()
    assert daemon.events() == _TRACES * _EVENTS
    assert daemon.client.status().worker_restarts >= 1


def test_a_request_in_flight_when_the_daemon_dies_fails_with_an_error_of_ours(
    daemon: Daemon,
) -> None:
    write_trace(daemon.traces / "t.pfw", 10)
    daemon.process.kill()
    daemon.process.wait()
    with pytest.raises(DftIndexError):
        daemon.client.sync()
