"""What scripts rely on: exit codes, JSON and nothing else, one line for an error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, ask, rows_of, run_to_end, running_daemon, until


def _error_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    "arguments",
    [
        ("ping",),
        ("status",),
        ("version",),
        ("watch", "."),
        ("index", ".", "--wait"),
        ("sync",),
        ("wait", "--timeout", "20"),
        ("explain", ".", "--query", "name == 'read'"),
        ("top",),
        ("completion", "zsh"),
        ("unwatch", "."),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_verb_prints_one_json_document_and_succeeds(
    module_daemon: Daemon, directory: Path, arguments: tuple[str, ...]
) -> None:
    write_trace(directory / "t.pfw", 3)
    if arguments[0] == "unwatch":
        # Only what is a root itself can be given up.
        directory = module_daemon.state.parent / "another"
        directory.mkdir()
        rows_of(module_daemon.run("watch", directory, "--json"))
    named = [str(directory) if argument == "." else argument for argument in arguments]
    done = module_daemon.run(*named, "--json")
    (document,) = rows_of(done)
    assert isinstance(document, dict)
    assert done.stderr == ""


@pytest.mark.parametrize("verb", ["list", "agg", "read"])
def test_rows_are_one_object_a_line_and_the_generation_goes_to_standard_error(
    module_daemon: Daemon, directory: Path, verb: str
) -> None:
    write_trace(directory / "a.pfw", 3)
    write_trace(directory / "b.pfw.gz", 4)
    module_daemon.client.wait(directory)
    done = module_daemon.run(verb, directory, "--json")
    rows = rows_of(done)
    assert rows
    assert all(isinstance(row, dict) for row in rows)
    assert done.stderr.startswith("generation ")
    head, *same = rows_of(module_daemon.run(verb, directory, "--json", "--meta"))
    assert set(head) - {"store_id"} == {"generation", "warnings"}
    assert ("store_id" in head) == (verb == "list")  # which goes on from there
    assert same == rows


def test_an_empty_directory_gives_no_rows_and_succeeds(
    module_daemon: Daemon, directory: Path
) -> None:
    assert rows_of(module_daemon.run("agg", directory, "--json")) == []
    assert rows_of(module_daemon.run("list", directory, "--json")) == []


@pytest.mark.parametrize("order", ["time", "-count", "cat", "-file_name"])
def test_rows_are_sorted_by_any_column(module_daemon: Daemon, directory: Path, order: str) -> None:
    write_trace(directory / "a.pfw", 3)
    module_daemon.client.sync(directory)
    rows = rows_of(module_daemon.run("agg", directory, "--json", "--sort", order, "--limit", "2"))
    values = [row[order.removeprefix("-")] for row in rows]
    assert values == sorted(values, reverse=order.startswith("-"))


def test_the_socket_is_named_before_or_after_the_verb_or_in_the_environment(
    module_daemon: Daemon,
) -> None:
    socket = module_daemon.socket
    ways = [
        run_to_end("client", "--socket", socket, "ping", "--json"),
        run_to_end("client", "ping", "--socket", socket, "--json"),
        run_to_end("client", "ping", "--json", environment={"DFTINDEXD_SOCKET": str(socket)}),
    ]
    pids = {document["pid"] for way in ways for document in rows_of(way)}
    assert pids == {module_daemon.process.pid}


def test_without_a_daemon_the_status_is_3(tmp_path: Path) -> None:
    for verb in ("ping", "status", "list", "sync", "stop"):
        done = ask(tmp_path / "nobody", verb)
        assert done.returncode == 3
        assert str(tmp_path / "nobody") in _error_line(done.stderr)
        assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [("frobnicate",), ("agg",), ("list", "--nonsense"), ("agg", ".", "--kind", "x")],
    ids=lambda arguments: arguments[0],
)
def test_a_wrong_command_line_has_status_2(
    module_daemon: Daemon, arguments: tuple[str, ...]
) -> None:
    done = module_daemon.run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")


@pytest.mark.parametrize(
    "verb",
    ["list", "agg", "sync", "wait", "unwatch", "index", "watch", "read", "explain"],
)
def test_a_path_that_is_not_there_has_status_5(
    module_daemon: Daemon, tmp_path: Path, verb: str
) -> None:
    done = module_daemon.run(verb, tmp_path / "nothing")
    assert done.returncode == 5
    assert str(tmp_path / "nothing") in _error_line(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [("--query", "cat =="), ("--group-by", "nonsense"), ("--sort", "nonsense")],
    ids=lambda arguments: arguments[0],
)
def test_a_wrong_question_has_status_1_and_names_what_is_wrong(
    module_daemon: Daemon, directory: Path, arguments: tuple[str, ...]
) -> None:
    write_trace(directory / "t.pfw", 3)
    module_daemon.client.sync(directory)
    done = module_daemon.run("agg", directory, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].strip()


def test_a_path_of_any_bytes_is_watched_listed_and_answered(daemon: Daemon) -> None:
    folder = os.fsencode(daemon.traces) + b"/a b\xff\xc3\xa9"
    os.mkdir(folder)
    trace = Path(os.fsdecode(folder)) / "tr\n\u2603.pfw"
    write_trace(trace, 7)
    daemon.client.sync()
    assert daemon.events() == 7
    (row,) = rows_of(daemon.run("list", "--json"))
    assert row["events"] == 7
    assert daemon.run("list").returncode == 0
    read = rows_of(daemon.run("read", daemon.traces, "--json", "--columns", "trace,line"))
    assert [(event["trace"], event["line"]) for event in read] == [
        (row["path"], number) for number in range(7)
    ]
    by_name = daemon.run("list", os.fsdecode(folder))
    assert by_name.returncode == 1
    assert "name a directory above it" in _error_line(by_name.stderr)


def test_a_root_whose_name_is_not_utf_8_is_followed(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r \xff\xc3\xa9"))
    folder.mkdir()
    (tmp_path / "traces").symlink_to(folder)
    with running_daemon(tmp_path) as daemon:
        write_trace(folder / "t.pfw", 7)
        until(lambda: daemon.events() == 7, "the events of a trace that nobody asked for")
        (row,) = daemon.client.list(daemon.traces).to_pylist()
        assert row["path"].endswith("/r \\xff\u00e9/t.pfw")
        assert daemon.client.status().roots[0].root.endswith("/r \\xff\u00e9")


def test_degraded_is_status_4_and_says_why(daemon: Daemon) -> None:
    daemon.expected.add("is not the directory it was")
    daemon.traces.rename(daemon.traces.with_name("moved"))
    done = daemon.run("sync")
    assert done.returncode == 1
    assert str(daemon.traces) in _error_line(done.stderr)
    done = daemon.run("status", "--json")
    assert done.returncode == 4
    assert str(daemon.traces) in json.loads(done.stdout)["degraded"][0]
    daemon.traces.with_name("moved").rename(daemon.traces)
    rows_of(daemon.run("sync", "--json"))
    assert daemon.run("ping").returncode == 0
