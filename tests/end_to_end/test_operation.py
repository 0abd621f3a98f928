"""What an administrator sees of a daemon: metrics by every way, the dump, the log."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dftindexd.daemon.log_flow import BURST
from dftindexd.index.trace import kernel_cache
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, running_daemon, until
from tests.house.checkout import ROOT

SECRET = "secret-project"
DASHBOARD = ROOT / "systemd" / "grafana-dashboard.json"


def free_port() -> int:
    """Return a port of the loopback interface that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, int, Path]]:
    """A daemon with metrics at a port and in a file."""
    folder = tmp_path_factory.mktemp("metrics")
    port, file = free_port(), folder / "dftindexd.prom"
    options = ("--metrics-port", str(port), "--metrics-file", str(file), "--settle", "1")
    with running_daemon(folder, *options) as daemon:
        (daemon.traces / SECRET).mkdir()
        for number in range(3):
            write_trace(daemon.traces / SECRET / f"t{number}.pfw", 10)
        daemon.client.wait()
        daemon.events()
        yield daemon, port, file


def samples(text: str) -> dict[str, float]:
    """Return the value of each sample by its name and labels, as Prometheus reads it."""
    return {
        sample.name
        + "".join(f"{{{key}={value}}}" for key, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_tell_what_the_daemon_did(served: tuple[Daemon, int, Path]) -> None:
    daemon, _, _ = served
    text = daemon.client.metrics()
    found = samples(text)
    assert found["dftindexd_traces{state=indexed}"] == 3
    assert found["dftindexd_events"] == 30
    assert found["dftindexd_lines{read=fast}"] == 30
    assert found["dftindexd_roots{state=caught-up}"] == 1
    assert found["dftindexd_caught_up"] == 1
    assert found["dftindexd_connections"] >= 1
    assert found["dftindexd_parse_seconds_count"] >= 1
    assert found["dftindexd_commit_seconds_count"] >= 1
    assert found["dftindexd_loop_lag_seconds_count"] >= 1
    assert found["dftindexd_request_seconds_count{request=aggregation}"] >= 1
    assert found["dftindexd_last_commit_timestamp_seconds"] > 1e9
    assert found["process_open_fds"] > 0
    assert found["dftindexd_slow_workers"] == 0
    for part in ("rows", "unflushed"):
        assert found[f"dftindexd_memory_bytes{{part={part}}}"] > 0, part
    for part in ("answers", "blocks"):
        assert found[f"dftindexd_memory_bytes{{part={part}}}"] >= 0, part
    assert SECRET not in text
    assert os.fspath(daemon.traces) not in text


def test_names_and_units_are_as_prometheus_wants_them(served: tuple[Daemon, int, Path]) -> None:
    daemon, _, _ = served
    for family in text_string_to_metric_families(daemon.client.metrics()):
        assert family.documentation
        assert family.name.startswith(("dftindexd_", "process_"))
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if family.type == "counter":
            assert all(one.name.endswith(("_total", "_created")) for one in family.samples)


def test_the_dashboard_asks_for_metrics_that_there_are(served: tuple[Daemon, int, Path]) -> None:
    daemon, _, _ = served
    there = {name.partition("{")[0] for name in samples(daemon.client.metrics())}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    asked = {
        name for query in queries for name in re.findall(r"\b(?:dftindexd|process)_\w+", query)
    }
    # A counter with labels has samples once it has counted.
    assert asked - there <= {"dftindexd_request_errors_total"}
    assert len(asked) > 10


def test_the_command_prints_them(served: tuple[Daemon, int, Path]) -> None:
    daemon, _, _ = served
    assert "dftindexd_events 30.0" in daemon.run("metrics").stdout
    assert "dftindexd_events 30.0" in json.loads(daemon.run("metrics", "--json").stdout)["text"]


def test_the_port_serves_metrics_alone(served: tuple[Daemon, int, Path]) -> None:
    daemon, port, _ = served
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert samples(response.read().decode())["dftindexd_events"] == 30
    with pytest.raises(urllib.error.HTTPError, match="404") as raised:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20)
    raised.value.close()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as rude:
        rude.sendall(b"x" * 20_000 + b"\r\n\r\n")
        assert rude.recv(100).startswith(b"HTTP/1.1 400")
    assert daemon.client.ping().ready


def test_the_file_is_for_everybody_to_read(served: tuple[Daemon, int, Path]) -> None:
    _, _, file = served
    until(file.exists, "the file of metrics")
    assert "dftindexd_roots" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [left.name for left in file.parent.glob("*.new")] == []


def test_a_dump_tells_what_there_is_and_nothing_private(served: tuple[Daemon, int, Path]) -> None:
    daemon, _, _ = served
    done = daemon.run("debug-dump")
    dump: dict[str, Any] = json.loads(done.stdout)
    assert SECRET not in done.stdout
    assert os.fspath(daemon.traces) not in done.stdout
    (store,) = dump["stores"]
    assert (store["root"], store["traces"], store["state"]) == (1, 3, "caught-up")
    assert {"store:root-1", "scheduler:root-1", "parser:0"} <= dump["actors"].keys()
    assert dump["actors"]["scheduler:root-1"]["capacity"] > 0
    assert any("supervisor" in place for task in dump["tasks"] for place in task["stack"])
    assert any(thread["name"] == "MainThread" for thread in dump["threads"])
    assert dump["clients"]["connections"] >= 1
    assert dump["process"]["resident_bytes"] > 1e6
    assert dump["libraries"]["rocksdict"] != "missing"


def test_what_a_client_repeats_is_logged_at_a_bounded_rate_and_counted(
    served: tuple[Daemon, int, Path],
) -> None:
    daemon, _, _ = served
    before = samples(daemon.client.metrics()).get(KEY, 0.0)
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(os.fspath(daemon.socket))
        rude.sendall(b"\xff" * 64)
        while rude.recv(4096):
            pass
    for _ in range(3 * BURST):
        with pytest.raises(LookupError):
            daemon.client.aggregation("/nowhere")
    found = samples(daemon.client.metrics())
    assert found[KEY] - before == 3 * BURST
    recent = {one.event: one.count for one in daemon.client.debug_dump().recent}
    assert recent["client_refused"] >= 1
    lines = daemon.log.read_text().splitlines()
    assert all(json.loads(line) for line in lines)
    assert sum("client_refused" in line for line in lines) <= BURST


KEY = "dftindexd_request_errors_total{code=not-found}{request=aggregation}"


def test_workers_that_cannot_use_the_kernel_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel was compiled; then others could write where it lies, so that nobody takes it."""
    cache = tmp_path / "cache"
    shutil.copytree(kernel_cache.cache_root(os.environ), cache)
    for folder in cache.iterdir():
        folder.chmod(0o770)
    monkeypatch.setenv("CACHE_DIRECTORY", str(cache))
    with running_daemon(tmp_path) as daemon:
        write_trace(daemon.traces / "t.pfw", 10)
        daemon.client.sync()
        assert daemon.events() == 10
        status = daemon.client.status()
        assert status.kernel == "ready"
        (reason,) = status.degraded
        assert reason.startswith("slow worker: others than user")
        assert samples(daemon.client.metrics())["dftindexd_slow_workers"] >= 1
        assert daemon.run("ping").returncode == 4


def test_metrics_that_cannot_go_where_they_should_stop_nothing_and_are_told_of(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, file = taken.getsockname()[1], tmp_path / "absent" / "dftindexd.prom"
        options = ("--metrics-port", str(port), "--metrics-file", str(file))
        with running_daemon(tmp_path, *options) as daemon:
            until(lambda: len(daemon.client.ping().degraded) == 2, "both told")
            assert sorted(daemon.client.ping().degraded) == [
                f"metrics.file: cannot write {file}: No such file or directory",
                f"metrics.port: cannot serve 127.0.0.1:{port}: Address already in use",
            ]
            write_trace(daemon.traces / "t.pfw", 10)
            daemon.client.sync()
            assert daemon.events() == 10
