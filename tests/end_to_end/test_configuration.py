"""The real daemon and its configuration file: roots, reloads, and the commands that show it."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from dftindexd.client import connect
from dftindexd.protocol.errors import InvalidArgumentError
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import COMMAND_SECONDS, Daemon, run_to_end, running_daemon, until


def _watched(daemon: Daemon) -> set[str]:
    return {Path(root.root).name for root in daemon.client.status().roots}


def _reload(daemon: Daemon) -> None:
    """Have the daemon read its file again, and wait until it has."""
    before = _reloads(daemon)
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: _reloads(daemon) > before, "the end of a reload")


def _reloads(daemon: Daemon) -> int:
    text = daemon.log.read_text()
    return text.count('"event": "reloaded"') + text.count('"event": "reload_refused"')


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration file with one root, which has its own rules."""
    (tmp_path / "one").mkdir()
    file = tmp_path / "config.toml"
    file.write_text(f'[[watch]]\npath = "{tmp_path}/one"\nexclude = ["skipped"]\nsettle = "1s"\n')
    return file


def test_the_roots_of_the_file_are_watched_while_it_names_them(
    tmp_path: Path, config: Path
) -> None:
    write_trace(tmp_path / "one" / "a.pfw", 10)
    (tmp_path / "one" / "skipped").mkdir()
    write_trace(tmp_path / "one" / "skipped" / "b.pfw", 10)
    with running_daemon(tmp_path, "--config", str(config)) as daemon:
        daemon.client.sync()
        assert daemon.events(tmp_path / "one") == 10
        assert _watched(daemon) == {"one", "traces"}
        with pytest.raises(InvalidArgumentError, match="the configuration says how"):
            daemon.client.unwatch(tmp_path / "one")
        with pytest.raises(InvalidArgumentError, match="the configuration says how"):
            daemon.client.watch(tmp_path / "one", exclude=["other"])
        assert daemon.client.watch(tmp_path / "one").added is False
    config.write_text("")
    with running_daemon(tmp_path, "--config", str(config)) as daemon:
        assert _watched(daemon) == {"traces"}


def test_a_reload_follows_the_file_and_names_what_waits_for_a_restart(
    tmp_path: Path, config: Path
) -> None:
    two = tmp_path / "two"
    two.mkdir()
    write_trace(two / "t.pfw", 7)
    write_trace(tmp_path / "one" / "a.pfw", 10)
    (tmp_path / "one" / "skipped").mkdir()
    write_trace(tmp_path / "one" / "skipped" / "b.pfw", 10)
    with running_daemon(tmp_path, "--config", str(config)) as daemon:
        daemon.client.sync()
        config.write_text(
            f'[parser]\nstall = "2m"\n[log]\nlevel = "debug"\n'
            f'[[watch]]\npath = "{tmp_path}/one"\n[[watch]]\npath = "{two}"\n'
        )
        _reload(daemon)
        daemon.client.sync()
        assert (daemon.events(tmp_path / "one"), daemon.events(two)) == (20, 7)
        status = daemon.client.status()
        assert status.restart_needed == ("parser.stall",)
        assert status.config == str(config)
        assert "waits for a restart: parser.stall" in daemon.run("status").stdout
        until(lambda: '"level": "debug"' in daemon.log.read_text(), "what a debug log has")
        config.write_text(f'[[watch]]\npath = "{two}"\n')
        _reload(daemon)
        assert _watched(daemon) == {"two", "traces"}
        assert daemon.client.status().restart_needed == ()


def test_a_reload_closes_no_store_for_times_and_limits_of_a_root(
    tmp_path: Path, config: Path
) -> None:
    rules = config.read_text().replace('settle = "1s"', 'settle = "10m"')
    config.write_text(rules)
    write_trace(tmp_path / "one" / "a.pfw", 10)
    waits: list[int] = []
    with running_daemon(tmp_path, "--config", str(config)) as daemon:
        daemon.client.sync()

        def wait() -> None:
            with connect(daemon.socket) as client:
                waits.append(len(client.wait(tmp_path / "one").problems))

        # Whoever waits for a trace to be finished by ten minutes of silence hears of it at once.
        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: daemon.waiters() == 1, "somebody who waits")
        limits = '[store]\nretention = "2s"\nlimit = "1GiB"\nstate_limit = "1GiB"\n'
        config.write_text(limits + rules.replace('settle = "10m"', 'settle = "100ms"'))
        _reload(daemon)
        waiting.join(timeout=COMMAND_SECONDS)
        assert waits == [0]
        assert '"event": "root_reopened"' not in daemon.log.read_text()
        config.write_text(rules.replace("skipped", "a.pfw"))
        _reload(daemon)
        daemon.client.sync()
        assert daemon.events(tmp_path / "one") == 0
        assert '"event": "root_reopened"' in daemon.log.read_text()


def test_a_file_that_is_wrong_changes_nothing_and_is_told(tmp_path: Path, config: Path) -> None:
    good = config.read_text()
    with running_daemon(tmp_path, "--config", str(config)) as daemon:
        daemon.expected.add("reload_refused")
        config.write_text(good + 'setle = "1s"\n')
        _reload(daemon)
        assert _watched(daemon) == {"one", "traces"}
        (problem,) = daemon.client.status().degraded
        assert problem.startswith(f"configuration: {config}:5: watch[0].setle: no such key")
        config.write_text(good)
        _reload(daemon)
        assert daemon.client.status().degraded == ()


def test_a_root_of_the_file_that_is_not_there_yet_is_indexed_when_it_comes(
    tmp_path: Path, config: Path
) -> None:
    os.rmdir(tmp_path / "one")
    with running_daemon(tmp_path, "--config", str(config)) as daemon:
        daemon.expected.add("is not the directory it was")
        states = {Path(one.root).name: one.state for one in daemon.client.status().roots}
        assert states["one"] == "root-missing"
        (tmp_path / "one").mkdir()
        write_trace(tmp_path / "one" / "a.pfw", 10)
        until(lambda: daemon.events(tmp_path / "one") == 10, "the index of the root that came")


def test_the_commands_say_what_holds_and_what_is_wrong(tmp_path: Path, config: Path) -> None:
    done = run_to_end("daemon", "check-config", "--config", config)
    assert (done.returncode, done.stdout) == (0, f"{config}: all well\n")
    printed = run_to_end(
        *("daemon", "print-config", "--config", config, "--json", "--settle", "7"),
        environment={"DFTINDEXD_STORE__RETENTION": "2h"},
    )
    shown = json.loads(printed.stdout)
    assert shown["file"] == str(config)
    values = {one["key"]: (one["value"], one["origin"]) for one in shown["values"]}
    assert values["indexing.settle"] == ("7s", "--settle")
    assert values["store.retention"] == ("2h", "DFTINDEXD_STORE__RETENTION")
    assert values["watch[0].settle"] == ("1s", f"{config}:4")
    config.write_text('[store]\nretenton = "1h"\n')
    for command in ("check-config", "run", "print-config"):
        done = run_to_end("daemon", command, "--config", config)
        assert done.returncode == 2
        told = f"error: {config}:2: store.retenton: no such key; did you mean retention?\n"
        assert done.stderr == told
