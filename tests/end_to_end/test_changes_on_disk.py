"""Whatever happens to traces on disk: after ``sync`` the answer is that of what is there now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import event_lines, write_trace
from tests.end_to_end.running import Daemon, events_below, rows_of, run_to_end, running_daemon

FIRST, SECOND = "first.pfw", "second.pfw.gz"


def _replace(folder: Path) -> None:
    write_trace(folder / "new.tmp", 70)
    (folder / "new.tmp").replace(folder / FIRST)


def _replace_by_one_of_the_same_size(folder: Path) -> None:
    other = event_lines(100, first=1).replace(b'"ph":1', b'"ph":2', 40)
    (folder / "new.tmp").write_bytes(other)
    (folder / "new.tmp").replace(folder / FIRST)


def _rewrite_in_place_keeping_time_and_size(folder: Path) -> None:
    trace = folder / FIRST
    before = trace.stat()
    with trace.open("r+b") as file:
        file.write(event_lines(100).replace(b'"ph":1', b'"ph":2', 30))
    os.utime(trace, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace_by_a_longer_one(folder: Path) -> None:
    write_trace(folder / FIRST, 333, first=9)


def _rename(folder: Path) -> None:
    (folder / FIRST).rename(folder / "renamed.pfw")


def _exchange_names(folder: Path) -> None:
    write_trace(folder / "third.pfw", 40)
    (folder / FIRST).rename(folder / "aside.tmp")
    (folder / "third.pfw").rename(folder / FIRST)
    (folder / "aside.tmp").rename(folder / "third.pfw")


def _rename_away(folder: Path) -> None:
    (folder / FIRST).rename(folder / "first.txt")


def _delete(folder: Path) -> None:
    (folder / SECOND).unlink()


def _delete_all(folder: Path) -> None:
    for trace in list(folder.iterdir()):
        trace.unlink()


def _delete_and_make_anew(folder: Path) -> None:
    (folder / SECOND).unlink()
    write_trace(folder / SECOND, 11)


def _truncate(folder: Path) -> None:
    with (folder / FIRST).open("r+b") as file:
        file.truncate(len(event_lines(30)) + 20)


def _truncate_to_nothing(folder: Path) -> None:
    (folder / SECOND).write_bytes(b"")


def _append(folder: Path) -> None:
    write_trace(folder / FIRST, 25, first=101, append=True)
    write_trace(folder / SECOND, 35, first=201, append=True)


def _append_half_a_line(folder: Path) -> None:
    with (folder / FIRST).open("ab") as file:
        file.write(event_lines(2, first=101)[:-30])


def _touch(folder: Path) -> None:
    os.utime(folder / FIRST)
    os.utime(folder / SECOND)


def _move_directory_in(folder: Path) -> None:
    outside = folder.parent.parent / f"outside-{folder.name}"
    (outside / "deep" / "deeper").mkdir(parents=True)
    write_trace(outside / "deep" / "deeper" / "in.pfw.gz", 17)
    outside.rename(folder / "moved")


def _move_directory_out(folder: Path) -> None:
    inside = folder / "inside"
    inside.mkdir()
    write_trace(inside / "x.pfw", 19)
    inside.rename(folder.parent.parent / f"gone-{folder.name}")


def _make_nested_directories_in_a_burst(folder: Path) -> None:
    for number in range(40):
        deep = folder / f"rank{number % 5}" / f"step{number}" / "node"
        deep.mkdir(parents=True)
        write_trace(deep / "t.pfw", number)


def _remove_a_tree(folder: Path) -> None:
    _make_nested_directories_in_a_burst(folder)
    shutil.rmtree(folder / "rank3")


CHANGES: list[Callable[[Path], None]] = [
    _replace,
    _replace_by_one_of_the_same_size,
    _rewrite_in_place_keeping_time_and_size,
    _replace_by_a_longer_one,
    _rename,
    _exchange_names,
    _rename_away,
    _delete,
    _delete_all,
    _delete_and_make_anew,
    _truncate,
    _truncate_to_nothing,
    _append,
    _append_half_a_line,
    _touch,
    _move_directory_in,
    _move_directory_out,
    _make_nested_directories_in_a_burst,
    _remove_a_tree,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_after_a_change_and_sync_the_answer_is_that_of_the_disk(
    module_daemon: Daemon, directory: Path, change: Callable[[Path], None]
) -> None:
    write_trace(directory / FIRST, 100)
    write_trace(directory / SECOND, 200)
    module_daemon.client.sync(directory)
    assert module_daemon.events(directory) == 300
    change(directory)
    assert module_daemon.client.sync(directory).problems == ()
    assert module_daemon.events(directory) == events_below(directory)
    listed = {row["path"]: row["events"] for row in module_daemon.listed(directory)}
    assert sum(listed.values()) == events_below(directory)
    assert set(listed) == {str(trace) for trace in directory.rglob("*.pfw*")}


def test_the_index_of_a_directory_after_many_changes_is_that_of_a_fresh_one(
    module_daemon: Daemon, directory: Path, tmp_path: Path
) -> None:
    for number, change in enumerate(CHANGES):
        folder = directory / str(number)
        folder.mkdir()
        write_trace(folder / FIRST, 100)
        write_trace(folder / SECOND, 200)
        change(folder)
    module_daemon.client.sync(directory)
    grown = module_daemon.client.aggregation(directory).to_pylist()
    shutil.copytree(directory, tmp_path / "traces")
    with running_daemon(tmp_path) as fresh:
        fresh.client.sync(fresh.traces)
        cold = fresh.client.aggregation(fresh.traces).to_pylist()
    assert sorted(grown, key=repr) == sorted(cold, key=repr)
    state = tmp_path / "embedded"
    done = run_to_end("daemon", "index", "--aggregation", directory, "--state-dir", state, "--json")
    (document,) = rows_of(done)
    assert document["indexed"][0]["events"] == events_below(directory)


def test_changes_while_the_daemon_is_away_are_found_when_it_is_back(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as first:
        for change in CHANGES:
            folder = first.traces / change.__name__
            folder.mkdir()
            write_trace(folder / FIRST, 100)
            write_trace(folder / SECOND, 200)
        first.client.sync()
        assert first.events() == 300 * len(CHANGES)
    for change in CHANGES:
        change(tmp_path / "traces" / change.__name__)
    with running_daemon(tmp_path) as second:
        second.client.sync()
        assert second.events() == events_below(second.traces)


def test_a_watched_directory_that_is_deleted_and_made_anew_is_followed(daemon: Daemon) -> None:
    write_trace(daemon.traces / FIRST, 10)
    daemon.client.sync()
    assert daemon.events() == 10
    daemon.expected.add("is not the directory it was")
    shutil.rmtree(daemon.traces)
    daemon.traces.mkdir()
    write_trace(daemon.traces / SECOND, 20)
    daemon.client.sync()
    assert daemon.events() == 20
