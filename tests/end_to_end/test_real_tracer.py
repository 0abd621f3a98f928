"""Programs under the real tracer, indexed while they write and after they end, in every manner."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end.running import (
    COMMAND_SECONDS,
    Daemon,
    events_below,
    events_in,
    rows_of,
    until,
)
from tests.end_to_end.tracing import FOR_LONG, announced, end_now, end_of, traced, traces_in


@pytest.mark.parametrize("plain", [False, True], ids=["gzip", "plain"])
def test_a_trace_is_answered_while_it_grows_and_whole_when_it_ended(
    module_daemon: Daemon, directory: Path, plain: bool
) -> None:
    with (
        module_daemon.client.events(directory) as told,
        traced(directory, seconds=FOR_LONG, plain=plain) as program,
    ):
        first = next(event for event in told if event.kind == "grew" and event.events)
        assert module_daemon.events(directory) >= first.events > 0
        rows = rows_of(module_daemon.run("list", directory, "--json"))
        assert program.poll() is None
        assert [row["state"] for row in rows] == ["growing"]
        assert rows[0]["events"] >= first.events
        end_now(program, directory)
        last = next(event for event in told if event.ending == "end")
    rows_of(module_daemon.run("sync", directory, "--json"))
    (trace,) = traces_in(directory)
    counts = rows_of(module_daemon.run("agg", directory, "--json"))
    assert sum(row["count"] for row in counts) == announced(trace) == events_in(trace)
    (row,) = rows_of(module_daemon.run("list", directory, "--json"))
    assert (row["path"], row["state"], row["ending"]) == (str(trace), "indexed", "end")
    assert (row["bad_lines"], row["reason"]) == (0, "")
    assert (last.path, last.ending, last.events) == (str(trace), "end", row["events"])
    roots = module_daemon.client.status().roots
    root = next(root for root in roots if str(directory).startswith(root.root))
    assert root.fast_lines >= 0.99 * root.valid_lines > 0


def test_the_events_of_a_growing_trace_only_ever_become_more(
    module_daemon: Daemon, directory: Path
) -> None:
    counts: list[int] = []
    with traced(directory, seconds=FOR_LONG) as program:
        while len(set(counts)) < 6:
            counts.append(module_daemon.events(directory))
            assert program.poll() is None
        end_now(program, directory)
    module_daemon.client.sync(directory)
    counts.append(module_daemon.events(directory))
    assert counts == sorted(counts)
    assert counts[-1] == events_below(directory)


def test_sync_of_a_running_program_holds_every_complete_line_that_was_on_disk(
    module_daemon: Daemon, directory: Path
) -> None:
    with traced(directory, seconds=FOR_LONG) as program:
        until(lambda: bool(traces_in(directory)), "a trace")
        on_disk = -1
        for _ in range(10):
            until(partial(_is_on_disk, directory, on_disk + 1), "more events on disk")
            on_disk = events_below(directory)
            module_daemon.client.sync(directory)
            assert module_daemon.events(directory) >= on_disk
            assert program.poll() is None


def _is_on_disk(directory: Path, events: int) -> bool:
    return events_below(directory) >= events


@pytest.mark.parametrize("plain", [False, True], ids=["gzip", "plain"])
def test_a_killed_program_leaves_its_complete_lines(
    module_daemon: Daemon, directory: Path, plain: bool
) -> None:
    with traced(directory, seconds=60.0, plain=plain) as program:
        until(lambda: module_daemon.events(directory) > 200, "events of a running program")
        program.kill()
        program.wait()
    module_daemon.client.sync(directory)
    (trace,) = traces_in(directory)
    assert module_daemon.events(directory) == events_in(trace)
    module_daemon.client.wait(directory, timeout=COMMAND_SECONDS)
    (row,) = module_daemon.listed(directory)
    cut = not plain or not trace.read_bytes().endswith(b"\n")
    assert (row["state"], row["ending"]) == ("indexed", "cut" if cut else "silence")
    assert module_daemon.events(directory) == events_in(trace)


def test_a_program_that_never_told_the_tracer_ends_by_silence(
    module_daemon: Daemon, directory: Path
) -> None:
    with traced(directory, mode="forget", seconds=0.5) as program:
        end_of(program)
    module_daemon.client.wait(directory, timeout=COMMAND_SECONDS)
    (row,) = module_daemon.listed(directory)
    assert (row["state"], row["ending"]) == ("indexed", "silence")
    assert module_daemon.events(directory) == events_below(directory) > 0


@pytest.mark.parametrize("mode", ["fork", "spawn"])
def test_the_traces_of_children_are_answered_with_their_parent_s(
    module_daemon: Daemon, directory: Path, mode: str
) -> None:
    with traced(directory, mode=mode, seconds=0.5) as program:
        end_of(program)
    module_daemon.client.sync(directory)
    traces = traces_in(directory)
    assert len(traces) == 3
    assert module_daemon.events(directory) == sum(map(events_in, traces))
    for trace in traces:
        assert module_daemon.events(trace) == events_in(trace)
    answer = module_daemon.client.aggregation(directory, query='func_name == "read"')
    names = {row["file_name"] for row in answer.to_pylist()}
    assert names
    assert all(name.startswith(str(directory / "data")) for name in names)
