"""The line that systemd shows of the daemon."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

from dftindexd.daemon.status_line import status_line
from dftindexd.protocol.requests import RootStatus
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import running_daemon

IDLE = RootStatus(
    root="/r",
    store="/s",
    state="caught-up",
    backend="inotify",
    generation=1,
    traces=3,
    queued=0,
    growing=1,
    indexed=1200,
    quarantined=1,
    events=10,
    bad_lines=0,
    trace_bytes=100,
    pending_bytes=0,
)
BUSY = replace(IDLE, queued=12, pending_bytes=1_500_000_000, bytes_per_second=50e6, indexed=0)


def test_a_daemon_that_has_all_says_how_much() -> None:
    assert status_line([], 0) == "0 roots, 0 traces indexed"
    assert status_line([IDLE], 0) == "1 root, 1,201 traces indexed"


def test_a_daemon_at_work_says_what_is_left_and_how_long_it_takes() -> None:
    assert status_line([IDLE, BUSY], 0) == (
        "2 roots, 1,202 traces indexed; "
        "12 traces queued, 1,500.0 MB to read at 50.0 MB/s, 30 s left"
    )
    unknown = replace(BUSY, bytes_per_second=0.0)
    assert status_line([unknown], 2) == (
        "1 root, 1 trace indexed; 12 traces queued, 1,500.0 MB to read at 0.0 MB/s; "
        "degraded (2): see dftindexd-client status"
    )


def test_the_service_manager_is_told_what_the_daemon_is_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(30)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with running_daemon(tmp_path) as daemon:
            write_trace(daemon.traces / "a.pfw", 5)
            told: list[str] = []
            while "STATUS=1 root, 1 trace indexed" not in told:
                told.append(manager.recv(4096).decode())
        assert "READY=1" in told
