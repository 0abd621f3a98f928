"""The analyzer's tables: exact columns and values, grouping, names, and the time origin."""

from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from dftindexd.index.errors import QueryError
from dftindexd.index.model import AggregationTier
from dftindexd.index.query.aggregation import dfanalyzer_table, hash_tables, read_aggregation
from dftindexd.index.query.grouping import GROUP_COLUMNS
from dftindexd.index.tiers.hash_tables import HashTables, hash_table_rows
from dftindexd.index.trace.columns import PHASE_AGGREGATED, PHASE_COUNTER
from tests.index.query.oracle import aggregate
from tests.index.query.traces import MemoryStore, Rec, real_records

SECOND = 1_000_000
TIER = AggregationTier(interval_us=SECOND)
TEXT: pa.DataType = pa.dictionary(pa.int32(), pa.utf8())


def fields(names: str, type_: pa.DataType) -> list[pa.Field[Any]]:
    """Return a field of one type for each of some names."""
    return [pa.field(name, type_) for name in names.split()]


FINE_SCHEMA = pa.schema(
    [
        *fields("cat func_name", TEXT),
        *fields("pid tid", pa.int64()),
        *fields("file_hash host_hash file_name host_name proc_name", TEXT),
        *fields("io_cat acc_pat count", pa.int64()),
        *fields("time", pa.float64()),
        *fields("size", pa.int64()),
        *fields("time_min time_max", pa.float64()),
        *fields("size_min size_max offset_min offset_max", pa.int64()),
        *fields("time_range time_start time_end", pa.int64()),
    ]
)

GROUP_FIELDS = [
    *fields("count", pa.int64()),
    *fields("time", pa.float64()),
    *fields("size", pa.int64()),
    *fields("time_sq size_sq time_min time_max", pa.float64()),
    *fields("size_min size_max", pa.int64()),
    *fields("time_call_min time_call_max", pa.float64()),
    *fields("size_call_min size_call_max time_start time_end", pa.int64()),
]


def store_of(*records: Rec, tables: HashTables | None = None) -> MemoryStore:
    """Return a store with one trace of *records*."""
    store = MemoryStore(TIER)
    store.add_trace([records], tables=tables)
    return store


def events(store: MemoryStore, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of the analyzer's table of events."""
    rows: list[dict[str, Any]] = dfanalyzer_table(
        store, store.records, TIER, "events", **options
    ).to_pylist()
    return rows


def test_the_fine_table_has_the_columns_of_the_reference() -> None:
    for store in (store_of(Rec(ret=1, offset=2)), store_of(Rec()), store_of()):
        for kind in ("events", "profiles"):
            table = dfanalyzer_table(store, store.records, TIER, kind)
            assert table.schema.equals(FINE_SCHEMA)


def test_a_grouped_table_has_the_group_and_then_the_columns_of_the_reference() -> None:
    for store in (store_of(Rec(ret=1)), store_of(Rec()), store_of()):
        for group_by in (["time_range"], ["func_name", "cat"], list(GROUP_COLUMNS)):
            table = dfanalyzer_table(store, store.records, TIER, "events", group_by=group_by)
            expected = [FINE_SCHEMA.field(name) for name in group_by]
            assert table.schema.equals(pa.schema([*expected, *GROUP_FIELDS]))


def test_one_event_as_the_analyzer_sees_it() -> None:
    tables = HashTables(file={"f": "/data/a"}, host={"h": "node1"})
    first = Rec(cat="APP", name="main", ts=3 * SECOND, dur=10)
    second = Rec(
        name="pread64",
        pid=5,
        tid=6,
        ts=7 * SECOND + 500,
        dur=250_000,
        hhash="h",
        fhash="f",
        ret=4096,
        offset=0,
    )
    row = events(store_of(first, second, tables=tables))[1]
    assert row == {
        "cat": "posix",
        "func_name": "pread64",
        "pid": 5,
        "tid": 6,
        "file_hash": "f",
        "host_hash": "h",
        "file_name": "/data/a",
        "host_name": "node1",
        "proc_name": "app#node1#5#6",
        "io_cat": 1,
        "acc_pat": 0,
        "count": 1,
        "time": 0.25,
        "size": 4096,
        "time_min": 0.25,
        "time_max": 0.25,
        "size_min": 4096,
        "size_max": 4096,
        "offset_min": 0,
        "offset_max": 0,
        "time_range": 4,
        "time_start": 4 * SECOND + 500,
        "time_end": 4 * SECOND + 250_500,
    }


def test_sizes_and_offsets_are_null_where_there_are_none() -> None:
    row = events(store_of(Rec(ret=0)))[0]
    assert [row[name] for name in ("size", "size_min", "size_max")] == [None] * 3
    assert [row[name] for name in ("offset_min", "offset_max")] == [None] * 2


def test_a_profile_lies_on_the_grid_of_the_query() -> None:
    store = store_of(
        Rec(ts=SECOND, dur=0),
        Rec(phase=PHASE_AGGREGATED, ts=5 * SECOND, args={"dft_cnt": 2, "dur_sum": 10}),
    )
    table = dfanalyzer_table(store, store.records, TIER, "profiles", time_granularity=2.0)
    row = table.to_pylist()[0]
    assert (row["time_range"], row["time_start"], row["time_end"]) == (2, 4 * SECOND, 6 * SECOND)
    assert row["count"] == 2
    grouped = dfanalyzer_table(store, store.records, TIER, "profiles", group_by=["cat"]).to_pylist()
    assert (grouped[0]["time_start"], grouped[0]["time_end"]) == (4 * SECOND, 5 * SECOND)


def test_the_origin_is_a_bucket_of_any_kind_and_any_trace() -> None:
    store = store_of(Rec(ts=9 * SECOND))
    store.add_trace([[Rec(phase=PHASE_COUNTER, ts=4 * SECOND)]])
    assert events(store)[0]["time_start"] == 6 * SECOND
    store.add_trace([[Rec(cat="sys", name="cpu", phase=PHASE_COUNTER, ts=SECOND + 1)]])
    assert events(store)[0]["time_start"] == 8 * SECOND
    assert events(store)[0]["time_range"] == 8


@pytest.mark.parametrize(
    ("granularity", "time_range"),
    [(1.0, 7), (2.0, 3), (0.5, 14), (0.0, 0), (-1.0, 0), (1e30, 0), (-1e30, 0)],
)
def test_the_granularity_is_the_width_of_a_time_range(granularity: float, time_range: int) -> None:
    store = store_of(Rec(ts=0), Rec(ts=7 * SECOND), Rec(phase=PHASE_AGGREGATED, ts=7 * SECOND))
    assert events(store, time_granularity=granularity)[1]["time_range"] == time_range
    profiles = dfanalyzer_table(
        store, store.records, TIER, "profiles", time_granularity=granularity
    )
    assert profiles["time_range"].to_pylist() == [time_range]


def test_the_resolution_is_that_of_times_but_not_of_time_start() -> None:
    rows = events(
        store_of(Rec(ts=0), Rec(ts=7 * SECOND, dur=500)), time_granularity=1e3, time_resolution=1e3
    )
    assert (rows[1]["time"], rows[1]["time_start"], rows[1]["time_range"]) == (0.5, 7 * SECOND, 7)


def test_a_resolution_of_zero_gives_infinite_times() -> None:
    row = events(store_of(Rec(dur=5)), time_resolution=0.0)[0]
    assert math.isinf(row["time"])
    assert row["time_range"] == 0


def test_a_width_that_is_not_finite_is_refused() -> None:
    with pytest.raises(QueryError, match="is not finite"):
        events(store_of(Rec()), time_granularity=math.nan)


@pytest.mark.parametrize(
    ("name", "analyzer", "narrow"),
    [
        ("read", 1, 1),
        ("pread64", 1, 6),
        ("preadv2", 1, 6),
        ("write", 2, 2),
        ("pwrite64", 2, 6),
        ("open64", 3, 3),
        ("lseek64", 3, 3),
        ("readdir64", 3, 6),
        ("fork", 4, 6),
        ("shmget", 5, 6),
        ("main", 6, 6),
        ("fsync", 7, 7),
    ],
)
def test_the_category_of_a_function(name: str, analyzer: int, narrow: int) -> None:
    store = store_of(Rec(cat="ANY", name=name))
    assert events(store)[0]["io_cat"] == analyzer
    assert events(store, io_cat_table="0.0.12")[0]["io_cat"] == narrow


def test_a_process_is_named_by_its_host_else_its_hash_else_unknown() -> None:
    tables = HashTables(host={"h": "node1"})
    store = store_of(Rec(hhash="h"), Rec(hhash="x"), Rec(), tables=tables)
    names = [(row["host_name"], row["proc_name"]) for row in events(store)]
    assert names == [("node1", "app#node1#1#1"), ("", "app#x#1#1"), ("", "app#unknown#1#1")]


def test_a_hash_is_resolved_by_the_other_traces_of_the_directory() -> None:
    store = store_of(Rec(fhash="f"))
    store.add_trace([[]], tables=HashTables(file={"f": "/data/a"}))
    assert events(store)[0]["file_name"] == "/data/a"
    alone = dfanalyzer_table(store, store.records[:1], TIER, "events").to_pylist()
    assert alone[0]["file_name"] == ""


def test_a_hash_that_names_two_things_is_resolved_by_its_own_trace_only() -> None:
    store = store_of(Rec(fhash="7", dur=1), tables=HashTables(file={"7": "/a", "8": "/same"}))
    store.add_trace([[Rec(fhash="7", dur=2)]], tables=HashTables(file={"7": "/b", "8": "/same"}))
    store.add_trace([[Rec(fhash="7", dur=4), Rec(fhash="8", dur=8)]])
    rows = [(row["file_hash"], row["file_name"], row["time"] * SECOND) for row in events(store)]
    assert rows == [("7", "/a", 1), ("7", "/b", 2), ("7", "", 4), ("8", "/same", 8)]
    hashes = hash_tables(store, store.records)
    assert hashes.conflict_count == 1
    assert hashes.conflicts["file"] == {"7"}
    assert hashes.merged.file == {"7": "", "8": "/same"}
    grouped = events(store, group_by=["file_name"])
    assert [(row["file_name"], row["count"]) for row in grouped] == [
        ("/a", 1),
        ("/b", 1),
        ("", 1),
        ("/same", 1),
    ]
    assert len(read_aggregation(store, store.records, TIER, "events")) == 2


def test_the_first_name_of_a_hash_in_a_trace_stays_when_it_grows() -> None:
    store = MemoryStore(TIER)
    record = store.add_trace([[Rec(fhash="7")]], [[]])
    for segment, name in zip(record.segments, ("/first", "/later"), strict=True):
        tables = HashTables(file={"7": name, name: name})
        for family, key, value in hash_table_rows(segment.segment_id, tables):
            store.rows[family, key] = value
    hashes = hash_tables(store, store.records)
    assert hashes.own[0].file == {"7": "/first", "/first": "/first", "/later": "/later"}
    assert hashes.conflict_count == 0


def test_a_group_is_merged_over_all_traces() -> None:
    store = store_of(
        Rec(ts=0, dur=100, ret=10),
        Rec(ts=1, dur=300, ret=30),
        Rec(ts=5 * SECOND, dur=50, ret=0),
        Rec(name="close", ts=SECOND, dur=7),
    )
    store.add_trace([[Rec(pid=2, ts=2 * SECOND, dur=1000, ret=70)]])
    reads, closes = events(store, group_by=["func_name"], time_resolution=1.0)
    assert reads == {
        "func_name": "read",
        "count": 4,
        "time": 1450.0,
        "size": 110,
        "time_sq": 400.0**2 + 50.0**2 + 1000.0**2,
        "size_sq": 40.0**2 + 70.0**2,
        "time_min": 50.0,
        "time_max": 1000.0,
        "size_min": 10,
        "size_max": 70,
        "time_call_min": 50.0,
        "time_call_max": 1000.0,
        "size_call_min": 40,
        "size_call_max": 70,
        "time_start": 0,
        "time_end": 5 * SECOND + 50,
    }
    assert closes["func_name"] == "close"
    sizes = [name for name in closes if name.startswith("size")]
    assert {closes[name] for name in sizes} == {None}


def test_group_columns_come_in_the_order_asked_for_without_duplicates() -> None:
    table = dfanalyzer_table(
        (store := store_of(Rec())),
        store.records,
        TIER,
        "events",
        group_by=("time_range", "cat", "time_range"),
    )
    assert table.column_names[:3] == ["time_range", "cat", "count"]


def test_an_empty_group_by_is_none() -> None:
    assert len(events(store_of(Rec()), group_by=[])[0]) == len(FINE_SCHEMA)


@pytest.mark.parametrize("group_by", [["funcname"], ["count"], "cat"])
def test_a_grouping_by_anything_else_is_refused(group_by: Any) -> None:
    with pytest.raises(QueryError, match="group_by"):
        events(store_of(Rec()), group_by=group_by)


def test_rows_without_a_time_are_a_group_of_their_own() -> None:
    rows = events(store_of(Rec(ts=None), Rec(ts=SECOND)), group_by=["time_range"])
    assert [(row["time_range"], row["count"], row["time_start"]) for row in rows] == [
        (None, 1, None),
        (0, 1, 0),
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("cat == 'POSIX'", ["read", "close"]),
        ("func_name == 'main'", ["main"]),
        ("name == 'main'", ["main"]),
        ("file_name == '/data/a' and size > 5", ["read"]),
        ("fhash == 'f' and file_hash == 'f'", ["read"]),
        ("host_name != 'node1'", ["close", "main"]),
        ("hhash == 'h' or host_hash == 'x'", ["read"]),
        ("proc_name == 'app#node1#1#1'", ["read"]),
        ("io_cat in [1, 3]", ["read", "close"]),
        ("acc_pat == 0 and count == 1 and pid == 1 and tid == 1", ["read", "close", "main"]),
        ("time > 0.2 and time_min > 0.2 and time_max > 0.2", ["main"]),
        ("size_min == 10 and size_max == 10 and offset_min == 3 and offset_max == 3", ["read"]),
        ("not (size >= 0)", ["close", "main"]),
        ("time_range == 1", ["main"]),
        (f"time_bucket >= {2 * SECOND}", ["main"]),
        ("time_start > 0 and time_end > 0", ["main"]),
        ("pid == 99", []),
    ],
)
def test_a_query_may_name_every_column(query: str, names: list[str]) -> None:
    store = store_of(
        Rec(ts=SECOND, ret=10, offset=3, fhash="f", hhash="h"),
        Rec(ts=SECOND, name="close"),
        Rec(cat="APP", name="main", ts=2 * SECOND, dur=SECOND // 2),
        tables=HashTables(file={"f": "/data/a"}, host={"h": "node1"}),
    )
    assert [row["func_name"] for row in events(store, query=query)] == names
    groups = events(store, query=query, group_by=["func_name"])
    assert [row["func_name"] for row in groups] == names


def test_a_short_answer_does_not_carry_the_texts_of_other_rows() -> None:
    store = store_of(*(Rec(fhash=f"{n}") for n in range(50)))
    table = dfanalyzer_table(store, store.records, TIER, "events", query="file_hash == '7'")
    column = cast("pa.DictionaryArray[Any, Any]", table["file_hash"].chunk(0))
    assert column.dictionary.to_pylist() == ["7"]


@pytest.mark.parametrize("group_by", [["func_name"], ["cat", "time_range"], ["file_name", "pid"]])
def test_groups_of_real_traces_add_up_to_those_of_the_oracle(
    shared_traces: Path, group_by: list[str]
) -> None:
    store = MemoryStore(TIER)
    records: list[Rec] = []
    files: dict[str, str] = {}
    for path in sorted((shared_traces / "v2" / "mp_fork").glob("*.pfw*")):
        found, tables = real_records(path)
        records += found
        files |= tables.file
        store.add_trace([found], tables=tables)
    rows = aggregate(records, TIER, "events")
    origin = min(key[-1] for key in rows)
    expected: dict[tuple[Any, ...], list[float]] = collections.defaultdict(lambda: [0, 0, 0, 0])
    for (cat, name, pid, _, _, fhash, bucket), row in rows.items():
        values = {
            "cat": cat,
            "func_name": name,
            "pid": pid,
            "file_name": files.get(fhash, ""),
            "time_range": (bucket - origin) // SECOND,
        }
        sums = expected[tuple(values[column] for column in group_by)]
        sums[0] += row.count
        sums[1] += row.dur.total
        sums[2] += row.size.total
        sums[3] += row.dur.total**2
    answer = {
        tuple(row[column] for column in group_by): [
            row["count"],
            row["time"],
            row["size"] or 0,
            row["time_sq"],
        ]
        for row in events(store, group_by=group_by, time_resolution=1.0, time_granularity=SECOND)
    }
    assert answer == dict(expected)
