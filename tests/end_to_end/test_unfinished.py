"""Traces that have not ended, or not as they say: what is told of them, and leaving them out."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, counted, rows_of, running_daemon, until
from tests.end_to_end.test_tail import write_ended


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that takes no silence for an end, however slow the machine."""
    with running_daemon(tmp_path, "--settle", "600") as running:
        yield running


def test_finished_only_is_the_answer_of_a_directory_without_the_unfinished_traces(
    daemon: Daemon,
) -> None:
    mixed, finished = (daemon.traces / name for name in ("mixed", "finished"))
    for directory in (mixed, finished):
        directory.mkdir()
        for number in range(3):
            write_ended(directory / f"{number}.pfw.gz", 10 + number)
    write_trace(mixed / "growing.pfw.gz", 100)
    (mixed / "empty.pfw.gz").touch()
    daemon.client.sync()

    def rows(directory: Path, *, finished_only: bool = False) -> list[dict[str, object]]:
        answer = daemon.client.aggregation(
            directory, group_by=["func_name", "cat"], finished_only=finished_only
        )
        return sorted(answer.to_pylist(), key=repr)

    assert rows(mixed, finished_only=True) == rows(finished)
    assert counted(daemon.client.aggregation(mixed)) == 10 + 11 + 12 + 3 + 100
    alone = rows_of(daemon.run("agg", mixed, "--finished-only", "--json"))
    assert sum(row["count"] for row in alone) == 10 + 11 + 12 + 3
    write_ended(mixed / "growing.pfw.gz", 100)
    daemon.client.sync()
    assert counted(daemon.client.aggregation(mixed, finished_only=True)) == 33 + 3 + 101


def test_status_counts_how_traces_ended_and_an_empty_one_is_live(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--settle", "0.3") as daemon:
        write_ended(daemon.traces / "ended.pfw.gz", 5)
        write_trace(daemon.traces / "silent.pfw.gz", 5)
        whole = gzip.compress((daemon.traces / "silent.pfw.gz").read_bytes(), 0)
        (daemon.traces / "cut.pfw.gz").write_bytes(whole[: len(whole) // 2])
        (daemon.traces / "empty.pfw.gz").touch()
        daemon.client.wait(daemon.traces)  # not for the empty one, which holds nothing
        rows = {Path(row["path"]).name.partition(".")[0]: row for row in daemon.listed()}
        states = {name: (row["state"], row["ending"]) for name, row in rows.items()}
        assert states == {
            "cut": ("indexed", "cut"),
            "empty": ("growing", None),
            "ended": ("indexed", "end"),
            "silent": ("indexed", "silence"),
        }
        assert "empty so far" in rows["empty"]["reason"]
        (root,) = daemon.client.status().roots
        assert (root.indexed, root.silent, root.truncated, root.growing) == (3, 1, 1, 1)
        assert (root.pending_bytes, root.seconds_left) == (0, 0.0)
        write_ended(daemon.traces / "empty.pfw.gz", 5)
        until(lambda: not daemon.client.status().roots[0].growing, "the end of the last trace")


def test_a_trace_that_holds_less_than_its_end_event_announces_says_so(daemon: Daemon) -> None:
    write_ended(daemon.traces / "short.pfw.gz", 5, announced=7)
    write_ended(daemon.traces / "right.pfw.gz", 5)
    daemon.client.sync()
    reasons = {Path(row["path"]).name: row["reason"] for row in daemon.listed()}
    assert reasons == {
        "short.pfw.gz": "its end event announces 8 events, it holds 6",
        "right.pfw.gz": "",
    }
