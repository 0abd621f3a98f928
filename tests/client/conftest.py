"""Fixtures of the client's tests: a daemon to ask, on a thread or as a process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.client.echo_daemon import ThreadedDaemon, threaded_daemon

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """Keep the daemon's log out of what the command under test prints in the same process."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


def interrupt(process: subprocess.Popen[Any], *, wakes: bool = True) -> None:
    """Send Ctrl-C's signal; unless it *wakes* the main thread, another takes it: so it is with one
    that comes in the moment before the main thread sleeps."""
    taker = process.pid
    if not wakes:
        threads = Path(f"/proc/{process.pid}/task").iterdir()
        takers = {int(thread.name) for thread in threads if _takes_interrupts(thread)}
        taker = min(takers - {process.pid})
    os.kill(taker, signal.SIGINT)


def _takes_interrupts(thread: Path) -> bool:
    (blocked,) = re.findall(r"^SigBlk:\s*(\w+)$", (thread / "status").read_text(), re.MULTILINE)
    return not int(blocked, 16) >> (signal.SIGINT - 1) & 1


@pytest.fixture
def socket_path(tmp_path: Path) -> str:
    """Where the daemon of this test binds."""
    return os.fspath(tmp_path / "d.sock")


@pytest.fixture
def daemon(socket_path: str) -> Iterator[ThreadedDaemon]:
    """A daemon on a thread of this process."""
    with threaded_daemon(socket_path) as running:
        yield running


@pytest.fixture
def daemon_process(socket_path: str) -> Iterator[subprocess.Popen[str]]:
    """A daemon as a process of its own, to be killed."""
    command = [sys.executable, "-m", "tests.client.echo_daemon", socket_path]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ready\n" in process.stdout
        yield process
        process.kill()
