"""Real traces of every generation, copied below a watched root: every event is in the answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.running import Daemon, events_below, events_in, rows_of

#: What ``grep -c`` counts in the texts of the traces.
EVENTS = {"cm1-v1.0.5": 143_169, "dlio-v1.0.8": 18_039, "v0": 98_231}


@pytest.mark.parametrize("name", EVENTS)
def test_traces_copied_while_the_daemon_runs_are_counted_by_the_command_line(
    module_daemon: Daemon, shared_traces: Path, name: str
) -> None:
    target = module_daemon.traces / name
    shutil.copytree(shared_traces / name, target)
    (synced,) = rows_of(module_daemon.run("sync", target, "--json"))
    assert synced["problems"] == []
    rows = rows_of(module_daemon.run("agg", target, "--json"))
    assert sum(row["count"] for row in rows) == EVENTS[name] == events_below(target)


def test_each_folder_of_the_second_generation_is_answered_on_its_own(
    module_daemon: Daemon, shared_traces: Path
) -> None:
    target = module_daemon.traces / "v2"
    shutil.copytree(shared_traces / "v2", target)
    assert module_daemon.client.sync(module_daemon.traces).problems == ()
    folders = sorted(path for path in target.iterdir() if path.is_dir())
    answered = {folder.name: module_daemon.events(folder) for folder in folders}
    assert answered == {folder.name: events_below(folder) for folder in folders}
    assert sum(answered.values()) == module_daemon.events(target)


def test_the_list_counts_the_events_of_each_trace(
    module_daemon: Daemon, shared_traces: Path
) -> None:
    target = module_daemon.traces / "listed"
    shutil.copytree(shared_traces / "v2", target)
    module_daemon.client.sync(target)
    rows = module_daemon.listed(target)
    assert len(rows) == 39
    assert {row["path"]: row["events"] for row in rows} == {
        row["path"]: events_in(Path(row["path"])) for row in rows
    }


def test_a_killed_writer_s_trace_ends_cut_and_one_without_end_by_silence(
    module_daemon: Daemon, shared_traces: Path
) -> None:
    target = module_daemon.traces / "endings"
    for name in ("kill9_small", "nofinal", "plain"):
        shutil.copytree(shared_traces / "v2" / name, target / name)
    done = module_daemon.run("wait", target, "--timeout", "100", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"] == []
    endings = {Path(row["path"]).parent.name: row["ending"] for row in module_daemon.listed(target)}
    assert endings == {"kill9_small": "cut", "nofinal": "silence", "plain": "end"}
