"""What the builders of tier 3 store of one segment."""

from __future__ import annotations

import numpy as np
import pytest

from dftindexd.index.model import AggregationTier
from dftindexd.index.sketch import bins_of
from dftindexd.index.store.layout import AGGREGATION, SYSTEM_METRICS, segment_key
from dftindexd.index.tiers.aggregation import AggregationBuilder, ascii_lower
from dftindexd.index.tiers.aggregation_schema import row_schema, sketch_key, tier_key
from dftindexd.index.tiers.groups import UINT64_MAX
from dftindexd.index.tiers.sketches import SKETCH_SCHEMA
from dftindexd.index.tiers.system_metrics import METRIC_SCHEMA, SystemMetricsBuilder
from dftindexd.index.trace.columns import PHASE_COUNTER, Interner
from dftindexd.index.trace.kernel import GroupTable
from dftindexd.index.trace.kernel_layout import (
    G_BUCKET,
    G_COUNT,
    G_DUR,
    G_PID,
    G_SIZE,
    GROUP_SIZE,
)
from tests.index.query.traces import Rec, block

from .reading import frame_rows

TIER = AggregationTier(
    interval_us=1_000_000, group_keys=("epoch", "epoch"), custom_metric_fields=("image_size",)
)


@pytest.mark.parametrize("records", [[], [Rec(args={"epoch": "1"}), Rec()]])
def test_a_segment_has_one_row_of_the_schema_even_without_records(records: list[Rec]) -> None:
    texts = Interner()
    builder = AggregationBuilder(TIER)
    builder.add(block(records, texts), texts)
    [(family, key, value)] = builder.rows(3, texts)
    assert (family, key) == (AGGREGATION, segment_key(3, tier_key(TIER)))
    rows = frame_rows(row_schema(TIER), value)
    assert sorted((row["key:epoch"] or "", row["cat"], row["name"]) for row in rows) == sorted(
        (str(record.args.get("epoch", "")), "posix", "read") for record in records
    )


def test_a_segment_has_a_second_row_with_the_sketches_of_percentiles() -> None:
    tier = AggregationTier(interval_us=1_000_000, percentiles=True)
    texts = Interner()
    builder = AggregationBuilder(tier)
    builder.add(block([Rec(dur=5), Rec(dur=5), Rec(pid=2, dur=1)], texts), texts)
    rows, (family, key, value) = builder.rows(3, texts)
    assert rows[:2] == (AGGREGATION, segment_key(3, tier_key(tier)))
    assert (family, key) == (AGGREGATION, segment_key(3, sketch_key(tier)))
    fives, one = bins_of(np.array([5, 1])).tolist()
    assert frame_rows(SKETCH_SCHEMA, value) == [
        {"quantity": 0, "row": 0, "bin": fives, "samples": 2},
        {"quantity": 0, "row": 1, "bin": one, "samples": 1},
    ]


@pytest.mark.parametrize("records", [[], [Rec(cat="sys", name="cpu", phase=PHASE_COUNTER)]])
def test_a_segment_has_one_row_of_system_metrics_even_without_samples(records: list[Rec]) -> None:
    texts = Interner()
    builder = SystemMetricsBuilder(TIER)
    builder.add(block(records, texts), texts)
    [(family, key, value)] = builder.rows(3, texts)
    assert (family, key) == (SYSTEM_METRICS, segment_key(3, tier_key(TIER)))
    rows = frame_rows(METRIC_SCHEMA, value)
    assert [(row["name"], row["metric"], row["samples"]) for row in rows] == [
        ("cpu", "", 1) for _ in records
    ]


def _grouped(texts: Interner) -> GroupTable:
    """Return two keys, of which only the second has sizes, and none has offsets."""
    fields = np.zeros((GROUP_SIZE, 2), np.int64)
    fields[G_PID], fields[G_BUCKET], fields[G_COUNT] = (7, 8), (3, 2), (1, 2)
    fields[G_DUR : G_DUR + 4] = [[1, 2], [5, 9], [5, 4], [5, 5]]
    fields[G_SIZE : G_SIZE + 4, 1] = (1, 6, 6, 6)
    cat, name = (
        np.array([texts.code(text) for text in pair], np.int32)
        for pair in (("POSIX", "STDIO"), ("read", "fread"))
    )
    nothing = np.zeros(2, np.int32)
    return GroupTable(cat, name, nothing, nothing, fields, np.zeros((3, 2)), distinct=True)


@pytest.mark.parametrize("times", [1, 2])
def test_events_that_were_grouped_are_rows_and_merge_with_others(times: int) -> None:
    tier, texts = AggregationTier(), Interner()
    builder = AggregationBuilder(tier)
    for _ in range(times):
        builder.add_groups(_grouped(texts), texts)
    assert (builder.min_bucket, builder.held > 0) == (2, True)
    [(_, _, value)] = builder.rows(3, texts)
    first, second = frame_rows(row_schema(tier), value)
    assert (first["kind"], first["cat"], first["name"], first["pid"]) == (0, "posix", "read", 7)
    assert (second["kind"], second["cat"], second["name"], second["pid"]) == (
        0,
        "stdio",
        "fread",
        8,
    )
    assert (first["dur_count"], first["dur_total"]) == (times, 5 * times)
    assert (first["dur_min"], first["dur_max"]) == (5, 5)
    assert (first["size_count"], first["size_min"], first["size_max"]) == (0, UINT64_MAX, 0)
    assert (second["size_count"], second["size_min"], second["size_max"]) == (times, 6, 6)
    assert {row["offset_min"] for row in (first, second)} == {UINT64_MAX}
    builder.add(block([Rec(ts=0)], texts), texts)
    [(_, _, value)] = builder.rows(3, texts)
    assert len(frame_rows(row_schema(tier), value)) == 3


def test_a_key_of_the_configuration_differs_with_each_of_its_settings() -> None:
    tiers = [
        AggregationTier(),
        AggregationTier(interval_us=1),
        AggregationTier(bucket_by="start"),
        AggregationTier(group_keys=("epoch",)),
        AggregationTier(custom_metric_fields=("epoch",)),
    ]
    assert len({tier_key(tier) for tier in tiers}) == len(tiers)


def test_the_smallest_bucket_is_known_only_of_records_with_a_time() -> None:
    texts = Interner()
    builder = AggregationBuilder(TIER)
    assert builder.min_bucket is None
    builder.add(block([Rec(ts=None)], texts), texts)
    assert builder.min_bucket is None
    builder.add(block([Rec(ts=5_000_001), Rec(ts=3_000_001)], texts), texts)
    assert builder.min_bucket == 3_000_000


def test_building_leaves_the_texts_of_the_segment_as_they_are() -> None:
    texts = Interner()
    records = block([Rec(cat="POSIX", args={"epoch": "1", "image_size": 3})], texts)
    before = list(texts.texts)
    builder = AggregationBuilder(TIER)
    builder.add(records, texts)
    builder.rows(1, texts)
    assert texts.texts == before


@pytest.mark.parametrize(
    ("text", "lowered"), [("POSIX", "posix"), ("POSIXÉ", "posixÉ"), ("İZ", "İz"), ("", "")]
)
def test_only_ascii_letters_are_lowered(text: str, lowered: str) -> None:
    assert ascii_lower(text) == lowered
