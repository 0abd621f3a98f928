"""What clients are told as it happens: traces that come, grow, end, go and fail."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dftindexd.client.async_client import AsyncClient
from dftindexd.client.events import EventIterator
from dftindexd.index.failpoints import VARIABLE
from dftindexd.protocol.errors import DftIndexError
from dftindexd.protocol.events import IndexEvent
from tests.end_to_end.made_traces import end_line, event_lines
from tests.end_to_end.running import COMMAND_SECONDS, Daemon, command, running_daemon, until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that takes no silence for an end, however slow the machine."""
    with running_daemon(tmp_path, "--settle", "600") as running:
        yield running


def write_ended(path: Path, count: int, *, announced: int | None = None) -> None:
    """Write a finished trace of *count* events, and the ``end`` event that announces them."""
    end = end_line(count if announced is None else announced)
    put(path, gzip.compress(event_lines(count) + end, 1))


def put(path: Path, data: bytes) -> None:
    """Have a trace come into being whole, so that no look finds it half written."""
    aside = path.with_name("aside")
    aside.write_bytes(data)
    aside.rename(path)


def up_to(events: EventIterator, kind: str, path: Path) -> list[IndexEvent]:
    """Return what is told of *path* until it is *kind*."""
    seen: list[IndexEvent] = []
    for event in events:
        if event.path == str(path):
            seen.append(event)
            if event.kind == kind:
                break
    return seen


def test_a_trace_is_told_of_from_its_coming_to_its_going(daemon: Daemon) -> None:
    trace = daemon.traces / "a.pfw.gz"
    with daemon.client.events(daemon.traces) as events:
        put(trace, gzip.compress(event_lines(10), 1))
        grew = up_to(events, "grew", trace)
        assert [one.kind for one in grew] == ["queued", "parsing", "grew"]
        assert (grew[-1].events, grew[-1].ending) == (10, None)
        with trace.open("ab") as file:
            file.write(gzip.compress(end_line(10), 1))
        indexed = up_to(events, "indexed", trace)[-1]
        assert (indexed.events, indexed.ending) == (11, "end")
        assert indexed.generation > grew[-1].generation
        trace.unlink()
        gone = up_to(events, "removed", trace)[-1]
        assert gone.generation > indexed.generation
    assert {one.missed for one in (*grew, indexed, gone)} == {0}


def test_a_tail_of_a_directory_is_told_of_nothing_beside_it(daemon: Daemon) -> None:
    below = daemon.traces / "run"
    below.mkdir()
    with daemon.client.events(below) as events:
        write_ended(daemon.traces / "beside.pfw.gz", 5)
        daemon.client.sync()
        write_ended(below / "a.pfw.gz", 5)
        paths = set()
        for event in events:
            paths.add(event.path)
            if event.kind == "indexed":
                break
    assert paths - {""} == {str(below / "a.pfw.gz")}


@pytest.mark.anyio
async def test_an_asynchronous_client_is_told_beside_its_other_requests(daemon: Daemon) -> None:
    trace = daemon.traces / "a.pfw.gz"
    async with AsyncClient(daemon.socket) as client, client.events(daemon.traces) as events:
        write_ended(trace, 5)
        kinds = []
        async for event in events:
            kinds += [event.kind] if event.path else []
            if event.kind == "indexed":
                break
        answer = await client.aggregation(daemon.traces)
    assert kinds == ["queued", "parsing", "indexed"]
    assert sum(row["count"] for row in answer.to_pylist()) == event.events == 6


def test_a_directory_that_no_root_holds_cannot_be_tailed(daemon: Daemon, tmp_path: Path) -> None:
    with pytest.raises(DftIndexError, match="no watched root holds"):
        daemon.client.events(tmp_path / "elsewhere")


@pytest.fixture
def tailing(daemon: Daemon) -> Iterator[subprocess.Popen[str]]:
    """``tail --json --meta`` of the daemon's root, which has begun."""
    arguments = ("--socket", daemon.socket, "tail", daemon.traces, "--json", "--meta")
    with subprocess.Popen(command("client", *arguments), stdout=subprocess.PIPE, text=True) as tail:
        try:
            assert tail.stdout is not None
            head = json.loads(tail.stdout.readline())
            assert head == {
                "generation": daemon.client.status().roots[0].generation,
                "warnings": [],
            }
            yield tail
        finally:
            tail.kill()


def test_the_command_prints_one_json_object_a_line_and_ends_when_interrupted(
    daemon: Daemon, tailing: subprocess.Popen[str]
) -> None:
    write_ended(daemon.traces / "a.pfw.gz", 7)
    assert tailing.stdout is not None
    for line in tailing.stdout:
        event = json.loads(line)
        if event["kind"] == "indexed" and event["path"].endswith("a.pfw.gz"):
            break
    assert (event["events"], event["ending"], event["missed"]) == (8, "end", 0)
    tailing.send_signal(2)
    assert tailing.wait(timeout=COMMAND_SECONDS) == 0


def test_a_parse_that_hangs_is_ended_and_told_of_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "worker:parse:before=sleep:600@endless")
    with running_daemon(tmp_path, "--stall", "1.5") as daemon:
        endless, good = (daemon.traces / name for name in ("endless.pfw.gz", "good.pfw.gz"))
        with daemon.client.events() as events:
            write_ended(endless, 5)
            write_ended(good, 5)
            told = up_to(events, "quarantined", endless)
        reason = "made no progress for 1.5 s and was killed"
        failures = [one.reason for one in told if one.kind == "failed"]
        assert len(failures) == 2
        assert all(reason in one for one in (*failures, told[-1].reason))
        daemon.client.sync(good)
        rows = {Path(row["path"]).name: row for row in daemon.listed()}
        assert rows["good.pfw.gz"]["state"] == "indexed"
        assert rows["endless.pfw.gz"]["state"] == "quarantined"
        assert reason in rows["endless.pfw.gz"]["reason"]
        until(lambda: daemon.client.status().worker_restarts == 3, "the last new worker")
