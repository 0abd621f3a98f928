"""A segment has one set of rows, under its own id, as its tiers are configured."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from dftindexd.index.model import AggregationTier, ParseRequest, TierConfig
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import segment_bounds
from dftindexd.index.tiers.chunk_stats import decode_chunk_stats
from dftindexd.index.tiers.hash_tables import decode_hash_tables
from dftindexd.index.tiers.manifest import decode_manifest

from .parsing import CLOSED_ID, PROVISIONAL_ID, event, gzip_member, lines_of, parse

#: The bytes of a segment's id.
_SEGMENT = 8

_ALWAYS = {"checkpoints": 1, "hash_tables": 1, "chunk_stats": 1}


@pytest.mark.parametrize(
    ("tiers", "families"),
    [
        (TierConfig(bloom=False, manifest=False, aggregation=None), {}),
        (
            TierConfig(aggregation=None),
            {"manifest": 2, "chunk_bloom": 1},
        ),
        (
            TierConfig(bloom=False, manifest=False, aggregation=AggregationTier()),
            {"aggregation": 1, "system_metrics": 1},
        ),
    ],
)
def test_every_segment_has_the_rows_of_its_tiers(
    tmp_path: Path, tiers: TierConfig, families: dict[str, int]
) -> None:
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(gzip_member(lines_of(b"[", event(), event()) + b"]"))
    parsed = parse_trace(
        ParseRequest(
            path=os.fsencode(path),
            segment_id=CLOSED_ID,
            provisional_id=PROVISIONAL_ID,
            tiers=tiers,
        )
    )
    assert [segment.segment_id for segment in parsed.segments] == [CLOSED_ID, PROVISIONAL_ID]
    for segment in parsed.segments:
        low, high = segment_bounds(segment.segment_id)
        rows = [row for row in parsed.rows if low <= row[1] < high]
        assert Counter(family for family, _, _ in rows) == Counter({**_ALWAYS, **families})
    assert len({(family, key) for family, key, _ in parsed.rows}) == len(parsed.rows)


def test_the_smallest_bucket_is_in_the_summary(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(lines_of(event(ts=12_000_000), event(ts=7_000_000), b'{"ph":1,"name":"n"}'))
    parsed = parse(path, aggregation=AggregationTier(interval_us=5_000_000))
    assert parsed.segments[0].min_bucket == 5_000_000
    assert parse(path).segments[0].min_bucket is None


def test_chunks_of_a_segment_have_their_own_manifest_and_statistics(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(
        gzip_member(lines_of(event("open", ts=100), event("read", ts=200)))
        + gzip_member(lines_of(event("write", ts=300)))
    )
    parsed = parse(path, chunk_bytes=100)
    (segment,) = parsed.segments
    values = {family: value for family, key, value in parsed.rows if len(key) == _SEGMENT}
    kinds = [[kind.name for kind in chunk.kinds] for chunk in decode_manifest(values["manifest"])]
    assert kinds == [["open", "read"], ["write"]]
    bounds = [(stats.min_ts, stats.max_ts) for stats in decode_chunk_stats(values["chunk_stats"])]
    assert bounds == [(100, 200), (300, 300)]
    assert segment.chunks == 2


def test_what_was_ignored_or_changed_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(lines_of(event(ts=-1), b'{"name":"no phase"}', b"garbage"))
    (segment,) = parse(path).segments
    assert segment.warnings == ("records without ph ignored: 1", "numbers out of range clamped: 1")
    assert (segment.lines.ok, segment.lines.skipped, segment.lines.bad) == (1, 1, 1)
    assert segment.bad_lines[0].sample == b"garbage"


def test_generations_may_be_mixed_in_one_trace(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(
        lines_of(
            b'{"name":"a","cat":"c","pid":"1","tid":"1","ts":"5","dur":"1","ph":"X",'
            b'"args":{"hostname":"old"}}',
            b'{"id":2,"name":"HH","cat":"dftracer","pid":1,"tid":1,"ph":"M",'
            b'"args":{"name":"mid","value":5692}}',
            event(),
        )
    )
    parsed = parse(path)
    (segment,) = parsed.segments
    assert (segment.records, segment.complete_events, segment.metadata) == (3, 2, 1)
    assert parsed.facts.generation == "v0"
    tables = decode_hash_tables({family: value for family, _, value in parsed.rows}["hash_tables"])
    assert sorted(tables.host.values()) == ["mid", "old"]
