"""An aggregation that is made in parts is the one that is made as a whole."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from dftindexd.index.model import AggregationTier, ParseRequest, TierConfig
from dftindexd.index.publish.aggregation import AggregatedTrace, published_aggregation
from dftindexd.index.segment import parse_trace
from dftindexd.index.store import layout
from tests.cluster.making import write_run

TIER = AggregationTier(interval_us=1000)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> list[AggregatedTrace]:
    """The rows of traces of events of both generations, and of one of metrics."""
    run = write_run(tmp_path_factory.mktemp("parts") / "run")
    return [_aggregated(path) for path in sorted(run.iterdir())]


def _aggregated(path: Path) -> AggregatedTrace:
    tiers = TierConfig(aggregation=TIER)
    request = ParseRequest(path=os.fsencode(path), segment_id=1, provisional_id=2, tiers=tiers)
    rows = parse_trace(request).rows
    families = (layout.HASH_TABLES, layout.AGGREGATION, layout.SYSTEM_METRICS)
    return AggregatedTrace(*([value for one, _, value in rows if one == name] for name in families))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_parts_together_are_the_whole_and_lie_one_after_the_other(
    traces: list[AggregatedTrace], count: int
) -> None:
    whole = published_aggregation(traces, TIER)
    parts = [published_aggregation(traces, TIER, part, count) for part in range(count)]
    assert sorted(row for part in parts for row in part) == sorted(whole)
    assert {family for family, _, _ in whole} == {"aggregation", "hash_tables", "system_metrics"}
    assert sum(map(bool, parts)) > 1
    for family in {family for family, _, _ in whole}:
        keys = [[key for one, key, _ in part if one == family] for part in parts]
        held = [some for some in keys if some]
        assert all(max(before) < min(after) for before, after in pairwise(held))
