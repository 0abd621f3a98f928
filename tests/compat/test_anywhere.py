"""A build works from wherever it is called, and prints nothing of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from dftindexd.compat import Indexer

from .writing import count, write_trace

SCRIPT = """
import pyarrow as pa
from dftindexd.compat import Indexer

with Indexer({directory!r}, require_aggregation=True, parallelism=1) as indexer:
    indexer.ensure_indexed()
    rows = pa.Table.from_batches([pa.record_batch(batch) for batch in indexer.iter_aggregation()])
    print(sum(rows["count"].to_pylist()))
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    """A script without a guard that indexes a trace of ten events."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_trace(folder / "a.pfw", 10)
    return SCRIPT.format(directory=str(folder))


def _run(arguments: list[str], cwd: Path, stdin: str | None = None) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "10\n", "")


def test_from_a_script_without_a_guard(script: str, tmp_path: Path) -> None:
    (tmp_path / "analysis.py").write_text(script)
    _run(["analysis.py"], tmp_path)


def test_from_the_command_line(script: str, tmp_path: Path) -> None:
    _run(["-c", script], tmp_path)


def test_from_standard_input(script: str, tmp_path: Path) -> None:
    _run(["-"], tmp_path, stdin=script)


@pytest.mark.anyio
async def test_inside_a_running_event_loop(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_trace(folder / "a.pfw", 10)
    indexer = Indexer(str(folder), require_aggregation=True, parallelism=1)
    assert indexer.ensure_indexed().needs_work == []
    assert count(indexer.iter_aggregation()) == 10
    await anyio.lowlevel.checkpoint()
