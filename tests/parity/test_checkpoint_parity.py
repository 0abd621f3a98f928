"""Checkpoints against dftracer-utils 0.0.12 itself: lines, bytes, and the places in a large member.

What differs on purpose is in ``docs/differences.md``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.random_read import write_one_member
from dftindexd.compat import CheckpointIndexer
from dftindexd.index.trace.members import member_text
from dftindexd.index.trace.trace_file import open_trace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIZE = 1 << 20
SHARED = ("v2/int_small", "v2/live_v210", "v2/kill9_small", "v0", "dlio-v1.0.8")


def _said(reference: Path, folder: Path, traces: list[str]) -> dict[str, Any]:
    script = Path(__file__).with_name("dump_checkpoints.py")
    command = [str(reference), str(script), str(folder), str(SIZE), *traces]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def _built(trace: str, folder: Path) -> CheckpointIndexer:
    indexer = CheckpointIndexer(trace, str(folder / "ours"), SIZE)
    indexer.build()
    return indexer


def _tail_after(trace: str, size: int) -> bytes:
    with open_trace(os.fsencode(trace)) as file:
        return b"".join(member_text(file, 0))[size:]


def test_a_large_member_has_the_same_lines_bytes_and_places(
    reference: Path, tmp_path: Path
) -> None:
    trace = str(tmp_path / "one.pfw.gz")
    write_one_member(os.fsencode(trace), 20)
    lines, size, points = _said(reference, tmp_path, [trace])[trace]
    indexer = _built(trace, tmp_path)
    assert (indexer.get_num_lines(), indexer.get_max_bytes()) == (lines, size)
    ours = {
        (one.uc_offset, one.c_offset, one.bits) for one in indexer.get_checkpoints() if one.c_offset
    }
    theirs = {tuple(point) for point in points}
    assert len(ours) > 5
    assert len(theirs & ours) >= 2  # the blocks are the same; which of them begin a chunk is not


def test_shared_traces_have_the_same_lines_and_bytes(
    reference: Path, shared_traces: Path, tmp_path: Path
) -> None:
    folders = [shared_traces / folder for folder in SHARED]
    traces = sorted(str(path) for folder in folders for path in folder.glob("*.pfw.gz"))
    assert len(traces) > 6
    for number, (trace, (lines, size, _)) in enumerate(_said(reference, tmp_path, traces).items()):
        indexer = _built(trace, tmp_path / str(number))
        missing = _tail_after(trace, indexer.get_max_bytes())
        assert b"\n" not in missing, trace
        assert indexer.get_max_bytes() + len(missing) == size, trace
        text_ends_without_newline = not missing and lines < indexer.get_num_lines()
        assert indexer.get_num_lines() == lines + text_ends_without_newline, trace
