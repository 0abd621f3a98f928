"""Hostile traces through the real engine: memory stays bounded, the outcome is stated, and the next
trace is indexed.

``make test`` has them in short form, ``make stress`` at their full sizes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import pytest

from benchmarks.memory import PeakMemory
from dftindexd.actors.engine import open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root_options import RootOptions
from dftindexd.index.model import TraceRecord
from dftindexd.index.trace.lines import MAX_LINE_BYTES
from tests.end_to_end.made_traces import write_trace

from .hostile import (
    MEBIBYTE,
    write_bomb,
    write_file_hashes,
    write_long_line,
    write_many_arguments,
    write_wrong_checksum,
)

FULL: Final = "DFTINDEXD_TEST_STRESS" in os.environ

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.stress,
    pytest.mark.timeout(1800 if FULL else 120),
    pytest.mark.usefixtures("nothing_left"),
]

#: What all worker processes together may take.
BOUND_BYTES: Final = 600 * MEBIBYTE
BOMB_MEBIBYTES: Final = 10 * 1024 if FULL else 256
FILE_HASHES: Final = 1_000_000 if FULL else 100_000
EVENTS: Final = 1000


class Outcome(NamedTuple):
    """What the engine says of the hostile trace, and what its workers took."""

    record: TraceRecord
    peak_bytes: int


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the daemon's event loop alone."""
    return ("asyncio", {"use_uvloop": True})


async def _index(folder: Path, write: Callable[[Path], None]) -> Outcome:
    """Index a hostile trace and then a good one, with one worker."""
    traces = folder / "traces"
    traces.mkdir()
    await anyio.to_thread.run_sync(write, traces / "hostile.pfw.gz")
    options = EngineOptions(
        state_dir=str(folder / "state"),
        owner="the test",
        workers=1,
        root=RootOptions(settle_seconds=0.3, follow=False),
    )
    with PeakMemory(os.getpid(), itself=False) as memory:
        async with open_engine(options) as engine:
            root = await engine.add_root(os.fsencode(traces))
            assert await (await root.leave_ticket(root.path)).wait() == {}
            write_trace(traces / "next.pfw.gz", EVENTS)
            assert await (await root.leave_ticket(root.path)).wait() == {}
            records = {record.path: record for record in root.records(root.path)}
    assert records[b"next.pfw.gz"].complete_events == EVENTS
    record = records[b"hostile.pfw.gz"]
    lines = record.lines
    assert lines.total == lines.ok + lines.skipped + lines.bad
    assert not record.quarantined
    assert 0 < memory.peak_bytes < BOUND_BYTES, f"{memory.peak_bytes >> 20} MiB"
    return Outcome(record, memory.peak_bytes)


async def test_a_bomb_of_newlines_is_counted_line_by_line(tmp_path: Path) -> None:
    outcome = await _index(tmp_path, lambda path: write_bomb(path, b"\n", BOMB_MEBIBYTES, EVENTS))
    lines = outcome.record.lines
    blank = BOMB_MEBIBYTES * MEBIBYTE + 1
    assert (lines.ok, lines.skipped, lines.bad) == (EVENTS, blank, 0)


async def test_a_bomb_of_spaces_is_one_bad_line(tmp_path: Path) -> None:
    outcome = await _index(tmp_path, lambda path: write_bomb(path, b" ", BOMB_MEBIBYTES, EVENTS))
    lines = outcome.record.lines
    assert (lines.ok, lines.skipped, lines.bad) == (EVENTS, 0, 1)
    (bad,) = (bad for segment in outcome.record.segments for bad in segment.bad_lines)
    assert (bad.uc_offset, bad.line, bad.sample) == (0, 0, b" " * 80)


@pytest.mark.parametrize(("beyond", "bad"), [(0, 0), (1, 1)])
async def test_the_longest_line_is_read_and_one_byte_more_is_a_bad_line(
    tmp_path: Path, beyond: int, bad: int
) -> None:
    length = MAX_LINE_BYTES + beyond
    outcome = await _index(tmp_path, lambda path: write_long_line(path, length, EVENTS))
    lines = outcome.record.lines
    assert (lines.ok, lines.bad) == (EVENTS + 1 - bad, bad)


async def test_a_member_with_a_wrong_checksum_is_read_and_named(tmp_path: Path) -> None:
    outcome = await _index(tmp_path, lambda path: write_wrong_checksum(path, EVENTS))
    assert outcome.record.complete_events == 2 * EVENTS
    assert "corrupt gzip member at byte 0" in outcome.record.segments[0].warnings[0]


@pytest.mark.parametrize("phase", [1, 2, 3])
async def test_ten_thousand_names_of_arguments_are_read(tmp_path: Path, phase: int) -> None:
    outcome = await _index(tmp_path, lambda path: write_many_arguments(path, 10_000, phase))
    lines = outcome.record.lines
    assert (lines.ok, lines.bad) == (10_001, 0)


async def test_every_file_of_very_many_has_its_rows_and_its_name(tmp_path: Path) -> None:
    outcome = await _index(tmp_path, lambda path: write_file_hashes(path, FILE_HASHES))
    record = outcome.record
    assert len(record.segments) > 1  # they are too many to be held at once
    assert not record.reason
    assert (record.lines.ok, record.lines.bad) == (2 * FILE_HASHES, 0)
    assert record.complete_events == FILE_HASHES
