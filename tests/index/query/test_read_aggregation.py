"""The aggregation tier against a slow oracle: made records, real traces, and exact examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import CoreError, StoreDamagedError
from dftindexd.index.model import AggregationTier, ParseRequest, TierConfig
from dftindexd.index.query.aggregation import Kind, dfanalyzer_table, read_aggregation
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import AGGREGATION, HASH_TABLES, SYSTEM_METRICS
from dftindexd.index.tiers import groups
from dftindexd.index.trace.columns import (
    PHASE_AGGREGATED,
    PHASE_COMPLETE,
    PHASE_COUNTER,
    PHASE_OTHER,
)
from tests.index.query.oracle import Key, expected_rows
from tests.index.query.traces import MemoryStore, Rec, real_records

KINDS: tuple[Kind, ...] = ("events", "profiles", "system")
SECOND = 1_000_000
TIER = AggregationTier(interval_us=SECOND)

_small = st.integers(-2, 40)


@st.composite
def _args(draw: st.DrawFn) -> dict[str, int | float | str]:
    """Return a counter's arguments: any of least <= greatest <= total for each quantity."""
    args: dict[str, int | float | str] = {}
    for name in ("dur", "ret", "offset"):
        least = draw(_small)
        greatest = least + draw(st.integers(0, 9))
        total = greatest + draw(st.one_of(st.integers(0, 90), st.floats(0, 90)))
        statistics = {"_min": least, "_max": greatest, "_sum": total}
        for suffix in draw(st.lists(st.sampled_from(sorted(statistics)), max_size=3, unique=True)):
            args[name + suffix] = statistics[suffix]
    other = st.sampled_from(["dft_cnt", "user_pct"])
    return args | draw(st.dictionaries(other, st.one_of(_small, st.just("text"))))


_records = st.builds(
    Rec,
    cat=st.sampled_from(["POSIX", "posix", "STDIO", "sys", "SYS", "É", "APP", ""]),
    name=st.sampled_from(["read", "write", "close", "cpu", ""]),
    phase=st.sampled_from([PHASE_COMPLETE, PHASE_COUNTER, PHASE_AGGREGATED, PHASE_OTHER]),
    pid=st.sampled_from([0, 1, 2**64 - 1]),
    tid=st.sampled_from([0, 7, 2**40]),
    ts=st.one_of(st.none(), st.integers(0, 3 * SECOND), st.sampled_from([SECOND, 2 * SECOND])),
    dur=st.integers(0, 2 * SECOND),
    hhash=st.sampled_from(["", "h"]),
    fhash=st.sampled_from(["", "f", "g"]),
    ret=st.one_of(st.none(), _small),
    offset=st.one_of(st.none(), _small),
    count=st.one_of(st.none(), _small),
    args=_args(),
)
_blocks = st.lists(st.lists(_records, max_size=6), max_size=3)
_traces = st.lists(st.lists(_blocks, min_size=1, max_size=2), max_size=3)


def rows_of(table: pa.Table) -> dict[Key, dict[str, Any]]:
    """Return the rows of a table by key; a key that occurs twice fails the test."""
    keys = ("cat", "name", "pid", "tid", "hhash", "fhash", "time_bucket")
    rows: dict[Key, dict[str, Any]] = {}
    for row in table.to_pylist():
        row.pop("batch_type")
        key = tuple(row.pop(name) for name in keys)
        assert key not in rows
        rows[key] = row
    return rows


def assert_rows(table: pa.Table, expected: dict[Key, Any]) -> None:
    rows = rows_of(table)
    assert rows.keys() == expected.keys()
    for key, values in expected.items():
        for name, value in values.items():
            if isinstance(value, float):
                value = pytest.approx(value, rel=1e-9, abs=1e-3)
            assert rows[key][name] == value, (key, name)


def one_row(*records: Rec, kind: Kind = "events", tier: AggregationTier = TIER) -> dict[str, Any]:
    """Return the only row that *records* give."""
    store = MemoryStore(tier)
    store.add_trace([records])
    rows: list[dict[str, Any]] = read_aggregation(store, store.records, tier, kind).to_pylist()
    assert len(rows) == 1
    return rows[0]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_traces, st.sampled_from([0, 1, SECOND]), st.sampled_from(["midpoint", "start"]))
def test_any_split_into_traces_segments_and_blocks_gives_the_rows_of_the_oracle(
    traces: list[list[list[list[Rec]]]], interval: int, bucket_by: Any
) -> None:
    tier = AggregationTier(interval_us=interval, bucket_by=bucket_by)
    store = MemoryStore(tier)
    for segments in traces:
        store.add_trace(*segments)
    records = [r for segments in traces for blocks in segments for block in blocks for r in block]
    for kind in KINDS:
        table = read_aggregation(store, store.records, tier, kind)
        assert_rows(table, expected_rows(records, tier, kind))


@pytest.mark.parametrize(
    "folder",
    ["v2/mp_fork", "v2/agg_sel", "v2/agg_full", "v2/v203_agg", "v2/service", "v2/v210_service"],
)
def test_real_traces_give_the_rows_of_the_oracle(shared_traces: Path, folder: str) -> None:
    store = MemoryStore(TIER)
    everything: list[Rec] = []
    for path in sorted((shared_traces / folder).glob("*.pfw*")):
        records, tables = real_records(path)
        everything += records
        half = len(records) // 2
        store.add_trace([records[:half]], [records[half:]], tables=tables)
    assert everything
    for kind in KINDS:
        table = read_aggregation(store, store.records, TIER, kind)
        assert_rows(table, expected_rows(everything, TIER, kind))


@pytest.mark.parametrize("folder", ["v2/mp_fork", "v2/agg_sel", "v2/v203_agg", "v2/service"])
def test_real_traces_read_by_the_parser_give_the_rows_of_the_oracle(
    shared_traces: Path, folder: str
) -> None:
    store = MemoryStore(TIER)
    everything: list[Rec] = []
    for number, path in enumerate(sorted((shared_traces / folder).glob("*.pfw*"))):
        everything += real_records(path)[0]
        request = ParseRequest(
            path=bytes(path),
            segment_id=2 * number,
            provisional_id=2 * number + 1,
            tiers=TierConfig(aggregation=TIER),
        )
        store.add_parsed(parse_trace(request))
    for kind in KINDS:
        table = read_aggregation(store, store.records, TIER, kind)
        assert_rows(table, expected_rows(everything, TIER, kind))


def test_many_blocks_of_many_keys_are_merged_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_MERGE_AT_LEAST", 100)
    records = [Rec(pid=n % 300, dur=n, ret=n, offset=n) for n in range(3_000)]
    store = MemoryStore(TIER)
    store.add_trace([records[at : at + 200] for at in range(0, len(records), 200)])
    assert_rows(
        read_aggregation(store, store.records, TIER, "events"),
        expected_rows(records, TIER, "events"),
    )


def test_an_event_is_in_the_bucket_of_its_midpoint() -> None:
    row = one_row(Rec(ts=10_999_999, dur=10))
    assert row["time_bucket"] == 11_000_000
    assert (row["ts"], row["te"]) == (10_999_999, 11_000_009)


def test_an_event_is_in_the_bucket_of_its_start_where_the_tier_says_so() -> None:
    tier = AggregationTier(interval_us=SECOND, bucket_by="start")
    assert one_row(Rec(ts=10_999_999, dur=10), tier=tier)["time_bucket"] == 10_000_000


def test_a_counter_at_a_boundary_reports_the_bucket_before() -> None:
    counter = Rec(phase=PHASE_COUNTER, ts=5 * SECOND, args={"dft_cnt": 3})
    row = one_row(counter, kind="profiles")
    assert row["time_bucket"] == 4 * SECOND
    assert (row["ts"], row["te"]) == (5 * SECOND, 6 * SECOND)
    assert row["count"] == 3


def test_a_counter_at_time_zero_is_not_shifted() -> None:
    row = one_row(Rec(phase=PHASE_COUNTER, ts=0), kind="profiles")
    assert row["time_bucket"] == 0


def test_an_aggregated_record_stays_in_the_bucket_that_it_begins() -> None:
    row = one_row(Rec(phase=PHASE_AGGREGATED, ts=5 * SECOND, args={"dft_cnt": 3}), kind="profiles")
    assert row["time_bucket"] == 5 * SECOND


def test_the_deviation_is_that_of_the_sample() -> None:
    row = one_row(*(Rec(dur=dur, ret=dur) for dur in (100, 300, 200)))
    assert row["dur_mean"] == row["size_mean"] == 200
    assert row["dur_std"] == row["size_std"] == pytest.approx(100)


def test_the_deviation_of_one_sample_is_zero() -> None:
    assert one_row(Rec(dur=100))["dur_std"] == 0.0


def test_the_deviation_of_counters_is_null() -> None:
    counter = Rec(phase=PHASE_COUNTER, args={"dft_cnt": 4, "dur_sum": 40, "dur_min": 1})
    row = one_row(counter, kind="profiles")
    assert row["dur_std"] is None
    assert row["size_std"] == 0.0
    assert (row["dur_total"], row["dur_mean"], row["dur_min"], row["dur_max"]) == (40, 10, 1, 40)


def test_a_counter_with_bounds_only_has_no_total_and_no_samples() -> None:
    bounds = Rec(phase=PHASE_COUNTER, args={"dft_cnt": 4, "dur_min": 3, "dur_max": 9})
    total = Rec(phase=PHASE_COUNTER, args={"dft_cnt": 2, "dur_sum": 10})
    row = one_row(bounds, total, kind="profiles")
    assert row["count"] == 6
    assert (row["dur_total"], row["dur_mean"]) == (10, 5)
    assert (row["dur_min"], row["dur_max"]) == (3, 10)


def test_the_size_of_a_counter_needs_no_transfer() -> None:
    counter = Rec(name="close", phase=PHASE_COUNTER, args={"ret_sum": 4096})
    assert one_row(counter, kind="profiles")["size_total"] == 4096


@pytest.mark.parametrize(
    ("record", "samples"),
    [
        (Rec(ret=4096), True),
        (Rec(cat="stdio", name="fwrite", ret=4096), True),
        (Rec(cat="Posix", name="copy_file_range", ret=4096), True),
        (Rec(ret=-1), False),
        (Rec(ret=None), False),
        (Rec(name="lseek64", ret=4096), False),
        (Rec(cat="APP", ret=4096), False),
    ],
)
def test_only_a_transfer_that_did_not_fail_has_a_size(record: Rec, samples: bool) -> None:
    row = one_row(record)
    assert row["size_total"] == (4096 if samples else 0)
    assert row["size_mean"] == (4096.0 if samples else 0.0)


def test_a_failed_transfer_does_not_lower_the_smallest_size() -> None:
    assert one_row(Rec(ret=4096), Rec(ret=-1))["size_min"] == 4096


def test_an_offset_of_any_call_is_kept_and_zero_is_one() -> None:
    row = one_row(Rec(cat="APP", name="open", offset=0))
    assert (row["offset_min"], row["offset_max"], row["offset_std"]) == (0, 0, 0.0)


def test_offsets_that_were_never_recorded_are_null() -> None:
    row = one_row(Rec())
    offsets = {name: value for name, value in row.items() if name.startswith("offset_")}
    assert set(offsets.values()) == {None}


def test_only_ascii_letters_of_a_category_are_lowered_and_spellings_merge() -> None:
    assert one_row(Rec(cat="POSIXÉ"))["cat"] == "posixÉ"
    assert one_row(Rec(cat="POSIX"), Rec(cat="posix"))["count"] == 2


def test_a_record_without_a_time_has_no_bucket_and_no_part_in_the_origin() -> None:
    store = MemoryStore(TIER)
    store.add_trace([[Rec(ts=None, dur=5), Rec(ts=7 * SECOND)]])
    assert store.records[0].segments[0].min_bucket == 7 * SECOND
    table = read_aggregation(store, store.records, TIER, "events")
    timeless = [row for row in table.to_pylist() if row["time_bucket"] is None]
    assert [(row["count"], row["dur_total"], row["ts"], row["te"]) for row in timeless] == [
        (1, 5, None, None)
    ]
    fine = dfanalyzer_table(store, store.records, TIER, "events").to_pylist()
    assert [(r["time_range"], r["time_start"], r["time_end"]) for r in fine] == [
        (None, None, None),
        (0, 0, 0),
    ]


def test_counters_of_sys_with_a_count_are_system_rows_and_other_spellings_profiles() -> None:
    store = MemoryStore(TIER)
    folded = Rec(cat="sys", name="cpu", phase=PHASE_COUNTER, ts=5 * SECOND)
    store.add_trace(
        [
            [
                Rec(**{**vars(folded), "count": 2}),
                Rec(**{**vars(folded), "args": {"dft_cnt": 3}}),
                Rec(**{**vars(folded), "cat": "SYS"}),
                Rec(**{**vars(folded), "args": {"user_pct": 1.5}}),
            ]
        ]
    )
    system = read_aggregation(store, store.records, TIER, "system").to_pylist()
    assert [(row["count"], row["time_bucket"]) for row in system] == [(5, 5 * SECOND)]
    profiles = read_aggregation(store, store.records, TIER, "profiles").to_pylist()
    assert [(row["cat"], row["count"]) for row in profiles] == [("sys", 1)]


def test_totals_beyond_64_bits_stop_at_the_greatest_number() -> None:
    row = one_row(
        *(Rec(dur=2**63 - 1, ts=0) for _ in range(3)), tier=AggregationTier(interval_us=0)
    )
    assert row["dur_total"] == 2**64 - 1
    assert row["dur_max"] == 2**63 - 1


def test_large_totals_are_exact() -> None:
    durations = (2**61 + 1, 2**61 + 3, 2**60 + 5)
    row = one_row(
        *(Rec(dur=dur, ts=0) for dur in durations), tier=AggregationTier(interval_us=2**62)
    )
    assert row["dur_total"] == sum(durations)


def test_group_keys_and_custom_metrics_are_columns() -> None:
    tier = AggregationTier(
        interval_us=SECOND, group_keys=("epoch", "name"), custom_metric_fields=("image_size",)
    )
    store = MemoryStore(tier)
    epoch: dict[str, int | float | str] = {"epoch": "1", "image_size": 10}
    store.add_trace(
        [
            [
                Rec(args=epoch),
                Rec(args={**epoch, "image_size": 30}),
                Rec(args={"epoch": 1}),
                Rec(args={"name": "x"}),
            ]
        ]
    )
    rows = read_aggregation(store, store.records, tier, "events").to_pylist()
    names = ("epoch", "args.name", "count", "image_size_total", "image_size_max", "image_size_mean")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("1", None, 2, 40, 30, 20.0),
        (None, None, 1, None, None, None),
        (None, "x", 1, None, None, None),
    ]
    assert rows[0]["image_size_std"] == pytest.approx(200**0.5)
    fine = dfanalyzer_table(store, store.records, tier, "events", query="image_size_total >= 40")
    assert fine.select(["epoch", "image_size_total"]).to_pylist() == [
        {"epoch": "1", "image_size_total": 40}
    ]
    grouped = dfanalyzer_table(store, store.records, tier, "events", group_by=["args.name"])
    assert grouped.select(["args.name", "count", "image_size_total"]).to_pylist() == [
        {"args.name": None, "count": 3, "image_size_total": 40},
        {"args.name": "x", "count": 1, "image_size_total": None},
    ]


def test_a_custom_metric_of_a_counter_stands_for_its_calls() -> None:
    tier = AggregationTier(interval_us=SECOND, custom_metric_fields=("step", "ret"))
    args: dict[str, int | float | str] = {"dft_cnt": 4, "step_sum": 20, "ret_sum": 8}
    row = one_row(Rec(phase=PHASE_COUNTER, args=args), kind="profiles", tier=tier)
    assert (row["step_total"], row["step_mean"], row["step_std"]) == (20, 5.0, None)
    assert row["ret_total"] == row["size_total"] == 8


@pytest.mark.parametrize("family", [AGGREGATION, HASH_TABLES, SYSTEM_METRICS])
def test_a_missing_row_is_damage_that_names_the_trace(family: str) -> None:
    store = MemoryStore(TIER)
    store.add_trace([[Rec()]], path=b"whole.pfw")
    store.add_trace([[Rec()]], path=b"hurt.pfw")
    keys = [key for key in store.rows if key[0] == family]
    del store.rows[keys[-1]]
    with pytest.raises(StoreDamagedError, match=rf"hurt\.pfw: {family}: a row is missing"):
        dfanalyzer_table(
            store, store.records, TIER, "system" if family == SYSTEM_METRICS else "events"
        )


@pytest.mark.parametrize("family", [AGGREGATION, HASH_TABLES])
@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"\x93"])
def test_a_row_that_does_not_decode_is_damage(family: str, value: bytes) -> None:
    store = MemoryStore(TIER)
    store.add_trace([[Rec()]], path=b"hurt.pfw")
    for key in store.rows:
        if key[0] == family:
            store.rows[key] = value
    with pytest.raises(StoreDamagedError, match=r"hurt\.pfw"):
        dfanalyzer_table(store, store.records, TIER, "events")


def test_every_cut_of_a_stored_row_is_damage_and_never_a_short_answer() -> None:
    store = MemoryStore(TIER)
    store.add_trace([[Rec(pid=pid) for pid in range(50)]], path=b"hurt.pfw")
    key = next(key for key in store.rows if key[0] == AGGREGATION)
    value = store.rows[key]
    for length in range(0, len(value), 97):
        store.rows[key] = value[:length]
        with pytest.raises(StoreDamagedError, match=r"hurt\.pfw"):
            read_aggregation(store, store.records, TIER, "events")


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        (AggregationTier(interval_us=-1), "interval is negative"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(
    tier: AggregationTier, message: str
) -> None:
    with pytest.raises(CoreError, match=message):
        MemoryStore(tier).add_trace([[Rec()]])


def test_no_traces_give_an_empty_table_with_all_columns() -> None:
    store = MemoryStore(TIER)
    empty = read_aggregation(store, (), TIER, "events")
    store.add_trace([[Rec()]])
    full = read_aggregation(store, store.records, TIER, "events")
    assert empty.schema == full.schema
    assert empty.num_rows == 0


def _names(table: pa.Table) -> Sequence[str]:
    return table.column_names


def test_the_columns_are_those_of_the_reference_and_the_offsets() -> None:
    store = MemoryStore(TIER)
    names = _names(read_aggregation(store, (), TIER, "events"))
    quantities = [
        f"{quantity}_{suffix}"
        for quantity in ("dur", "size", "offset")
        for suffix in ("total", "min", "max", "mean", "std")
    ]
    assert names == [
        *("batch_type", "cat", "name", "pid", "tid", "hhash", "fhash", "time_bucket", "count"),
        *quantities,
        *("ts", "te"),
    ]
