"""The verbs ``read``, ``explain``, ``top`` and ``completion``: what they ask for and print."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from io import StringIO
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from dftindexd.client.cli import cli
from dftindexd.client.cli_top import Rates, frame, rates_of, workers_of
from dftindexd.client.cli_verbs import VERBS
from dftindexd.protocol.requests import ExplainRequest, ReadRequest, RootStatus, StatusResult
from tests.client.conftest import REPOSITORY, interrupt
from tests.client.echo_daemon import ThreadedDaemon
from tests.client.test_cli import documents, run


def test_the_options_of_read_reach_the_daemon(daemon: ThreadedDaemon) -> None:
    options = ["--query", "n > 1", "--lines", "5:", "--bytes", ":70", "--columns", "n, name"]
    assert run(daemon, "read", "/rows-2", *options, "--finished-only").exit_code == 0
    assert run(daemon, "explain", "/rows-2", *options[:6]).exit_code == 0
    common: dict[str, Any] = {
        "path": "/rows-2",
        "query": "n > 1",
        "lines": (5, 2**63 - 1),
        "bytes": (0, 70),
    }
    assert daemon.service.asked == [
        ReadRequest(**common, columns=("n", "name"), finished_only=True),
        ExplainRequest(**common),
    ]


def test_a_limit_ends_an_endless_read(daemon: ThreadedDaemon) -> None:
    result = run(daemon, "read", "/endless", "--json", "--limit", "10001")
    assert [row["n"] for row in documents(result)] == list(range(10_001))
    shown = run(daemon, "read", "/endless")
    assert len(shown.stdout.splitlines()) == 201
    assert "200 rows\nthere are more; use --limit" in shown.stderr


def test_an_explanation_is_told_in_words(daemon: ThreadedDaemon) -> None:
    result = run(daemon, "explain", "/t")
    assert result.stdout.splitlines() == [
        "1 of 9 chunks are read, 1.0 MB of 9.0 MB of text, in 2 traces",
        "6 passed over by bloom name",
        "2 passed over by bounds dur",
        "1 of 5 chunks of /t/a.pfw",
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["--lines", "5"],
        ["--lines", "5:2"],
        ["--bytes", "a:b"],
        ["--raw", "--json"],
        ["--raw", "--columns", "n"],
        ["--meta"],
        ["--limit", "0"],
    ],
)
def test_options_that_say_nothing_are_usage_errors(
    daemon: ThreadedDaemon, options: list[str]
) -> None:
    result = run(daemon, "read", "/rows-1", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert daemon.service.asked == []


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_explains_itself_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\s+(\S.*)?dftindexd-client {name}\b", result.stdout)
    assert "--json" in result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"_DFTINDEXD_CLIENT_COMPLETE={shell}_complete" in result.stdout


def test_the_completion_of_bash_completes_verbs_and_options() -> None:
    def completed(*words: str) -> list[str]:
        environment = os.environ | {
            "_DFTINDEXD_CLIENT_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("dftindexd-client", *words)),
            "COMP_CWORD": str(len(words)),
        }
        command = [sys.executable, "-m", "dftindexd.client.cli"]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("sta") == ["status"]
    assert completed("read", "--col") == ["--columns"]
    assert "parquet" in completed("agg", "--format", "p")


def _root(**changes: Any) -> RootStatus:
    plain: dict[str, Any] = {
        "root": "/t",
        "store": "/s",
        "state": "indexing",
        "backend": "inotify",
        "generation": 3,
        "traces": 4,
        "queued": 2,
        "growing": 1,
        "indexed": 1,
        "quarantined": 0,
        "events": 1000,
        "bad_lines": 0,
        "trace_bytes": 5_000_000,
        "pending_bytes": 2_000_000,
    }
    return RootStatus(**(plain | changes))


def _status(uptime: float, *roots: RootStatus, pid: int = 7) -> StatusResult:
    return StatusResult(
        pid=pid,
        version="1.2.3",
        uptime_seconds=uptime,
        state_dir="/s",
        socket="/x",
        workers=1,
        worker_restarts=0,
        roots=roots,
        actors={
            "parser:0": {
                "health": "healthy",
                "restarts": 1,
                "actor": {"pid": 9, "jobs": 5, "traces": 6},
            },
            "store:/t": {"health": "healthy"},
        },
        degraded=("low disk",),
    )


def test_rates_are_of_the_time_between_two_looks() -> None:
    before = _status(10.0, _root())
    now = _status(12.0, _root(events=5000, generation=4), _root(root="/new"))
    assert rates_of(before, now) == {"/t": Rates(2000.0, 0.5), "/new": Rates()}
    assert rates_of(None, now)["/t"] == Rates()
    fewer = _status(12.0, _root(events=10))
    assert rates_of(before, fewer)["/t"] == Rates()
    another = _status(12.0, _root(events=5000), pid=8)
    assert rates_of(before, another)["/t"] == Rates()


def test_a_frame_shows_rates_queue_workers_and_what_is_degraded() -> None:
    status = _status(3700.0, _root())
    printed = StringIO()
    console = Console(width=160, file=printed)
    console.print(frame(status, {"/t": Rates(2500.0, 0.5)}))
    text = printed.getvalue()
    assert "up 1 h 1 min  2,500 events/s  2 queued (2.0 MB)" in text
    assert "degraded: low disk" in text
    cells = [line.split() for line in text.splitlines()]
    row = ["/t", "indexing", "4", "1", "1", "2", "0", "1,000", "2,500", "0.5", "5.0", "MB", "3"]
    assert row in cells
    assert ["parser:0", "healthy", "9", "5", "6", "1"] in cells
    assert [msgspec.to_builtins(worker)["name"] for worker in workers_of(status)] == ["parser:0"]


def test_top_prints_one_frame_where_there_is_no_terminal(daemon: ThreadedDaemon) -> None:
    result = run(daemon, "top")
    assert result.exit_code == 0
    assert "/traces/[bold]run  watching" in result.stdout
    assert "\x1b" not in result.stdout


def _on_terminal(
    arguments: list[str], environment: dict[str, str], *, wakes: bool = True
) -> tuple[int, bytes]:
    """Run the command on a terminal until it ends, interrupted once it has printed something."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "dftindexd.client.cli", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"} | environment,
        stdout=theirs,
    ) as process:
        os.close(theirs)
        printed, interrupted = b"", False
        while select.select([ours], [], [], 30)[0]:
            try:
                printed += os.read(ours, 65536)
            except OSError:  # the terminal has no user any more
                break
            if b"watching" in printed and not interrupted:
                interrupted = True
                interrupt(process, wakes=wakes)
        os.close(ours)
        try:
            return process.wait(60), printed
        finally:
            process.kill()


@pytest.mark.parametrize("wakes", [True, False])
def test_top_ends_cleanly_at_an_interrupt(daemon: ThreadedDaemon, wakes: bool) -> None:
    arguments = ["--socket", daemon.path, "top", "--interval", "600"]
    code, printed = _on_terminal(arguments, {}, wakes=wakes)
    assert code == 0
    assert b"\x1b[?1049h" in printed  # the other screen, and back from it
    assert b"\x1b[?1049l" in printed
    assert b"Traceback" not in printed


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_there_is_colour_on_a_terminal_unless_it_is_not_wanted(
    daemon: ThreadedDaemon, environment: dict[str, str], coloured: bool
) -> None:
    daemon.service.degraded = ("watch-limit",)
    _, printed = _on_terminal(["--socket", daemon.path, "status"], environment)
    assert (b"\x1b[33m" in printed) is coloured
    assert b"degraded: watch-limit" in printed
    assert "\x1b" not in run(daemon, "status").stdout
