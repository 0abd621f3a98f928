"""``dftindexd-client publish``: where it writes, what it leaves alone, and for whom."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dftindexd.client import connect
from dftindexd.compat.published_place import MARKER
from dftindexd.compat.published_traces import indexed_traces
from dftindexd.daemon.auto_publish import Quiet, quiet_directories
from dftindexd.index.model import Ending, FileStamp, TierConfig, TraceRecord
from tests.disk.small_disk import small_disk
from tests.end_to_end.identities import Person, being
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import COMMAND_SECONDS, Daemon, command, running_daemon, until


def _write(directory: Path, *counts: int) -> None:
    for number, count in enumerate(counts):
        write_trace(directory / f"t{number}.pfw.gz", count)


def _publish(daemon: Daemon, *arguments: str | Path) -> dict[str, Any]:
    done = daemon.run("publish", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _marker(store: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((store / MARKER).read_text())
    return found


def test_what_was_published_is_replaced_and_what_others_made_is_kept_aside_by_force(
    module_daemon: Daemon, directory: Path
) -> None:
    _write(directory, 3, 4)
    module_daemon.client.wait(directory)
    first = _publish(module_daemon, directory)
    assert (first["traces"], first["events"]) == (2, 7)
    store = directory / ".dftindex"
    assert _marker(store)["generation"] == first["generation"]
    _write(directory, 3, 4, 5)
    module_daemon.client.wait(directory)
    second = _publish(module_daemon, directory)
    assert (second["events"], second["aside"]) == (12, None)
    assert _marker(store)["generation"] == second["generation"] > first["generation"]
    (store / MARKER).unlink()  # now it is anybody's
    refused = module_daemon.run("publish", directory)
    assert refused.returncode == 1
    assert "was not published by dftindexd; give --force" in refused.stderr
    third = _publish(module_daemon, directory, "--force")
    assert not (Path(third["aside"]) / MARKER).exists()
    assert (Path(third["aside"]) / "CURRENT").exists()
    beside = {path.name for path in directory.iterdir() if path.name.startswith(".dftindex")}
    assert beside == {".dftindex", Path(third["aside"]).name}


def test_growing_traces_are_published_only_where_that_is_said(
    module_daemon: Daemon, tmp_path: Path, directory: Path
) -> None:
    _write(directory, 2)
    module_daemon.client.wait(directory)
    out = tmp_path / "out"
    out.mkdir()
    (directory / "t1.pfw.gz").write_bytes(b"")  # no tracer has written anything yet
    refused = module_daemon.run("publish", directory, "--to", out)
    assert refused.returncode == 1
    assert "1 of 2 traces are not finished" in refused.stderr
    assert list(out.iterdir()) == []
    published = _publish(module_daemon, directory, "--to", out, "--unfinished")
    assert published["path"] == str(out / ".dftindex")
    assert (published["traces"], published["events"]) == (2, 2)
    assert not (directory / ".dftindex").exists()


def test_a_published_store_beside_traces_is_nothing_to_the_daemon(
    module_daemon: Daemon, directory: Path
) -> None:
    _write(directory, 2)
    module_daemon.client.wait(directory)
    listed = module_daemon.listed(directory)
    _publish(module_daemon, directory)
    module_daemon.client.sync(directory)
    assert module_daemon.listed(directory) == listed


def test_a_directory_without_traces_or_with_a_dot_is_refused(
    module_daemon: Daemon, directory: Path
) -> None:
    empty, dotted = directory / "empty", directory / "run-1.5"
    empty.mkdir()
    dotted.mkdir()
    _write(dotted, 1)
    nothing = module_daemon.run("publish", empty)
    assert nothing.returncode == 5
    assert "there are no indexed traces" in nothing.stderr
    refused = module_daemon.run("publish", dotted)
    assert refused.returncode == 1
    assert "there is a dot in its name" in refused.stderr


def test_a_failure_leaves_what_was_published_and_nothing_else(
    module_daemon: Daemon, directory: Path
) -> None:
    _write(directory, 2)
    module_daemon.client.wait(directory)
    published = _publish(module_daemon, directory)
    # A write that would make a larger file than a byte fails, as on a full disk.
    arguments = ("--socket", str(module_daemon.socket), "publish", str(directory))
    limited = ["prlimit", "--fsize=1", *command("client", *arguments)]
    done = subprocess.run(
        limited, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    assert done.returncode != 0
    assert _marker(directory / ".dftindex")["generation"] == published["generation"]
    again = _publish(module_daemon, directory)
    assert again["events"] == 2
    beside = {path.name for path in directory.iterdir()}
    assert beside == {"t0.pfw.gz", ".dftindex"}


def test_a_full_disk_is_an_error_that_says_what_to_do_and_leaves_nothing(
    module_daemon: Daemon, directory: Path, tmp_path: Path
) -> None:
    _write(directory, 2)
    module_daemon.client.wait(directory)
    with small_disk(tmp_path / "small", 64 << 10) as disk:
        done = module_daemon.run("publish", directory, "--to", disk)
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "free some space there, and publish again" in done.stderr
        assert list(disk.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_guest_gets_the_rows_of_those_traces_alone_that_they_may_read() -> None:
    guest = Person(12011, 12011)
    with tempfile.TemporaryDirectory(prefix="dftindexd-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_daemon(folder, "--allow-user", str(guest.uid)) as daemon:
            daemon.traces.chmod(0o755)
            _write(daemon.traces, 2, 4)
            (daemon.traces / "t1.pfw.gz").chmod(0o600)
            daemon.client.sync()
            with being(guest):
                client = connect(daemon.socket)
            with client:
                indexed = indexed_traces(client, str(daemon.traces))
                assert [trace.name for trace in indexed.traces] == [b"t0.pfw.gz"]
            indexed = indexed_traces(daemon.client, str(daemon.traces))
            assert [trace.name for trace in indexed.traces] == [b"t0.pfw.gz", b"t1.pfw.gz"]


@pytest.mark.parametrize(
    ("publish", "form"),
    [("true", "dftracer-utils-0.0.12"), ('"dfanalyzer-0.0.9"', "dfanalyzer-0.0.9")],
)
def test_a_root_is_published_by_itself_whenever_it_is_quiet(
    tmp_path: Path, publish: str, form: str
) -> None:
    own, config = tmp_path / "own", tmp_path / "config.toml"
    run = own / "run"
    run.mkdir(parents=True)
    config.write_text(f'[[watch]]\npath = "{own}"\npublish = {publish}\n')
    marker = run / ".dftindex" / MARKER

    def is_published(generation: int) -> bool:
        return marker.exists() and _marker(marker.parent)["generation"] >= generation

    with running_daemon(tmp_path, "--settle", "1", "--config", str(config)) as daemon:
        for count in (2, 3):
            _write(run, count)
            generation = daemon.client.wait(own).generation
            until(partial(is_published, generation), "a published store")
            assert _marker(marker.parent)["format"] == form
        assert not list(daemon.traces.iterdir())


def test_a_directory_is_quiet_when_all_its_traces_are_finished() -> None:
    def record(path: bytes, generation: int, ending: Ending | None) -> TraceRecord:
        return TraceRecord(
            file_id=1,
            path=path,
            version=1,
            generation=generation,
            stamp=FileStamp(1, 1, 1, 1),
            tiers=TierConfig(),
            ending=ending,
        )

    finished = [record(b"a/1", 4, "end"), record(b"a/2", 7, "silence"), record(b"3", 5, "cut")]
    growing = [record(b"b/1", 8, "end"), record(b"b/2", 9, None)]
    found = quiet_directories([*finished, *growing])
    assert found == {b"a": Quiet(2, 7), b"": Quiet(1, 5)}
