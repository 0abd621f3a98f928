"""Planning and the primitives of a distributed index against dftracer-utils itself: the same calls
on both. What differs on purpose is in ``docs/differences.md``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dftindexd import compat
from dftindexd.compat import dask
from tests.cluster.making import write_cut_trace
from tests.parity.dump_distribution import CLASSES, DASK, EXTENSION, parameters_of, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A trace of many members and a plain one."""
    folder = tmp_path_factory.mktemp("traces")
    write_cut_trace(folder / "cut.pfw.gz", 900, members=7)
    (folder / "plain.pfw").write_text('{"name":"read","ph":"X"}\n')
    return sorted(map(str, folder.iterdir()))


def _told(python: Path, traces: list[str], folder: Path) -> dict[str, Any]:
    script = Path(__file__).with_name("dump_distribution.py")
    command = [str(part) for part in (python, "-P", script, folder / "theirs", *traces)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _ours(traces: list[str], folder: Path) -> dict[str, Any]:
    database = compat.IndexDatabase(str(folder / "ours"))
    answers: dict[str, Any] = json.loads(json.dumps(said(compat, traces, database)))
    return answers


@pytest.mark.parametrize(
    ("version", "gone"), [("reference", set()), ("newer_reference", {"registered", "marked"})]
)
def test_the_same_calls_give_the_same(
    version: str,
    gone: set[str],
    traces: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    told = _told(request.getfixturevalue(version), traces, tmp_path)["said"]
    ours = _ours(traces, tmp_path)
    assert {what: ours[what] for what in told} == told
    assert ours.keys() - told.keys() == gone


def test_parameters_and_their_defaults_are_those_of_the_contract(
    reference: Path, traces: list[str], tmp_path: Path
) -> None:
    told = _told(reference, traces, tmp_path)["parameters"]
    ours = {name: parameters_of(getattr(compat, name)) for name in EXTENSION}
    ours |= {name: parameters_of(getattr(dask, name)) for name in DASK}
    for kind, methods in CLASSES.items():
        for name in methods:
            ours[f"{kind}.{name}"] = parameters_of(getattr(getattr(compat, kind), name))
    assert ours.keys() == told.keys()
    for name, parameters in told.items():
        # What ours have more comes last, with a default: how far they are.
        assert ours[name][: len(parameters)] == parameters, name
        assert set(ours[name][len(parameters) :]) <= {"progress=None"}, name
