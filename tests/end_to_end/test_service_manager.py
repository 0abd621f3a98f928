"""The real daemon under what acts as systemd: what it is told, and a socket handed over."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dftindexd.client import connect
from dftindexd.index.failpoints import VARIABLE
from dftindexd.protocol.errors import DaemonUnreachableError
from tests.end_to_end import impatient_daemon
from tests.end_to_end.identities import Person
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.others import Asker, require_other_users
from tests.end_to_end.running import (
    Daemon,
    command,
    running_daemon,
    until,
    wait_for_exit,
)

Told = list[str]
WATCHDOG_SECONDS = 0.2


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
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_SECONDS * 1e6)))
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


def test_a_daemon_whose_store_hangs_gives_no_sign_of_life_until_it_goes_on(
    tmp_path: Path, told: Callable[[], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second commit of this process takes seconds, which this daemon has no patience for."""
    monkeypatch.setenv(VARIABLE, "store:commit:begun=sleep:8#2")
    program = [sys.executable, "-P", impatient_daemon.__file__]
    with running_daemon(tmp_path, program=program) as daemon:
        daemon.expected |= {"actor_killed", "actor_failed", "commit_failed"}
        write_trace(daemon.traces / "a.pfw.gz", 10)
        daemon.client.sync()
        until(lambda: "WATCHDOG=1" in told(), "WATCHDOG=1")
        write_trace(daemon.traces / "b.pfw.gz", 20)
        until(lambda: _is_unhealthy(daemon), "an actor that hangs")
        since = len(told())
        assert any("store:" in reason for reason in daemon.client.ping().degraded)
        time.sleep(5 * WATCHDOG_SECONDS)  # five times as often as it wants to hear of it
        assert _is_unhealthy(daemon)
        assert "WATCHDOG=1" not in told()[since:]
        until(lambda: "WATCHDOG=1" in told()[since:], "WATCHDOG=1 again")
        daemon.client.sync()
        assert daemon.events() == 30


def _is_unhealthy(daemon: Daemon) -> bool:
    return any(reason.startswith("unhealthy: ") for reason in daemon.client.ping().degraded)


@contextmanager
def activated(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that begins with the first connection, under systemd-socket-activate."""
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not here: install the package systemd")
    line = command("daemon", "run", "--state-dir", folder / "state", "--workers", "1", *options)
    variables = [f"--setenv={name}" for name in ("HOME", "PATH", "CACHE_DIRECTORY")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [activate, f"--listen={folder / 's'}", *variables, *line],
            stderr=log,
            start_new_session=True,
            umask=0o077,
        )
    try:
        until((folder / "s").exists, "the socket")
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_socket_of_systemd_starts_the_daemon_and_outlives_it(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with activated(tmp_path) as process:
        inode = path.stat().st_ino
        assert not (tmp_path / "state").exists()
        with connect(path) as client:
            assert client.ping().pid == process.pid
            assert client.status().socket == str(path)
            client.stop()
        assert wait_for_exit(process) == 0
        assert path.stat().st_ino == inode
        with pytest.raises(DaemonUnreachableError):
            connect(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_socket_of_systemd_lets_guests_in_once_the_daemon_runs() -> None:
    require_other_users()
    guest = Person(12001, 12001)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        place = Path(folder)
        with activated(place, "--allow-user", str(guest.uid)) as process:
            with Asker(guest, place / "s") as early, pytest.raises(DaemonUnreachableError):
                early.ask("ping")
            with connect(place / "s") as client, Asker(guest, place / "s") as asker:
                assert asker.ask("ping")["ready"]
                client.stop()
            assert wait_for_exit(process) == 0
