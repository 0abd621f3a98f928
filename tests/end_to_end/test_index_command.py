"""``dftindexd index``: the same index without a daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import (
    COMMAND_SECONDS,
    Daemon,
    command,
    events_below,
    rows_of,
    run_to_end,
    running_daemon,
)


def index(state: Path, *arguments: str | Path) -> dict[str, Any]:
    """Index with the aggregation tier and return what was told of the one path."""
    done = run_to_end(
        *("daemon", "index", "--aggregation", "--workers", "2", "--state-dir", state),
        *("--json", *arguments),
    )
    (document,) = rows_of(done)
    (entry,) = document["indexed"]
    return dict(entry)


def test_a_directory_is_indexed_once_and_found_whole_the_second_time(
    tmp_path: Path, shared_traces: Path
) -> None:
    traces = tmp_path / "traces"
    shutil.copytree(shared_traces / "v2", traces)
    first = index(tmp_path / "state", traces)
    assert first["events"] == events_below(traces)
    assert (first["traces"], first["problems"]) == (39, {})
    second = index(tmp_path / "state", traces)
    assert second | {"parsed": 0} == first | {"parsed": 0}
    assert (first["parsed"], second["parsed"]) == (39, 0)
    forced = index(tmp_path / "state", traces, "--force")
    filled = sum(trace.stat().st_size > 0 for trace in traces.rglob("*.pfw*"))
    assert (forced["parsed"], forced["events"]) == (filled, first["events"])


@pytest.mark.parametrize("name", ["one.pfw", "one.pfw.gz"])
def test_a_single_trace_is_indexed_and_its_neighbours_are_not(tmp_path: Path, name: str) -> None:
    write_trace(tmp_path / name, 20)
    write_trace(tmp_path / "neighbour.pfw", 30)
    entry = index(tmp_path / "state", tmp_path / name)
    assert (entry["traces"], entry["events"], entry["parsed"]) == (1, 20, 1)


def test_a_changed_trace_is_parsed_again_and_only_that(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    for number in range(5):
        write_trace(traces / f"t{number}.pfw", 10)
    index(tmp_path / "state", traces)
    write_trace(traces / "t3.pfw", 5, first=11, append=True)
    (traces / "t4.pfw").unlink()
    entry = index(tmp_path / "state", traces)
    assert (entry["parsed"], entry["traces"], entry["events"]) == (1, 4, 45)


def test_a_state_directory_in_use_is_refused_with_the_daemon_s_name(daemon: Daemon) -> None:
    done = run_to_end("daemon", "index", daemon.traces, "--state-dir", daemon.state)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"pid {daemon.process.pid}" in line
    assert "dftindexd-client index" in line


def test_a_damaged_trace_is_named_and_the_others_are_indexed(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    write_trace(traces / "good.pfw", 10)
    (traces / "bad.pfw.gz").write_bytes(b"\xff\x00 no gzip\n" * 40)
    done = run_to_end("daemon", "index", traces, "--state-dir", tmp_path / "state")
    assert done.returncode == 0
    assert "10 events" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: {traces}/bad.pfw.gz: ")


def test_a_trace_that_cannot_be_read_has_status_1(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    write_trace(traces / "good.pfw", 10)
    (traces / "loop.pfw").symlink_to("loop.pfw")
    done = run_to_end("daemon", "index", traces, "--state-dir", tmp_path / "state")
    assert done.returncode == 1
    assert "10 events" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: {traces}/loop.pfw: ")


def test_a_trace_without_permission_is_named_and_found_once_it_has_it(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    write_trace(traces / "good.pfw", 10)
    write_trace(traces / "closed.pfw", 5)
    (traces / "closed.pfw").chmod(0)
    indexing = command("daemon", "index", "--state-dir", tmp_path / "state", traces)
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and setpriv is not there")
        indexing = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *indexing]
    done = subprocess.run(
        indexing, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    assert done.returncode == 1
    assert "10 events" in done.stdout
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: {traces}/closed.pfw: ")
    assert "Permission denied" in warnings[0]
    (traces / "closed.pfw").chmod(0o600)
    assert index(tmp_path / "state", traces)["events"] == 15


def test_a_path_that_is_not_there_has_status_2(tmp_path: Path) -> None:
    done = run_to_end("daemon", "index", tmp_path / "nothing", "--state-dir", tmp_path / "state")
    assert done.returncode == 2
    assert not (tmp_path / "state").exists()


def test_an_interrupt_ends_it_and_what_was_committed_stays(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    for number in range(40):
        write_trace(traces / f"t{number}.pfw", 1000)
    indexing = command(
        "daemon", "index", "--aggregation", "--state-dir", tmp_path / "state", traces
    )
    with subprocess.Popen(indexing, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "state" / "stores").exists():
            assert process.poll() is None
        process.terminate()
        _, errors = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert index(tmp_path / "state", traces)["events"] == 40_000


def test_another_interval_is_built_beside_and_the_first_is_there_without_parsing(
    tmp_path: Path,
) -> None:
    traces, state = tmp_path / "traces", tmp_path / "state"
    traces.mkdir()
    for number in range(3):
        write_trace(traces / f"t{number}.pfw", 10)
    plain = run_to_end("daemon", "index", "--state-dir", state, "--json", traces)
    assert rows_of(plain)[0]["indexed"][0]["parsed"] == 3
    told = [index(state, traces, *more) for more in ((), ("--interval-ms", "1000"), ())]
    assert [one["parsed"] for one in told] == [3, 3, 0]
    assert {(one["traces"], one["events"]) for one in told} == {(3, 30)}


def test_filters_of_arguments_and_another_rate_are_built_where_they_are_asked_for(
    tmp_path: Path,
) -> None:
    write_trace(tmp_path / "one.pfw", 20)
    wanted: list[tuple[str, ...]] = [
        (),
        ("--argument", "step", "--argument", "epoch"),
        ("--argument", "epoch", "--argument", "step"),
        ("--bloom-rate", "0.2"),
    ]
    parsed = [index(tmp_path / "state", tmp_path / "one.pfw", *one)["parsed"] for one in wanted]
    assert parsed == [1, 1, 0, 1]


def test_a_daemon_builds_the_filters_that_it_was_told_to(tmp_path: Path) -> None:
    filters = ("--argument", "step", "--bloom-rate", "0.2")
    with running_daemon(tmp_path, *filters) as daemon:
        write_trace(daemon.traces / "one.pfw", 20)
        daemon.client.sync()
    again = [index(daemon.state, daemon.traces, *some)["parsed"] for some in (filters, ())]
    assert again == [0, 1]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--argument", "a.b"), ("--argument", ""), ("--bloom-rate", "0"), ("--bloom-rate", "0.9")],
)
@pytest.mark.parametrize("verb", ["index", "run"])
def test_filters_that_cannot_be_are_refused(
    tmp_path: Path, verb: str, option: str, value: str
) -> None:
    paths = [tmp_path] if verb == "index" else []
    done = run_to_end("daemon", verb, option, value, "--state-dir", tmp_path / "state", *paths)
    assert done.returncode == 2
    assert option in done.stderr
    assert not (tmp_path / "state").exists()
