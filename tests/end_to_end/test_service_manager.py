"""The real daemon under what acts as systemd: what it is told, and a socket handed over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dftindexd.client import connect
from dftindexd.protocol.errors import DaemonUnreachableError
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import (
    command,
    running_daemon,
    until,
    wait_for_exit,
)

Told = list[str]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Told]]:
    """What a daemon told its manager so far, message by message."""
    path = str(tmp_path / "notify")
    messages: Told = []

    def all_told() -> Told:
        while True:
            try:
                messages.append(manager.recv(4096).decode())
            except BlockingIOError:
                return messages

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        yield all_told


def _first(messages: Told, start: str) -> int:
    return next(place for place, text in enumerate(messages) if text.startswith(start))


def test_a_manager_is_told_of_a_daemon_s_life_in_order(
    tmp_path: Path, told: Callable[[], Told]
) -> None:
    (tmp_path / "traces").mkdir()
    write_trace(tmp_path / "traces" / "t.pfw", 10)
    with running_daemon(tmp_path) as daemon:
        until(lambda: "READY=1" in told(), "READY=1")
        # Whoever hears of READY finds the socket, the root, and its first look on the way.
        assert daemon.socket.exists()
        daemon.client.sync()
        assert daemon.events() == 10
        until(lambda: "STATUS=1 root, 1 trace indexed" in told(), "STATUS")
        until(lambda: "WATCHDOG=1" in told(), "WATCHDOG=1")
        seen = len(told())
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: "READY=1" in told()[seen:], "READY=1 after a reload")
        daemon.process.terminate()
        assert wait_for_exit(daemon.process) == 0
    messages = told()
    order = [
        _first(messages, "EXTEND_TIMEOUT_USEC="),
        _first(messages, "READY=1"),
        _first(messages, "WATCHDOG=1"),
        _first(messages, "RELOADING=1\nMONOTONIC_USEC="),
        seen + _first(messages[seen:], "READY=1"),
        _first(messages, "STOPPING=1"),
    ]
    assert order == sorted(order)
    opened = _first(messages, "STATUS=opening stores: ")
    assert opened < _first(messages, "READY=1") < _first(messages, "STATUS=1 root")
    stop = order[-1]
    assert all(text.startswith("EXTEND_TIMEOUT_USEC=") for text in messages[stop + 1 :])
    _, _, clock = messages[order[3]].partition("MONOTONIC_USEC=")
    assert 0 < int(clock) <= time.monotonic_ns() // 1000


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that begins with the first connection, under systemd-socket-activate."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not here: install the package systemd")
    path = tmp_path / "s"
    line = command("daemon", "run", "--state-dir", tmp_path / "state", "--workers", "1")
    variables = [f"--setenv={name}" for name in ("HOME", "PATH", "CACHE_DIRECTORY")]
    with (tmp_path / "log").open("ab") as log:
        process = subprocess.Popen(
            [activate, f"--listen={path}", *variables, *line], stderr=log, start_new_session=True
        )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_socket_of_systemd_starts_the_daemon_and_outlives_it(
    tmp_path: Path, activated: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "s"
    until(path.exists, "the socket")
    inode = path.stat().st_ino
    assert not (tmp_path / "state").exists()
    with connect(path) as client:
        assert client.ping().pid == activated.pid
        assert client.status().socket == str(path)
        client.stop()
    assert activated.wait(timeout=10.0) == 0
    assert path.stat().st_ino == inode
    with pytest.raises(DaemonUnreachableError):
        connect(path)
