"""Every step of a store, failing and dying there: all of a commit or nothing, and on it goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dftindexd.index.failpoints import STORE_FAILPOINTS, VARIABLE, failpoint
from dftindexd.index.store.layout import DEFAULT, SEGMENT_FAMILIES
from dftindexd.index.store.writer import StoreWriter
from tests.crash.scenario import Held, held_by, opened
from tests.index.store.commits import ROW_FAMILIES

_ROOT = Path(__file__).resolve().parents[2]
#: Which of the times that the scenario comes there.
_TURNS = (1, 2, 3) if "DFTINDEXD_TEST_CRASH_CYCLES" in os.environ else (2,)

pytestmark = pytest.mark.crash


def _start(folder: Path, point: str, action: str, turn: int) -> subprocess.Popen[str]:
    environment = os.environ | {
        VARIABLE: f"{point}={action}#{turn}",
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path]),
    }
    scenario = [sys.executable, "-m", "tests.crash.scenario"]
    return subprocess.Popen(
        [*scenario, str(folder / "store"), str(folder / "log")],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def _told(folder: Path) -> list[dict[str, Any]]:
    log = folder / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def _possible(told: list[dict[str, Any]]) -> list[Held]:
    """Return what a store may hold whose life was told so far."""
    states: list[Held] = [{}]
    for line in told:
        if "done" in line:
            states = [line["done"]]
        elif "begin" in line:
            states.append(line["begin"])
    return states


def _rows(writer: StoreWriter) -> dict[int, int]:
    counts: dict[int, int] = {}
    for family in SEGMENT_FAMILIES:
        for key, _ in writer.rocks.scan(family):
            if not key.startswith(b"\xff\xff"):
                segment = int.from_bytes(key[:8], "big")
                counts[segment] = counts.get(segment, 0) + 1
    return counts


def _check(folder: Path, *, killed: bool) -> None:
    told = _told(folder)
    with closing(opened(str(folder / "store"))) as writer:
        held = held_by(writer)
        assert held in (_possible(told) if killed else [told[-1]["done"]])
        visible = {segment for _, segments in held.values() for segment in segments}
        rows = _rows(writer)
        assert all(rows.get(segment) == 2 * len(ROW_FAMILIES) for segment in visible)
        garbage = {int.from_bytes(key[1:], "big") for key, _ in writer.rocks.scan(DEFAULT, b"g")}
        assert rows.keys() <= visible | garbage
        assert not list(writer.rocks.scan(DEFAULT, b"i"))
        assert os.listdir(writer.staging) == []


@pytest.mark.parametrize("point", STORE_FAILPOINTS)
def test_a_store_that_fails_or_dies_at_a_step_has_all_of_a_commit_or_nothing(
    tmp_path: Path, point: str
) -> None:
    runs = [(action, turn) for action in ("raise", "kill") for turn in _TURNS]
    reached = set()
    started = []
    for action, turn in runs:
        folder = tmp_path / f"{action}-{turn}"
        folder.mkdir()
        started.append((folder, action, _start(folder, point, action, turn)))
    for folder, action, process in started:
        _, errors = process.communicate(timeout=60)
        killed = process.returncode == -signal.SIGKILL
        assert killed or process.returncode == 0, errors
        assert action == "kill" or not killed
        if killed or any("failed" in line for line in _told(folder)):
            reached.add(action)
        _check(folder, killed=killed)
    assert "kill" in reached
    assert "raise" in reached or point.startswith("store:open")


def test_a_failpoint_may_be_of_one_visit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "test:one-visit=raise:now@b#2")
    failpoint("test:one-visit", b"b")
    failpoint("test:one-visit", b"a")
    with pytest.raises(OSError, match="now"):
        failpoint("test:one-visit", b"b")
    failpoint("test:one-visit", b"b")
