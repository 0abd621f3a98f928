"""Percentiles against numpy over all samples: within 1 %, merged exactly, null without samples."""

from __future__ import annotations

import gzip
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.model import AggregationTier, ParseRequest, TierConfig
from dftindexd.index.query.aggregation import dfanalyzer_table, read_aggregation
from dftindexd.index.segment import parse_trace
from dftindexd.index.tiers.sketches import PERCENTILES
from dftindexd.index.trace.columns import PHASE_COMPLETE, PHASE_COUNTER
from tests.end_to_end.made_traces import event_lines
from tests.index.query.traces import MemoryStore, Rec, real_records
from tests.index.trace.comparing import assert_same, both_ways

TIER = AggregationTier(
    interval_us=1_000_000, percentiles=True, custom_metric_fields=("level",), group_keys=("epoch",)
)
QUANTITIES = ("dur", "size", "offset", "level")
COLUMNS = [f"{quantity}_{suffix}" for quantity in QUANTITIES for suffix in PERCENTILES]

_large = st.one_of(st.integers(0, 9), st.integers(0, 2**20), st.sampled_from([2**62, 2**63 - 1]))
_records = st.builds(
    Rec,
    name=st.sampled_from(["read", "close"]),
    phase=st.sampled_from([PHASE_COMPLETE, PHASE_COMPLETE, PHASE_COUNTER]),
    pid=st.integers(1, 2),
    ts=st.integers(0, 3_000_000),
    dur=st.one_of(st.integers(0, 9), st.integers(0, 2**20)),
    ret=st.one_of(st.none(), st.just(-1), _large),
    offset=st.one_of(st.none(), _large),
    args=st.dictionaries(st.just("level"), _large),
)
_traces = st.lists(st.lists(st.lists(_records, max_size=9), max_size=3), min_size=1, max_size=3)


def _samples(records: Iterable[Rec]) -> dict[str, list[int]]:
    """Return the samples of events, by quantity."""
    found: dict[str, list[int]] = {quantity: [] for quantity in QUANTITIES}
    for record in records:
        found["dur"].append(record.dur)
        if record.name == "read" and record.ret is not None and record.ret >= 0:
            found["size"].append(record.ret)
        if record.offset is not None:
            found["offset"].append(max(record.offset, 0))
        if "level" in record.args:
            found["level"].append(int(record.args["level"]))
    return found


def _assert_percentiles(row: dict[str, Any], records: Sequence[Rec]) -> None:
    for quantity, samples in _samples(records).items():
        for suffix, quantile in PERCENTILES.items():
            value = row[f"{quantity}_{suffix}"]
            if not samples:
                assert value is None, (quantity, suffix)
                continue
            exact = float(np.quantile(np.array(samples, np.float64), quantile))
            assert value == pytest.approx(exact, rel=0.0101, abs=1e-9), (quantity, suffix, samples)


def _store(traces: Iterable[Iterable[Sequence[Rec]]], tier: AggregationTier = TIER) -> MemoryStore:
    store = MemoryStore(tier)
    for blocks in traces:
        store.add_trace(*([block] for block in blocks))
    return store


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_traces)
def test_percentiles_of_any_split_are_those_of_all_samples(
    traces: list[list[list[Rec]]],
) -> None:
    store = _store(traces)
    groups: defaultdict[tuple[Any, ...], list[Rec]] = defaultdict(list)
    processes: defaultdict[int, list[Rec]] = defaultdict(list)
    for record in (r for blocks in traces for block in blocks for r in block):
        if record.phase == PHASE_COMPLETE:
            bucket = ((record.ts or 0) + record.dur // 2) // 1_000_000 * 1_000_000
            groups[record.name, record.pid, bucket].append(record)
            processes[record.pid].append(record)
    rows = read_aggregation(store, store.records, TIER, "events").to_pylist()
    assert len(rows) == len(groups)
    for row in rows:
        _assert_percentiles(row, groups[row["name"], row["pid"], row["time_bucket"]])
    grouped = dfanalyzer_table(store, store.records, TIER, "events", group_by=["pid"])
    assert grouped.num_rows == len(processes)
    for row in grouped.to_pylist():
        _assert_percentiles(row, processes[row["pid"]])


def test_counters_have_columns_of_nulls() -> None:
    store = _store([[[Rec(cat="c", phase=PHASE_COUNTER, ret=5, args={"dur_sum": 9, "level": 1})]]])
    for rows in (
        read_aggregation(store, store.records, TIER, "profiles").to_pylist(),
        dfanalyzer_table(store, store.records, TIER, "profiles").to_pylist(),
        dfanalyzer_table(store, store.records, TIER, "profiles", group_by=["cat"]).to_pylist(),
    ):
        (row,) = rows
        assert [row[name] for name in COLUMNS] == [None] * len(COLUMNS)


def test_a_percentile_of_equal_samples_is_the_sample_itself() -> None:
    store = _store([[[Rec(dur=4097, ret=65_536)] * 5]])
    (row,) = read_aggregation(store, store.records, TIER, "events").to_pylist()
    assert {row[f"dur_{suffix}"] for suffix in PERCENTILES} == {4097.0}
    assert {row[f"size_{suffix}"] for suffix in PERCENTILES} == {65_536.0}


def test_extra_group_keys_keep_their_samples_apart() -> None:
    records = [Rec(dur=dur, args={"epoch": str(epoch)}) for epoch in (1, 2) for dur in (epoch,) * 3]
    store = _store([[records]])
    table = dfanalyzer_table(store, store.records, TIER, "events", group_by=["epoch"])
    found = {row["epoch"]: row["dur_p50"] for row in table.to_pylist()}
    assert found == {"1": 1.0, "2": 2.0}


def test_a_filter_may_name_a_percentile_and_keeps_the_others_right() -> None:
    records = [Rec(pid=pid, dur=100 * pid) for pid in range(1, 6) for _ in range(4)]
    store = _store([[records]])
    table = dfanalyzer_table(
        store, store.records, TIER, "events", query="dur_p90 > 250 and dur_p25 < 450"
    )
    found = {row["pid"]: row["dur_p50"] for row in table.to_pylist()}
    assert found == {3: 300.0, 4: 400.0}
    nothing = dfanalyzer_table(store, store.records, TIER, "events", query="size_p50 >= 0")
    assert nothing.num_rows == 0


def test_the_columns_are_there_without_rows_and_absent_without_percentiles() -> None:
    empty = read_aggregation(MemoryStore(TIER), [], TIER, "events")
    assert [name for name in empty.column_names if name in COLUMNS] == COLUMNS
    plain = AggregationTier(custom_metric_fields=("level",))
    store = _store([[[Rec()]]], plain)
    for table in (
        read_aggregation(store, store.records, plain, "events"),
        dfanalyzer_table(store, store.records, plain, "events"),
    ):
        assert not set(COLUMNS) & set(table.column_names)


def test_a_metric_whose_percentiles_would_clash_is_told_apart() -> None:
    tier = AggregationTier(
        percentiles=True, custom_metric_fields=("dur",), group_keys=("size_p50",)
    )
    names = read_aggregation(MemoryStore(tier), [], tier, "events").column_names
    assert len(names) == len(set(names))
    assert {"dur_p50", "args.dur_p50", "size_p50", "args.size_p50"} <= set(names)


@pytest.mark.parametrize("use_kernel", [True, False])
def test_a_trace_that_is_read_has_the_percentiles_of_its_events(
    tmp_path: Path, use_kernel: bool
) -> None:
    path = tmp_path / "t.pfw.gz"
    lines = b"".join(
        line.replace(b'"dur":5,', b'"dur":%d,' % (number * number))
        for number, line in enumerate(event_lines(2000).splitlines(keepends=True))
    )
    path.write_bytes(gzip.compress(lines[:9000]) + gzip.compress(lines[9000:]))
    tier = AggregationTier(percentiles=True)
    request = ParseRequest(
        path=bytes(path),
        segment_id=1,
        provisional_id=2,
        tiers=TierConfig(aggregation=tier, chunk_bytes=5000),
    )
    store = MemoryStore(tier)
    store.add_parsed(parse_trace(request, use_kernel=use_kernel))
    (row,) = dfanalyzer_table(
        store, store.records, tier, "events", group_by=["func_name"]
    ).to_pylist()
    durations = [record.dur for record in real_records(path)[0]]
    for suffix, quantile in PERCENTILES.items():
        assert row[f"dur_{suffix}"] == pytest.approx(np.quantile(durations, quantile), rel=0.0101)
        assert row[f"size_{suffix}"] == 4096.0
        assert row[f"offset_{suffix}"] is None


@pytest.mark.parametrize("folder", ["v2/mp_fork", "v2/agg_sel", "v2/v203_agg", "v2/service"])
def test_real_traces_have_the_same_bins_whichever_way_they_are_read(
    shared_traces: Path, folder: str
) -> None:
    tiers = TierConfig(aggregation=TIER, chunk_bytes=50_000)
    for path in sorted((shared_traces / folder).glob("*.pfw*")):
        assert_same(*both_ways(path, tiers))
