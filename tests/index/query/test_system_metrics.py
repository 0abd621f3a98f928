"""System metrics: the raw rows of means, and the columns that the analyzer derives of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dftindexd.index.errors import QueryError
from dftindexd.index.model import AggregationTier
from dftindexd.index.query.aggregation import dfanalyzer_table, hash_tables
from dftindexd.index.query.answers import clock_of
from dftindexd.index.query.source import origin_of
from dftindexd.index.query.system_metrics import system_metrics_table
from dftindexd.index.tiers.hash_tables import HashTables
from dftindexd.index.trace.columns import PHASE_COUNTER
from tests.index.query.traces import MemoryStore, Rec, real_records

SECOND = 1_000_000
TIER = AggregationTier(interval_us=SECOND)

DERIVED = [
    *("sys_cpu_iowait_pct", "sys_cpu_user_pct", "sys_cpu_system_pct", "sys_cpu_idle_pct"),
    *("sys_core_iowait_pct_max", "sys_core_iowait_pct_p95"),
    *("sys_mem_dirty", "sys_mem_cached", "sys_mem_available"),
]


def sample(
    name: str,
    ts: int | None,
    hhash: str = "h",
    others: Mapping[str, float] | None = None,
    **metrics: float,
) -> Rec:
    """Return a sample of the tracer's service."""
    return Rec(
        cat="sys",
        name=name,
        phase=PHASE_COUNTER,
        pid=0,
        tid=0,
        ts=ts,
        hhash=hhash,
        args={**metrics, **(others or {})},
    )


def raw(store: MemoryStore, **options: Any) -> pa.Table:
    """Return the raw table of all traces, in time ranges of one second."""
    return system_metrics_table(
        store,
        store.records,
        TIER,
        hash_tables(store, store.records),
        clock_of(origin_of(store.records), 1.0, 1e6),
        **options,
    )


def derived(store: MemoryStore, **options: Any) -> pa.Table:
    """Return the derived table of all traces."""
    return dfanalyzer_table(store, store.records, TIER, "system", **options)


def test_a_row_has_the_mean_of_each_metric_and_null_for_those_of_other_names() -> None:
    store = MemoryStore(TIER)
    store.add_trace(
        [
            [
                sample("cpu", 10, user_pct=1.5, idle_pct=-2),
                sample("memory", 20, others={"Active(anon)": 7}),
            ]
        ],
        [[sample("cpu", SECOND - 1, user_pct=2.5)]],
    )
    store.add_trace([[sample("cpu", SECOND, user_pct=9.0), sample("cpu", 5, "g", user_pct=4.0)]])
    store.add_trace([[Rec(ts=3)]])
    table = raw(store)
    assert table.schema == pa.schema(
        [
            ("host_hash", pa.dictionary(pa.int32(), pa.utf8())),
            ("name", pa.dictionary(pa.int32(), pa.utf8())),
            *((name, pa.int64()) for name in ("time_bucket", "ts", "te", "count")),
            *((name, pa.float64()) for name in ("Active(anon)", "idle_pct", "user_pct")),
        ]
    )
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("h", "cpu", 0, 10, SECOND - 1, 2, None, -2.0, 2.0),
        ("h", "memory", 0, 20, 20, 1, 7.0, None, None),
        ("h", "cpu", SECOND, SECOND, SECOND, 1, None, None, 9.0),
        ("g", "cpu", 0, 5, 5, 1, None, None, 4.0),
    ]


def test_a_sample_at_a_boundary_is_in_the_bucket_that_it_begins() -> None:
    store = MemoryStore(TIER)
    store.add_trace([[sample("cpu", 2 * SECOND, user_pct=1.0)]])
    assert raw(store)["time_bucket"].to_pylist() == [2 * SECOND]
    assert store.records[0].segments[0].min_bucket == 2 * SECOND


def test_texts_are_no_metrics_and_a_sample_without_metrics_still_counts() -> None:
    store = MemoryStore(TIER)
    note = Rec(cat="sys", name="cpu", phase=PHASE_COUNTER, ts=5, args={"note": "x"})
    store.add_trace([[note, note]])
    assert raw(store).to_pylist() == [
        {"host_hash": "", "name": "cpu", "time_bucket": 0, "ts": 5, "te": 5, "count": 2}
    ]


def test_a_sample_without_a_time_has_no_bucket() -> None:
    store = MemoryStore(TIER)
    store.add_trace([[sample("cpu", None, user_pct=1.0)]])
    row = raw(store).to_pylist()[0]
    assert (row["time_bucket"], row["ts"], row["te"], row["count"]) == (None, None, None, 1)
    assert store.records[0].segments[0].min_bucket is None


def test_a_metric_with_the_name_of_a_column_is_told_apart() -> None:
    store = MemoryStore(TIER)
    store.add_trace([[sample("cpu", 5, te=3.0)]])
    row = raw(store, query="args.te == 3").to_pylist()[0]
    assert (row["te"], row["args.te"]) == (5, 3.0)


@pytest.mark.parametrize(
    ("query", "buckets"),
    [
        ("name == 'memory'", [0]),
        ("`Active(anon)` > 6", [0]),
        ("user_pct >= 3", [SECOND]),
        ("host_name == 'node1' and time_range == 1", [SECOND]),
        ("not user_pct < 100", [0]),
        (f"time_bucket == {SECOND} and count == 1 and ts > 0 and te > 0", [SECOND]),
    ],
)
def test_a_query_filters_the_raw_rows(query: str, buckets: list[int]) -> None:
    store = MemoryStore(TIER)
    store.add_trace(
        [
            [
                sample("cpu", 10, user_pct=2.0),
                sample("cpu", SECOND, user_pct=4.0),
                sample("memory", 20, others={"Active(anon)": 7}),
            ]
        ],
        tables=HashTables(host={"h": "node1"}),
    )
    assert raw(store, query=query)["time_bucket"].to_pylist() == buckets


def test_a_group_has_the_mean_of_all_its_samples() -> None:
    store = MemoryStore(TIER)
    store.add_trace(
        [
            [
                sample("cpu", 10, user_pct=1.0),
                sample("cpu", 20, user_pct=2.0),
                sample("cpu", SECOND, user_pct=6.0),
                sample("memory", SECOND + 1, Dirty=5.0),
            ]
        ]
    )
    rows = raw(store, group_by=["host_hash", "name"]).to_pylist()
    assert rows == [
        {
            "host_hash": "h",
            "name": "cpu",
            "ts": 10,
            "te": SECOND,
            "count": 3,
            "Dirty": None,
            "user_pct": 3.0,
        },
        {
            "host_hash": "h",
            "name": "memory",
            "ts": SECOND + 1,
            "te": SECOND + 1,
            "count": 1,
            "Dirty": 5.0,
            "user_pct": None,
        },
    ]


@pytest.mark.parametrize("options", [{"query": "pid == 1"}, {"group_by": ["func_name"]}])
def test_what_the_columns_do_not_allow_is_an_error(options: dict[str, Any]) -> None:
    store = MemoryStore(TIER)
    store.add_trace([[sample("cpu", 10, user_pct=1.0)]])
    for table in (raw, derived):
        with pytest.raises(QueryError):
            table(store, **options)


def test_the_derived_columns_are_those_of_the_analyzer() -> None:
    store = MemoryStore(TIER)
    cpu = {"iowait_pct": 1.0, "user_pct": 2.0, "system_pct": 3.0, "idle_pct": 4.0}
    cores = [sample(f"cpu-{n}", 5, iowait_pct=float(n)) for n in range(11)]
    store.add_trace(
        [
            [
                sample("cpu", 4 * SECOND, others=cpu),
                sample("cpu", 5 * SECOND, others={**cpu, "user_pct": 4.0}),
                sample("memory", 9 * SECOND, Dirty=1.0, Cached=2.0, MemAvailable=3.0),
                sample("gpu", 20 * SECOND, iowait_pct=1.0),
                *cores,
            ]
        ]
    )
    table = derived(store, time_granularity=4.0)
    assert table.column_names == ["host_hash", "time_range", *DERIVED]
    assert {table.schema.field(name).type for name in DERIVED} == {pa.float64()}
    rows = {row["time_range"]: [row[name] for name in DERIVED] for row in table.to_pylist()}
    nothing = [None] * 4
    assert rows == {
        1: [1.0, 3.0, 3.0, 4.0, None, None, None, None, None],
        2: [*nothing, None, None, 1.0, 2.0, 3.0],
        0: [*nothing, 10.0, pytest.approx(9.5), None, None, None],
    }


def test_the_derived_table_of_no_samples_has_all_its_columns() -> None:
    store = MemoryStore(TIER)
    store.add_trace([[Rec()]])
    table = derived(store)
    assert table.column_names == ["host_hash", "time_range", *DERIVED]
    assert table.num_rows == 0
    assert raw(store).num_rows == 0


def test_a_query_filters_the_derived_rows_and_before_grouping_the_samples() -> None:
    store = MemoryStore(TIER)
    store.add_trace(
        [
            [
                sample("cpu", 0, "h", user_pct=1.0),
                sample("cpu", SECOND, "h", user_pct=3.0),
                sample("cpu", 0, "g", user_pct=8.0),
            ]
        ],
        tables=HashTables(host={"h": "node1", "g": "node2"}),
    )
    rows = derived(store, query="sys_cpu_user_pct > 2 and hhash == 'h'").to_pylist()
    assert [(row["time_range"], row["sys_cpu_user_pct"]) for row in rows] == [(1, 3.0)]
    grouped = derived(store, group_by=["host_name"]).to_pylist()
    assert [(r["host_name"], r["sys_cpu_user_pct"]) for r in grouped] == [
        ("node1", 2.0),
        ("node2", 8.0),
    ]
    grouped = derived(store, group_by=["time_range"], query="host_name == 'node1'").to_pylist()
    assert [(r["time_range"], r["sys_cpu_user_pct"]) for r in grouped] == [(0, 1.0), (1, 3.0)]


def test_a_host_hash_with_two_names_keeps_its_samples_apart() -> None:
    store = MemoryStore(TIER)
    for host, value in (("node1", 1.0), ("node2", 5.0)):
        store.add_trace([[sample("cpu", 0, user_pct=value)]], tables=HashTables(host={"h": host}))
    rows = raw(store, group_by=["host_name"]).to_pylist()
    assert [(row["host_name"], row["user_pct"]) for row in rows] == [("node1", 1.0), ("node2", 5.0)]


@pytest.mark.parametrize("folder", ["v2/service", "v2/v210_service"])
def test_the_means_of_a_real_service_trace_are_those_of_plain_python(
    shared_traces: Path, folder: str
) -> None:
    store = MemoryStore(TIER)
    samples: dict[tuple[str, int], list[Rec]] = defaultdict(list)
    for path in sorted((shared_traces / folder).glob("*.pfw*")):
        records, tables = real_records(path)
        third = len(records) // 3
        store.add_trace([records[:third]], [records[third:]], tables=tables)
        for record in records:
            if record.cat == "sys" and record.ts is not None:
                samples[record.name, record.ts // SECOND * SECOND].append(record)
    assert samples
    rows = raw(store).to_pylist()
    assert len(rows) == len(samples)
    for row in rows:
        members = samples[row["name"], row["time_bucket"]]
        assert row["count"] == len(members)
        assert row["ts"] == min(member.ts or 0 for member in members)
        assert row["te"] == max(member.ts or 0 for member in members)
        for metric in row.keys() - {"host_hash", "name", "time_bucket", "ts", "te", "count"}:
            values = [float(m.args[metric]) for m in members if metric in m.args]
            expected = pytest.approx(statistics.fmean(values)) if values else None
            assert row[metric] == expected
