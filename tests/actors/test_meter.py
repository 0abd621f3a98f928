"""What a worker tells of its progress, and when it counts as hanging."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dftindexd.actors.commands import ParsedOutcome, ParseJob
from dftindexd.actors.meter import START_SECONDS, JobMeter, Patience
from dftindexd.actors.shared_counts import SharedCounts, new_counts
from dftindexd.actors.worker import run_job
from dftindexd.index.model import ParseRequest, TierConfig
from tests.end_to_end.made_traces import event_lines, write_trace


@pytest.fixture
def counts() -> Iterator[SharedCounts]:
    """Counts of this test alone."""
    descriptor = new_counts()
    shared = SharedCounts(descriptor)
    os.close(descriptor)
    yield shared
    shared.close()


def test_patience_is_over_after_so_many_seconds_without_work() -> None:
    patience = Patience(10.0, work=5, now=100.0)
    assert not patience.is_over(5, 109.9)
    assert not patience.is_over(6, 110.0)
    assert not patience.is_over(6, 119.9)
    assert patience.is_over(6, 120.0)
    assert not patience.is_over(7, 500.0)


def test_patience_with_a_worker_that_has_not_started_is_greater() -> None:
    patience = Patience(10.0, work=0, now=0.0)
    assert not patience.is_over(0, START_SECONDS - 1)
    assert patience.is_over(0, START_SECONDS)
    assert not patience.is_over(1, 100.0)
    assert patience.is_over(1, 110.0)


def test_a_job_s_bytes_are_those_of_its_traces_behind_it(counts: SharedCounts) -> None:
    meter = JobMeter(counts)
    meter.begin_job()
    meter.begin_trace(0)
    meter.note(100, 70)
    meter.note(50, 100)
    meter.note(50, 40)
    assert counts.read()[1] == 100
    meter.begin_trace(1000)
    assert counts.read()[1] == 100
    meter.note(10, 1010)
    assert counts.read()[1] == 110
    work = counts.read()[0]
    meter.begin_job()
    assert counts.read() == (work + 1, 0)


def test_a_growing_trace_costs_what_was_added_and_not_what_is_there(
    tmp_path: Path, counts: SharedCounts
) -> None:
    meter = JobMeter(counts)
    trace = tmp_path / "a.pfw.gz"
    for first in range(0, 20_000, 1000):
        write_trace(trace, 1000, first=first, append=first > 0)
    before = trace.stat().st_size

    def parse(request: ParseRequest) -> ParsedOutcome:
        job = ParseJob(requests=(request,), staging=str(tmp_path), stem="s")
        (outcome,) = run_job(job, use_kernel=False, meter=meter).outcomes
        assert isinstance(outcome, ParsedOutcome)
        return outcome

    request = ParseRequest(
        path=os.fsencode(trace), segment_id=1, provisional_id=2, tiers=TierConfig()
    )
    whole = parse(request).parsed
    assert counts.read()[1] == before
    # As the tracer writes it: the end of a member comes with the next one only.
    member = zlib.compressobj(1, wbits=31)
    lines = event_lines(1000, first=20_000)
    data = member.compress(lines) + member.flush()
    for part, complete in ((data[:-200], False), (data, True)):
        trace.write_bytes(trace.read_bytes()[:before] + part)
        work = counts.read()[0]
        grown = parse(
            ParseRequest(
                path=os.fsencode(trace),
                segment_id=3,
                provisional_id=4,
                tiers=TierConfig(),
                resume=whole.resume,
                facts=whole.facts,
            )
        ).parsed
        assert grown.resumed
        assert [one.provisional for one in grown.segments] == [not complete]
        assert counts.read()[1] == len(part)
        # What was added is read and inflated once; digests show that nothing else changed.
        digested = 5 * 4096
        assert counts.read()[0] - work <= len(part) + len(lines) + digested < before + len(lines)
