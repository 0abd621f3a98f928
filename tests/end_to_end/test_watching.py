"""Which directories and traces are watched, how, and which root answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dftindexd.client import connect
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.requests import RootStatus
from tests.end_to_end.made_traces import event_lines, write_trace
from tests.end_to_end.running import Daemon, rows_of, running_daemon, until


def root_of(daemon: Daemon, path: Path) -> RootStatus:
    (found,) = [one for one in daemon.client.status().roots if one.root == str(path)]
    return found


def listed(daemon: Daemon, path: Path | None = None) -> list[str]:
    rows: list[dict[str, Any]] = daemon.client.list(path).to_pylist()
    return [os.path.relpath(row["path"], daemon.traces) for row in rows]


def table(daemon: Daemon, path: Path) -> list[str]:
    return sorted(map(repr, daemon.client.aggregation(path).to_pylist()))


def fill(folder: Path) -> None:
    """Make runs that differ in their first times and in what their hashes name."""
    for number, run in enumerate(("run1", "run2", "run2/part", "run3")):
        (folder / run).mkdir(parents=True, exist_ok=True)
        name = (
            f'{{"name":"FH","cat":"dftracer","pid":1,"tid":1,"ph":4,"args":{{'
            f'"hhash":"00000000000000aa","name":"/data/{run}","value":"00000000000000bb"}}}}\n'
        )
        lines = event_lines(20, first=1 + 900_000 * (3 - number), pid=number)
        (folder / run / "a.pfw").write_bytes(name.encode() + lines)
        write_trace(folder / run / "b.pfw.gz", 10, first=1 + 700_000 * (4 - number))


@pytest.mark.parametrize("backend", ["inotify", "poll"])
def test_changes_are_found_by_each_backend_without_being_asked(
    tmp_path: Path, backend: str
) -> None:
    with running_daemon(tmp_path, "--backend", backend, "--poll-interval", "0.2") as daemon:
        assert root_of(daemon, daemon.traces).backend == backend
        (daemon.traces / "a" / "b").mkdir(parents=True)
        write_trace(daemon.traces / "a" / "b" / "t.pfw", 30)
        until(lambda: daemon.events() == 30, "the new trace")
        (daemon.traces / "a").rename(daemon.traces / "moved")
        until(lambda: listed(daemon) == ["moved/b/t.pfw"], "the moved directory")


def test_how_a_root_is_watched_is_shown_and_remembered(tmp_path: Path) -> None:
    other = tmp_path / "other"
    fill(other)
    options = ("--backend", "poll", "--exclude", "run2", "--exclude", "*.gz")
    with running_daemon(tmp_path) as first:
        assert first.run("watch", other, *options).returncode == 0
        first.client.sync()
    with running_daemon(tmp_path) as second:
        status = root_of(second, other)
        assert (status.backend, status.exclude) == ("poll", ("run2", "*.gz"))
        second.client.sync()
        assert sorted(Path(one).name for one in listed(second, other)) == ["a.pfw"] * 2
        assert second.events(other / "run1") == 20


def test_other_patterns_take_traces_in_and_out_of_the_index(daemon: Daemon) -> None:
    fill(daemon.traces)
    daemon.client.sync()
    assert len(listed(daemon)) == 8
    daemon.client.watch(daemon.traces, include=["run2"], exclude=["part"])
    daemon.client.sync()
    assert listed(daemon) == ["run2/a.pfw", "run2/b.pfw.gz"]
    assert daemon.events() == 30
    write_trace(daemon.traces / "run3" / "c.pfw", 5)
    write_trace(daemon.traces / "run2" / "c.pfw", 5)
    daemon.client.sync()
    assert daemon.events() == 35
    assert not daemon.client.watch(daemon.traces).added
    assert root_of(daemon, daemon.traces).include == ("run2",)
    daemon.client.watch(daemon.traces, backend="auto")
    daemon.client.sync()
    assert daemon.events() == 130


def test_a_pattern_that_means_nothing_and_a_pseudo_file_system_are_refused(daemon: Daemon) -> None:
    with pytest.raises(InvalidArgumentError, match="pattern"):
        daemon.client.watch(daemon.traces, include=["../x"])
    with pytest.raises(InvalidArgumentError, match="pseudo"):
        daemon.client.watch("/proc/self")
    assert [one.root for one in daemon.client.status().roots] == [str(daemon.traces)]
    assert len(os.listdir(daemon.state / "stores")) == 1


def test_the_answer_for_a_directory_below_a_root_is_that_of_a_root_of_its_own(
    tmp_path: Path,
) -> None:
    fill(tmp_path / "traces")
    names = ("run1", "run2", "run2/part", "run3")
    with running_daemon(tmp_path) as whole:
        whole.client.sync()
        below = {name: table(whole, whole.traces / name) for name in names}
        everything = table(whole, whole.traces)
    assert len({tuple(rows) for rows in below.values()}) == len(names)
    for name in ("run1", "run2"):
        alone = tmp_path / name.replace("/", "-")
        alone.mkdir()
        (alone / "traces").symlink_to(tmp_path / "traces" / name)
        with running_daemon(alone) as one:
            one.client.sync()
            assert table(one, one.traces) == below[name]
    assert not any(rows == everything for rows in below.values())


def test_of_roots_in_each_other_the_innermost_answers_and_each_trace_is_listed_once(
    daemon: Daemon,
) -> None:
    fill(daemon.traces)
    daemon.client.sync()
    inner, whole = daemon.traces / "run2", table(daemon, daemon.traces)
    before = table(daemon, inner)
    assert not daemon.client.watch(inner).added
    assert daemon.client.watch(inner, backend="poll").added
    daemon.client.sync()
    assert len(daemon.client.status().roots) == 2
    assert table(daemon, inner) == before
    assert table(daemon, daemon.traces) == whole
    assert len(listed(daemon)) == len(set(listed(daemon))) == 8
    assert len(listed(daemon, daemon.traces)) == 8
    daemon.client.unwatch(inner, purge=True)
    assert table(daemon, inner) == before
    outer = daemon.traces.parent / "traces" / ".."
    daemon.client.watch(outer, include=["traces"])
    daemon.client.sync()
    assert table(daemon, inner) == before
    assert len(listed(daemon)) == 8


def test_a_directory_that_its_root_leaves_out_gets_a_root_of_its_own(daemon: Daemon) -> None:
    fill(daemon.traces)
    daemon.client.watch(daemon.traces, exclude=["run2"])
    daemon.client.sync()
    assert daemon.events() == 60
    assert daemon.client.watch(daemon.traces / "run2").added
    daemon.client.sync()
    assert daemon.events(daemon.traces / "run2") == 60
    assert daemon.events() == 60
    assert len(listed(daemon)) == 8


def test_links_are_followed_out_of_the_root_only_where_that_is_allowed(daemon: Daemon) -> None:
    fill(daemon.traces.parent / "elsewhere")
    write_trace(daemon.traces / "a.pfw", 10)
    (daemon.traces / "latest.pfw").symlink_to("a.pfw")
    (daemon.traces / "link").symlink_to(daemon.traces.parent / "elsewhere")
    (daemon.traces / "cycle").symlink_to(daemon.traces)
    daemon.client.sync()
    assert listed(daemon) == ["a.pfw"]
    assert daemon.run("watch", daemon.traces, "--follow-links").returncode == 0
    daemon.client.sync()
    assert len(listed(daemon)) == 9
    assert daemon.events() == 130
    write_trace(daemon.traces.parent / "elsewhere" / "run1" / "new.pfw", 7)
    until(lambda: daemon.events() == 137, "what came beyond the link")
    (daemon.traces / "link").unlink()
    until(lambda: daemon.events() == 10, "the end of the link")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_part_that_cannot_be_read_keeps_its_index_and_is_named(daemon: Daemon) -> None:
    fill(daemon.traces)
    daemon.client.sync()
    shut = daemon.traces / "run1"
    shut.chmod(0)
    try:
        assert daemon.client.sync().problems[0].path == str(shut)
        assert daemon.events() == 120
        assert root_of(daemon, daemon.traces).state == "unreadable"
        assert daemon.run("ping").returncode == 4
    finally:
        shut.chmod(0o755)
    until(lambda: root_of(daemon, daemon.traces).state == "caught-up", "the end of it")


def test_a_path_that_cannot_be_looked_at_is_named_and_the_rest_is_indexed(daemon: Daemon) -> None:
    fill(daemon.traces)
    loop = daemon.traces / "loop.pfw"
    loop.symlink_to(loop)
    (problem,) = daemon.client.sync().problems
    assert problem.path == str(loop)
    assert daemon.events() == 120
    status = root_of(daemon, daemon.traces)
    assert status.state == "unreadable"
    assert str(loop) in status.reason
    assert daemon.run("ping").returncode == 4
    loop.unlink()
    daemon.client.sync()
    assert root_of(daemon, daemon.traces).reason == ""


def test_a_root_that_is_moved_away_keeps_its_index_and_needs_no_parsing_when_back(
    tmp_path: Path,
) -> None:
    with running_daemon(tmp_path) as daemon:
        daemon.expected.add("is not the directory it was")
        fill(daemon.traces)
        daemon.client.sync()
        daemon.client.wait()
        generation = root_of(daemon, daemon.traces).generation
        away = tmp_path / "away"
        daemon.traces.rename(away)
        until(lambda: root_of(daemon, daemon.traces).state == "root-missing", "its absence")
        assert daemon.events() == 120
        with connect(daemon.socket) as client:
            client.watch(away)
            client.sync(away)
            assert client.aggregation(away).to_pylist() != []
        away.rename(daemon.traces)
        until(lambda: root_of(daemon, daemon.traces).state == "caught-up", "its return")
        daemon.client.sync(daemon.traces)
        assert root_of(daemon, daemon.traces).generation == generation
        write_trace(daemon.traces / "new.pfw", 3)
        until(lambda: daemon.events() == 123, "a trace in the root that is back")
        daemon.client.unwatch(away, purge=True)


def test_status_prints_how_a_root_is_watched(daemon: Daemon) -> None:
    daemon.client.watch(daemon.traces, exclude=["tmp"])
    (document,) = [json.loads(daemon.run("status", "--json").stdout)]
    assert document["roots"][0]["exclude"] == ["tmp"]
    assert rows_of(daemon.run("watch", daemon.traces, "--json"))[0]["added"] is False
