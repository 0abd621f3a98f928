"""What is read of a trace to publish it, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dftindexd.compat.published_rows import plan_trace, published_trace
from dftindexd.compat.published_traces import IndexedTrace
from dftindexd.index.errors import TraceChangedError
from dftindexd.index.model import AggregationTier, ParseRequest, TierConfig, TraceRecord
from dftindexd.index.segment import parse_trace
from dftindexd.index.store import layout
from dftindexd.index.tiers.event_order import ORDER_SUFFIX
from tests.end_to_end.made_traces import write_trace


def _indexed(trace: Path) -> IndexedTrace:
    tiers = TierConfig()
    path = os.fsencode(trace)
    parsed = parse_trace(ParseRequest(path=path, segment_id=1, provisional_id=2, tiers=tiers))
    found: dict[str, list[bytes]] = {}
    for family, key, value in parsed.rows:
        name = "event_order" if key.endswith(ORDER_SUFFIX) else family
        found.setdefault(name, []).append(value)
    record = TraceRecord(
        file_id=1, path=path, version=1, generation=1, stamp=parsed.stamp, tiers=tiers
    )
    return IndexedTrace(
        path=path,
        name=os.fsencode(trace.name),
        record=record,
        checkpoints=found[layout.CHECKPOINTS],
        chunk_stats=found[layout.CHUNK_STATS],
        event_order=found["event_order"],
        hash_tables=found[layout.HASH_TABLES],
        aggregation=found[layout.AGGREGATION],
        system_metrics=found.get(layout.SYSTEM_METRICS, []),
    )


def test_no_more_is_read_of_a_small_trace_than_the_hash_of_its_contents_needs(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "t.pfw.gz"
    write_trace(trace, 5)
    plan = plan_trace(1, _indexed(trace), None)
    assert not plan.is_read
    trace.unlink()
    made = published_trace(plan)
    assert (made.summary.totals.events, made.aggregated) == (5, None)
    families = {family for family, _, _ in made.rows}
    assert {"default", "metadata", "manifest", "chunk_stats", "file_bloom"} < families
    assert "checkpoints" not in families


def test_a_trace_is_read_for_another_aggregation_and_all_else_is_the_same(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    write_trace(trace, 5)
    indexed = _indexed(trace)
    plan = plan_trace(1, indexed, AggregationTier(interval_us=1))
    assert plan.is_read
    made = published_trace(plan)
    assert made.rows == published_trace(plan_trace(1, indexed, None)).rows
    assert made.aggregated is not None
    assert made.aggregated.hash_tables == indexed.hash_tables
    assert made.aggregated.aggregation != indexed.aggregation


def test_a_trace_that_changed_is_refused_whenever_it_is_looked_at(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    write_trace(trace, 5)
    indexed = _indexed(trace)
    plan = plan_trace(1, indexed, AggregationTier(interval_us=1))
    write_trace(trace, 6)
    for look in (lambda: plan_trace(1, indexed, None), lambda: published_trace(plan)):
        with pytest.raises(TraceChangedError, match="has changed since it was indexed"):
            look()
