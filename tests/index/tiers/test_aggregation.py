"""What the builders of tier 3 store of one segment."""

from __future__ import annotations

import pytest

from dftindexd.index.model import AggregationTier
from dftindexd.index.store.layout import AGGREGATION, SYSTEM_METRICS, segment_key
from dftindexd.index.tiers.aggregation import AggregationBuilder, ascii_lower
from dftindexd.index.tiers.aggregation_schema import batch_from_ipc, row_schema, tier_key
from dftindexd.index.tiers.system_metrics import METRIC_SCHEMA, SystemMetricsBuilder
from dftindexd.index.trace.columns import PHASE_COUNTER, Interner
from tests.index.query.traces import Rec, block

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
    batch = batch_from_ipc(value)
    assert batch.schema == row_schema(TIER)
    assert batch.num_rows == len(records)
    batch.validate(full=True)


@pytest.mark.parametrize("records", [[], [Rec(cat="sys", name="cpu", phase=PHASE_COUNTER)]])
def test_a_segment_has_one_row_of_system_metrics_even_without_samples(records: list[Rec]) -> None:
    texts = Interner()
    builder = SystemMetricsBuilder(TIER)
    builder.add(block(records, texts), texts)
    [(family, key, value)] = builder.rows(3, texts)
    assert (family, key) == (SYSTEM_METRICS, segment_key(3, tier_key(TIER)))
    batch = batch_from_ipc(value)
    assert batch.schema == METRIC_SCHEMA
    assert batch.num_rows == len(records)
    batch.validate(full=True)


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
