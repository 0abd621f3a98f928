"""The command ``dftindexd-client``: what it prints where, and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from dftindexd import __version__
from dftindexd.client.cli import cli
from dftindexd.client.cli_verbs import VERBS
from dftindexd.protocol.requests import AggregationRequest
from tests.client.conftest import REPOSITORY, interrupt
from tests.client.echo_daemon import VERSION, ThreadedDaemon


def run(daemon: ThreadedDaemon, *arguments: str) -> Result:
    """Run one verb against the daemon."""
    return CliRunner().invoke(cli, ["--socket", daemon.path, *arguments])


def documents(result: Result) -> list[Any]:
    """Return what standard output holds, one JSON document a line."""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ping"], {"ready": True, "version": VERSION}),
        (["status"], {"state_dir": "/state", "workers": 2}),
        (["watch", "/t"], {"root": "/t", "added": True}),
        (["unwatch", "/t", "--purge"], {"root": "/t", "purged": True}),
        (["index", "/t", "--wait"], {"traces": 2, "generation": 4}),
        (["sync", "/t", "--timeout", "5"], {"generation": 5}),
        (["explain", "/t"], {"chunks": 9, "read": 1, "tiers": {"bloom": 6, "statistics": 2}}),
        (["completion", "bash"], {"shell": "bash"}),
        (["top"], {"rates": {"/traces/[bold]run": [0.0, 0.0]}}),
        (["stop"], {"pid": os.getpid()}),
        (["version"], {"client": __version__, "daemon": VERSION}),
    ],
)
def test_json_prints_one_document_and_nothing_else(
    daemon: ThreadedDaemon, arguments: list[str], expected: dict[str, Any]
) -> None:
    result = run(daemon, *arguments, "--json")
    (document,) = documents(result)
    assert {key: document[key] for key in expected} == expected
    assert result.exit_code == 0
    assert result.stderr == ""


def test_every_verb_is_found_by_its_name() -> None:
    assert cli.get_help(click.Context(cli)).count("\n  publish ") == 1  # which imports all
    assert isinstance(cli, click.Group)
    assert set(cli.commands) == set(VERBS)


@pytest.mark.parametrize("verb", ["list", "agg", "read"])
def test_rows_are_one_json_object_a_line_with_numbers_and_nulls(
    daemon: ThreadedDaemon, verb: str
) -> None:
    result = run(daemon, verb, "/rows-3", "--json")
    assert documents(result) == [
        {"n": 0, "name": "name-0", "ratio": None},
        {"n": 1, "name": "name-1", "ratio": None},
        {"n": 2, "name": "name-2", "ratio": 1.0},
    ]
    assert result.stderr == "warning: one trace is missing\ngeneration 3\n"


@pytest.mark.parametrize("verb", ["list", "agg", "read"])
def test_meta_puts_generation_and_warnings_into_the_first_line(
    daemon: ThreadedDaemon, verb: str
) -> None:
    result = run(daemon, verb, "/rows-1", "--json", "--meta")
    assert documents(result)[0] == {"generation": 3, "warnings": ["one trace is missing"]}
    assert len(documents(result)) == 2
    assert result.stderr == ""


def test_no_rows_print_no_line(daemon: ThreadedDaemon) -> None:
    result = run(daemon, "list", "/rows-0", "--json")
    assert (result.stdout, result.exit_code) == ("", 0)


def test_the_socket_may_be_named_before_and_after_the_verb(daemon: ThreadedDaemon) -> None:
    after = CliRunner().invoke(cli, ["ping", "--socket", daemon.path, "--json"])
    both = CliRunner().invoke(cli, ["--socket", "/nowhere", "ping", "--socket", daemon.path])
    assert (after.exit_code, both.exit_code) == (0, 0)
    assert f"pid {os.getpid()}, ready, caught up" in both.stdout


def test_the_options_of_agg_reach_the_daemon(daemon: ThreadedDaemon) -> None:
    options = ["--kind", "system", "--query", "n == 1", "--group-by", "n, name", "--finished-only"]
    assert run(daemon, "agg", "/rows-2", *options).exit_code == 0
    assert daemon.service.asked == [
        AggregationRequest(
            path="/rows-2",
            kind="system",
            query="n == 1",
            group_by=("n", "name"),
            finished_only=True,
        )
    ]


def test_rows_are_sorted_and_limited(daemon: ThreadedDaemon) -> None:
    result = run(daemon, "agg", "/rows-90", "--json", "--sort", "-n", "--limit", "2")
    assert [row["n"] for row in documents(result)] == [89, 88]
    result = run(daemon, "agg", "/rows-90", "--json", "--sort", "name", "--limit", "3")
    assert {row["name"] for row in documents(result)} == {"name-0"}


def test_a_limit_ends_an_endless_answer(daemon: ThreadedDaemon) -> None:
    result = run(daemon, "agg", "/endless", "--json", "--limit", "10001")
    assert [row["n"] for row in documents(result)] == list(range(10_001))


def test_an_unknown_column_to_sort_by_is_an_error_that_names_the_columns(
    daemon: ThreadedDaemon,
) -> None:
    result = run(daemon, "agg", "/rows-2", "--sort", "m")
    assert result.exit_code == 1
    assert "error: there is no column 'm' to sort by; the columns are n, name" in result.stderr


def test_people_get_tables(daemon: ThreadedDaemon) -> None:
    listed = run(daemon, "list", "/rows-300")
    assert listed.stdout.splitlines()[0].split() == ["n", "name", "ratio"]
    assert len(listed.stdout.splitlines()) == 201
    assert "300 rows\n100 of them not shown" in listed.stderr
    status = run(daemon, "status")
    assert f"dftindexd {VERSION}" in status.stdout
    assert "/traces/[bold]run  watching" in status.stdout


def test_traces_that_failed_are_named(daemon: ThreadedDaemon) -> None:
    result = run(daemon, "index", "/t")
    assert result.stdout == "2 traces queued, generation 4\n"
    assert result.stderr == "warning: /t/a.pfw is quarantined: cut\n"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["watch", "/t/missing"], 5, "error: /t/missing does not exist; make it first\n"),
        (["watch", "/t/bug"], 1, "error: ZeroDivisionError: division by zero"),
        (["agg", "/query"], 1, "error: column 'x' does not exist; the columns are n, name, ratio"),
        (["list", "/breaks", "--json"], 1, "error: the store broke at row 30000\n"),
        (["wait", "--timeout", "0.01"], 1, "error: no answer from the daemon"),
        (["agg"], 2, "Missing argument 'DIRECTORY'"),
        (["dance"], 2, "No such command 'dance'"),
        (["list", "--meta"], 2, "--meta goes with --json"),
        (["--socket", "/nowhere/s", "ping"], 3, "error: no daemon answers; tried /nowhere/s"),
        (["--socket", "/" + "x" * 120, "ping"], 1, "the limit is 107"),
    ],
)
def test_failures_have_their_exit_codes_and_are_told_on_stderr(
    daemon: ThreadedDaemon, arguments: list[str], code: int, text: str
) -> None:
    result = run(daemon, *arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert text not in result.stdout


@pytest.mark.parametrize("verb", ["ping", "status"])
def test_a_degraded_daemon_is_exit_code_4_of_ping_and_status(
    daemon: ThreadedDaemon, verb: str
) -> None:
    daemon.service.degraded = ("watch-limit",)
    result = run(daemon, verb)
    assert result.exit_code == 4
    assert "degraded: watch-limit" in result.stdout
    as_json = run(daemon, verb, "--json")
    assert as_json.exit_code == 4
    assert documents(as_json)[0]["degraded"] == ["watch-limit"]
    assert run(daemon, "list", "/rows-1").exit_code == 0


def test_ping_waits_for_a_daemon_that_starts(daemon: ThreadedDaemon) -> None:
    daemon.stop()
    command = [sys.executable, "-m", "dftindexd.client.cli", "--socket", daemon.path, "ping"]
    with subprocess.Popen([*command, "--wait", "60"], cwd=REPOSITORY) as process:
        daemon.start()
        assert process.wait(timeout=60) == 0
    daemon.stop()
    assert run(daemon, "ping", "--wait", "0.1").exit_code == 3
    daemon.start()


def test_version_needs_no_daemon() -> None:
    result = CliRunner().invoke(cli, ["version", "--socket", "/nowhere/s", "--json"])
    assert (documents(result), result.exit_code) == ([{"client": __version__, "daemon": None}], 0)


def test_it_runs_as_a_module_and_a_broken_pipe_is_quiet(daemon: ThreadedDaemon) -> None:
    command = [sys.executable, "-m", "dftindexd.client.cli", "agg", "/endless", "--json"]
    environment = {**os.environ, "DFTINDEXD_SOCKET": daemon.path}
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert json.loads(first)["n"] == 0
    assert told == "warning: one trace is missing\ngeneration 3\n"
    assert process.returncode == 1


@pytest.mark.parametrize("wakes", [True, False])
def test_an_interrupt_cancels_the_request_at_the_daemon(
    daemon: ThreadedDaemon, wakes: bool
) -> None:
    command = [sys.executable, "-m", "dftindexd.client.cli", "--socket", daemon.path, "wait"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        try:
            daemon.until_waiting(1)
            interrupt(process, wakes=wakes)
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    daemon.until_waiting(0)
    assert (process.returncode, told.strip()) == (1, "Aborted!")
    assert daemon.service.cancelled == 1
