"""Damage under a real daemon: named, and rebuilt from the traces without being told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dftindexd.index.store.aside import MOST_A_DAY
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, rows_of, run_to_end, running_daemon, until

_TRACES, _EVENTS = 12, 50


def _fill(folder: Path, first: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + _TRACES):
        write_trace(folder / f"t{number}.pfw.gz", _EVENTS, first=1 + number * _EVENTS)


def _store(folder: Path) -> Path:
    (store,) = (folder / "state" / "stores").glob("*.dftindex")
    return store


def _set_aside(folder: Path) -> list[Path]:
    return sorted((folder / "state" / "stores").glob("*.dftindex.damaged-*"))


def _flip(file: Path, place: Callable[[int], int]) -> None:
    """Change a byte at a place that depends on the file's size."""
    data = bytearray(file.read_bytes())
    data[place(len(data))] ^= 0x55
    file.write_bytes(data)


def _tables(store: Path) -> list[Path]:
    return sorted(store.glob("*.sst"))


def _newest_log(store: Path) -> list[Path]:
    return [max(store.glob("*.log"), key=lambda file: file.stat().st_size)]


_KINDS: dict[str, tuple[Callable[[Path], Iterable[Path]], Callable[[int], int]]] = {
    "every table's data": (_tables, lambda size: size // 8),
    "every table's index": (_tables, lambda size: size * 9 // 10),
    "every table's footer": (_tables, lambda size: size - 10),
    "log": (_newest_log, lambda size: size // 3),
    "MANIFEST": (lambda store: store.glob("MANIFEST-*"), lambda size: size // 2),
    "CURRENT": (lambda store: [store / "CURRENT"], lambda size: size - 3),
}


def _is_expected(daemon: Daemon) -> None:
    assert daemon.events() == _TRACES * _EVENTS
    assert {row["state"] for row in daemon.listed()} <= {"growing", "indexed"}


@pytest.mark.parametrize("kind", sorted(_KINDS))
def test_a_store_damaged_while_the_daemon_was_away_is_answered_from_after_sync(
    tmp_path: Path, kind: str
) -> None:
    with running_daemon(tmp_path) as daemon:
        _fill(daemon.traces)
        daemon.client.sync()
        if kind == "log":
            daemon.process.kill()  # an orderly end leaves nothing in it
            daemon.process.wait()
    files, place = _KINDS[kind]
    damaged = list(files(_store(tmp_path)))
    assert damaged
    for file in damaged:
        _flip(file, place)
    with running_daemon(tmp_path) as daemon:
        daemon.client.sync()
        _is_expected(daemon)
        until(lambda: not daemon.client.status().degraded, "an end of rebuilding")
        (root,) = daemon.client.status().roots
        assert list(root.set_aside) == list(map(str, _set_aside(tmp_path)))
    with running_daemon(tmp_path) as daemon:
        _is_expected(daemon)


def test_a_table_damaged_under_a_running_daemon_is_found_by_verify_and_rebuilt(
    tmp_path: Path,
) -> None:
    with running_daemon(tmp_path) as daemon:
        _fill(daemon.traces)
        daemon.client.sync()
    with running_daemon(tmp_path) as daemon:
        daemon.client.sync()
        sound = daemon.client.verify(daemon.traces, sample=3)
        assert (sound.traces, sound.sampled, sound.problems) == (_TRACES, 3, ())
        for file in _tables(_store(tmp_path)):
            _flip(file, lambda size: size // 8)
        found = daemon.run("verify", daemon.traces, "--json")
        assert found.returncode == 1
        problems = json.loads(found.stdout)["problems"]
        assert {one["state"] for one in problems} <= {"checksum", "store"}
        assert problems
        until(lambda: not daemon.client.status().degraded, "an end of rebuilding")
        daemon.client.sync()
        _is_expected(daemon)
        until(lambda: not daemon.client.verify(daemon.traces).problems, "a sound store")


def test_a_current_file_that_leads_nowhere_is_found_before_the_next_opening(
    daemon: Daemon,
) -> None:
    _fill(daemon.traces)
    daemon.client.sync()
    store = _store(daemon.traces.parent)
    (store / "CURRENT").write_text("MANIFEST-999999\n")
    (problem,) = daemon.client.verify(daemon.traces).problems
    assert (problem.path, problem.state) == (str(store), "store")
    until(lambda: bool(_set_aside(daemon.traces.parent)), "a store set aside")
    daemon.client.sync()
    _is_expected(daemon)
    assert not daemon.client.verify(daemon.traces).problems


def test_a_disk_that_damages_store_after_store_does_not_fill_up_with_them(tmp_path: Path) -> None:
    for _ in range(MOST_A_DAY):
        with running_daemon(tmp_path) as daemon:
            _fill(daemon.traces)
            daemon.client.sync()
            _is_expected(daemon)
        (_store(tmp_path) / "CURRENT").write_bytes(b"nothing")
    with running_daemon(tmp_path) as daemon:
        daemon.client.sync()
    assert len(_set_aside(tmp_path)) == MOST_A_DAY
    (_store(tmp_path) / "CURRENT").write_bytes(b"nothing")
    log = tmp_path / "log"
    done = run_to_end(
        "daemon",
        *("run", "--watch", tmp_path / "traces", "--state-dir", tmp_path / "state"),
        *("--socket", tmp_path / "s"),
    )
    assert done.returncode == 1
    assert "times within a day" in done.stderr, log.read_text()
    assert len(_set_aside(tmp_path)) == MOST_A_DAY


def test_rebuild_parses_everything_anew_and_counts_nothing_twice(daemon: Daemon) -> None:
    _fill(daemon.traces)
    daemon.client.sync()
    before = daemon.client.status().roots[0].generation
    (done,) = rows_of(daemon.run("rebuild", daemon.traces, "--json"))
    assert (done["traces"], done["problems"]) == (_TRACES, [])
    assert done["generation"] > before
    _is_expected(daemon)


def test_a_backup_is_a_store_in_itself_and_written_by_its_caller(
    daemon: Daemon, tmp_path: Path
) -> None:
    _fill(daemon.traces)
    daemon.client.sync()
    out = tmp_path / "backup"
    (done,) = rows_of(daemon.run("backup", daemon.traces, out, "--json"))
    assert done["path"] == str(out)
    assert done["bytes"] == sum(file.stat().st_size for file in out.iterdir())
    assert not list((_store(tmp_path) / "copies").iterdir())
    again = daemon.run("backup", daemon.traces, out)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    _fill(daemon.traces, first=_TRACES)  # which the backup does not have
    daemon.client.sync()
    store = _store(tmp_path)
    daemon.process.terminate()
    daemon.process.wait()
    store.rename(tmp_path / "old")
    out.rename(store)
    with running_daemon(tmp_path) as restored:
        restored.client.sync()
        assert restored.events() == 2 * _TRACES * _EVENTS
        assert restored.client.status().roots[0].generation > done["generation"]


def test_verify_rebuild_and_backup_of_what_is_not_watched_are_not_found(
    daemon: Daemon, tmp_path: Path
) -> None:
    for verb in (("verify", "/nowhere"), ("rebuild", "/nowhere"), ("backup", "/nowhere", "/out")):
        assert daemon.run(*verb).returncode == 5
    assert not Path("/out").exists()
    assert daemon.run("backup", daemon.traces, tmp_path / "no" / "where").returncode == 1
