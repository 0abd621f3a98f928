"""dfanalyzer itself (dftracer-analyzer 0.0.9) on published traces of each generation: it builds no
index, and counts what we count, with the cluster that it starts by itself. A run of it takes half a
minute, so ``make analyzer`` does it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.environments import analyzer_python
from tests.end_to_end.running import Daemon, running_daemon

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "DFTINDEXD_TEST_ANALYZER" not in os.environ, reason="long: make analyzer does it"
    ),
]

#: Small runs of generations 1, 1 again, 2, 1.0 and 0, of several processes but for the first.
RUNS = ("v2/live_v210", "v2/v210_fork", "v2/mp_fork", "dlio-v1.0.8", "v0")
_COUNT = re.compile(r"Trace Count\s*│\s*count\s*│\s*([\d,]+)")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose root has all the runs."""
    with running_daemon(tmp_path_factory.mktemp("daemon"), "--settle", "1") as running:
        yield running


@pytest.mark.parametrize("name", RUNS)
def test_it_analyses_a_published_run_without_an_index_build(
    daemon: Daemon, shared_traces: Path, tmp_path: Path, name: str
) -> None:
    run = daemon.traces / name.translate({ord("/"): "-", ord("."): "-"})
    run.mkdir()
    for trace in (shared_traces / name).glob("*.pfw*"):
        shutil.copyfile(trace, run / trace.name)
    daemon.client.wait(run, timeout=60)
    done = daemon.run("publish", run, "--format", "dfanalyzer-0.0.9")
    assert done.returncode == 0, done.stderr
    program = analyzer_python().parent / "dfanalyzer"
    options = ("analyzer=dftracer", "analyzer/preset=posix", "view_types=[proc_name]")
    command = [str(program), f"trace_path={run}", *options, f"hydra.run.dir={tmp_path}"]
    analysed = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=tmp_path,
        env=os.environ | {"USER": "test", "COLUMNS": "120"},
    )
    log = analysed.stdout + analysed.stderr
    assert analysed.returncode == 0, log
    assert "Building index" not in log
    assert "rebuilding" not in log
    found = _COUNT.search(log)
    assert found is not None, log
    assert int(found[1].replace(",", "")) == daemon.events(run)
