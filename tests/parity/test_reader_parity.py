"""TraceReader and StatisticsQueryUtility against dftracer-utils 0.0.12 itself.

What differs on purpose is in ``docs/differences.md``.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dftindexd import compat
from dftindexd.compat import Indexer, StatisticsQueryUtility, TraceReader
from tests.parity.dump_reader import read, signatures, statistics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHARED = ("live_v203", "live_v210")


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFTINDEXD_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def traces(
    reference: Path, shared_traces: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Traces of the reference's generator, packed and plain, and of real runs."""
    folder = tmp_path_factory.mktemp("generated")
    program = reference.parent / "dftracer_gen_fake_trace"
    options = ("-p", "1", "-H", "1", "-e", "1", "-s", "40")
    subprocess.run([program, "--output-dir", folder, *options], check=True, capture_output=True)
    shutil.rmtree(folder / ".dftindex", ignore_errors=True)
    packed = min(folder.glob("*.pfw.gz"))
    plain = folder / "plain.pfw"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    made = [packed, plain]
    real = [
        path for name in SHARED for path in sorted((shared_traces / "v2" / name).glob("*.pfw.gz"))
    ]
    assert real
    return [*made, *real]


def _said(reference: Path, folder: Path, traces: list[Path]) -> dict[str, Any]:
    script = Path(__file__).with_name("dump_reader.py")
    command = [str(part) for part in (reference, "-P", script, folder, *traces)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def _compared(answers: dict[str, Any]) -> dict[str, Any]:
    """Return answers as JSON gives them back."""
    compared: dict[str, Any] = json.loads(json.dumps(answers))
    return compared


def test_lines_events_columns_and_statistics_are_those_of_the_reference(
    reference: Path, traces: list[Path], tmp_path: Path
) -> None:
    said = _said(reference, tmp_path / "theirs", traces)
    assert signatures(compat) == said.pop("signatures")
    query = StatisticsQueryUtility()
    for number, (trace, theirs) in enumerate(said.items()):
        index = str(tmp_path / f"ours{number}")
        assert _compared(read(TraceReader(trace, index))) == theirs["read"], trace
        assert Indexer(files=[trace], index_dir=index).ensure_indexed().needs_work == []
        reader = TraceReader(trace, index)
        assert reader.has_index
        assert _compared(read(reader)) == theirs["read"], trace
        if "statistics" not in theirs:
            continue
        assert reader.get_max_bytes() == theirs["bytes"], trace
        counted = _compared(statistics(query, trace, index))
        for kind, answer in theirs["statistics"].items():
            for key in ("query_type", "results"):
                assert counted[kind].pop(key) == answer.pop(key), (trace, kind)
            assert counted[kind] == pytest.approx(answer, rel=1e-9), (trace, kind)
