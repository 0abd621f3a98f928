"""What is kept of views: listed, deleted, damaged by hand, gone in the midst, without room."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import COMMAND_SECONDS, Daemon, until

_SPANS = (
    "SELECT count(*) AS n FROM "
    "view_instance('thread_spans', '00000000000000aa:77:1700000000000010:77')"
)
#: Goes on for ever, and takes little memory.
_ENDLESS = "SELECT count(*) FROM generate_series(1, 1000000000000)"


@pytest.fixture
def run(daemon: Daemon) -> Path:
    """A root with one thread's trace, of which views are made."""
    write_trace(daemon.traces / "a.pfw.gz", 300)
    daemon.client.sync()
    assert daemon.client.sql(_SPANS, daemon.traces).to_pylist() == [{"n": 301}]
    return daemon.traces


def kept(daemon: Daemon) -> list[Path]:
    """Return the files of views."""
    return sorted(daemon.state.glob("stores/*/views/**/*.parquet"))


def test_the_command_lists_what_is_kept_and_deletes_it(daemon: Daemon, run: Path) -> None:
    (status,) = (one for one in daemon.client.views(run) if one.view == "thread_spans")
    assert (status.root, status.partitions, status.rows, status.stale) == (str(run), 1, 300, 0)
    listed = json.loads(daemon.run("views", "--json").stdout)
    rows = {one["view"]: one for one in listed}
    assert {name for name, one in rows.items() if one["partitions"]} == {
        *("blocks", "facts", "thread_spans")
    }
    assert sum(one["bytes"] for one in listed) == sum(file.stat().st_size for file in kept(daemon))
    shown = daemon.run("views")
    assert (shown.returncode, "thread_spans" in shown.stdout) == (0, True)
    assert "deleted 3 partitions" in daemon.run("views", "drop", "--root", run).stdout
    assert kept(daemon) == []
    assert daemon.client.sql(_SPANS, run).to_pylist() == [{"n": 301}]
    assert daemon.run("views", "drop", "--root", "/").returncode == 5
    assert daemon.client.drop_views().partitions == 3


def test_a_partition_that_was_damaged_or_deleted_by_hand_is_made_anew(
    daemon: Daemon, run: Path
) -> None:
    for file in kept(daemon):
        whole = file.read_bytes()
        flipped = whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]
        for damage in (b"", whole[:-20], flipped):
            file.write_bytes(damage)
            assert daemon.client.sql(_SPANS, run).to_pylist() == [{"n": 301}]
            # What is made of facts was there, so that these were not asked for.
            assert file.read_bytes() == (damage if "facts" in file.parts else whole)
        file.unlink()
        assert daemon.client.sql(_SPANS, run).to_pylist() == [{"n": 301}]


def test_a_folder_of_views_that_cannot_be_written_is_told(daemon: Daemon, run: Path) -> None:
    assert daemon.client.drop_views().partitions
    (folder,) = daemon.state.glob("stores/*/views")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()
    folder.write_bytes(b"")
    failed = daemon.run("sql", _SPANS, "--root", run)
    assert (failed.returncode, "views cannot be kept" in failed.stderr) == (1, True)
    folder.unlink()
    assert daemon.client.sql(_SPANS, run).to_pylist() == [{"n": 301}]


def test_a_store_that_is_compacted_and_rebuilt_beside_statements_answers_them(
    daemon: Daemon, run: Path
) -> None:
    upkeep = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "dftindexd.client.cli", *command, str(run)],
            env=os.environ | {"DFTINDEXD_SOCKET": str(daemon.socket)},
            stdout=subprocess.DEVNULL,
        )
        for command in (("compact", "--now"), ("rebuild",), ("compact", "--now"))
    ]
    while any(one.poll() is None for one in upkeep):
        assert daemon.client.sql(_SPANS, run).to_pylist() == [{"n": 301}]
    assert [one.returncode for one in upkeep] == [0, 0, 0]
    assert daemon.client.sql(_SPANS, run).to_pylist() == [{"n": 301}]


def test_ctrl_c_ends_the_statement_and_its_process(daemon: Daemon, run: Path) -> None:
    before = set(daemon.running("dftindexd.daemon.sql_worker"))
    command = [sys.executable, "-P", "-m", "dftindexd.client.cli", "sql", _ENDLESS]
    statement = subprocess.Popen(
        [*command, "--root", str(run), "--seconds", "600"],
        env=os.environ | {"DFTINDEXD_SOCKET": str(daemon.socket)},
        stderr=subprocess.DEVNULL,
    )
    (process,) = before
    idle = _cpu_seconds(process)
    until(lambda: _cpu_seconds(process) > idle + 0.5, "the statement at work")
    statement.send_signal(signal.SIGINT)
    assert statement.wait(timeout=COMMAND_SECONDS) != 0
    until(lambda: process not in daemon.running("dftindexd.daemon.sql_worker"), "its end")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_how_far_a_statement_is_can_be_asked_and_is_a_bar_on_a_terminal(daemon: Daemon) -> None:
    trace = daemon.traces / "long.pfw.gz"
    for part in range(12):
        write_trace(trace, 4000, first=1 + part * 4000, append=bool(part))
    daemon.client.sync()
    main, worker = pty.openpty()
    statement = subprocess.Popen(
        [sys.executable, "-P", "-m", "dftindexd.client.cli", "sql", _SPANS],
        env=os.environ | {"DFTINDEXD_SOCKET": str(daemon.socket), "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=worker,
    )
    os.close(worker)
    told = b""
    with suppress(OSError):  # how a terminal ends
        while part_told := os.read(main, 1 << 16):
            told += part_told
    os.close(main)
    assert statement.wait(timeout=COMMAND_SECONDS) == 0
    assert b"making" in told
    assert b"chunks" in told
    assert daemon.client.sql_progress("nothing").view == ""
