"""What changed since a generation, and what compaction does with what was dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from dftindexd.protocol.errors import DftIndexError, NotFoundError
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, rows_of, running_daemon


def _changes(daemon: Daemon, since: int) -> dict[str, tuple[str, int]]:
    rows = daemon.client.list(daemon.traces, since=since).to_pylist()
    return {
        str(Path(row["path"]).relative_to(daemon.traces)): (row["state"], row["events"])
        for row in rows
    }


def test_since_a_generation_tells_what_came_changed_and_went(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--settle", "60") as daemon:
        for name in ("grows", "goes", "stays", "comes-back"):
            write_trace(daemon.traces / f"{name}.pfw", 10)
        first = daemon.client.sync().generation
        assert _changes(daemon, first) == {}
        assert len(_changes(daemon, 0)) == 4
        write_trace(daemon.traces / "grows.pfw", 5, first=11, append=True)
        write_trace(daemon.traces / "new.pfw", 3)
        for name in ("goes", "comes-back"):
            (daemon.traces / f"{name}.pfw").unlink()
        daemon.client.sync()
        write_trace(daemon.traces / "comes-back.pfw", 7)
        answer = daemon.client.list(daemon.traces)
        generation = daemon.client.sync().generation
        wanted = {
            "grows.pfw": ("growing", 15),
            "new.pfw": ("growing", 3),
            "goes.pfw": ("removed", 0),
            "comes-back.pfw": ("growing", 7),
        }
        assert _changes(daemon, first) == wanted
        assert answer.generation <= generation
        assert _changes(daemon, generation) == {}
        rows = rows_of(daemon.run("list", daemon.traces, "--since", str(first), "--json"))
        assert len(rows) == len(wanted)
        daemon.process.kill()
        daemon.process.wait()
    with running_daemon(tmp_path, "--settle", "60") as again:
        again.client.sync()
        assert _changes(again, first) == wanted
        again.client.compact(again.traces, now=True)
        assert _changes(again, generation) == {}
        with pytest.raises(NotFoundError, match="not known any more"):
            _changes(again, first)
        assert again.run("list", "--since", "1").returncode == 2
        with pytest.raises(DftIndexError, match="name a directory"):
            again.client.list(since=1)


def test_a_generation_of_another_store_is_refused(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--settle", "600") as daemon:
        run, client = daemon.traces / "run", daemon.client
        run.mkdir()
        for number in range(3):
            write_trace(run / f"{number}.pfw", 2)
        client.sync()
        outer = client.list(run)
        assert client.list(run, since=outer).to_pylist() == []
        (head, *_) = rows_of(daemon.run("list", run, "--json", "--meta"))
        version = f"{head['generation']}@{head['store_id']}"
        assert rows_of(daemon.run("list", run, "--since", version, "--json")) == []
        client.watch(run, include=["*.pfw"])  # a root of its own answers from now on
        client.sync()
        with pytest.raises(NotFoundError, match="another store"):
            client.list(run, since=outer)
        with pytest.raises(NotFoundError, match="several roots"):
            client.list(run, since=outer.generation)
        assert len(client.list(run, since=0)) == 3
        assert "another store" in daemon.run("list", run, "--since", version).stderr
        inner = client.list(run)
        assert client.list(run, since=inner).to_pylist() == []
        client.unwatch(run, purge=True)
        with pytest.raises(NotFoundError, match="another store"):
            client.list(run, since=inner)
        assert client.list(run, since=outer).to_pylist() == []
        with pytest.raises(NotFoundError, match="not one of this store"):
            client.list(run, since=outer.generation + 1000)


def test_what_was_dropped_is_kept_for_its_retention_unless_told_otherwise(daemon: Daemon) -> None:
    for number in range(5):
        write_trace(daemon.traces / f"{number}.pfw.gz", 1_000)
    daemon.client.sync()
    daemon.client.index(daemon.traces, wait=True, force=True)
    kept = daemon.client.compact(daemon.traces)
    assert (kept.segments_deleted, kept.segments_kept) == (0, 5)
    (done,) = rows_of(daemon.run("compact", daemon.traces, "--now", "--json"))
    assert (done["segments_deleted"], done["segments_kept"]) == (5, 0)
    assert min(done["bytes_before"], done["bytes_after"]) > 0
    assert daemon.events() == 5_000
    assert "0 segments deleted, 0 kept" in daemon.run("compact", daemon.traces).stdout
