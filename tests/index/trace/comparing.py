"""Both ways of reading, side by side: all that is stored must mean the same."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from dftindexd.index.model import (
    AggregationTier,
    LineCounts,
    ParsedTrace,
    ParseRequest,
    ResumePoint,
    TierConfig,
    TraceFacts,
)
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import (
    AGGREGATION,
    CHUNK_STATS,
    HASH_TABLES,
    MANIFEST,
    SYSTEM_METRICS,
)
from dftindexd.index.tiers.aggregation_schema import row_schema, sketch_key, tier_key
from dftindexd.index.tiers.chunk_stats import decode_chunk_details, decode_chunk_stats
from dftindexd.index.tiers.event_order import ORDER_SUFFIX, ChunkOrder, decode_event_order
from dftindexd.index.tiers.frames import FrameSchema
from dftindexd.index.tiers.hash_tables import decode_hash_tables
from dftindexd.index.tiers.manifest import decode_manifest
from dftindexd.index.tiers.sketches import SKETCH_SCHEMA
from dftindexd.index.tiers.system_metrics import METRIC_SCHEMA
from tests.index.tiers.reading import frame_rows

from .parsing import CLOSED_ID, PROVISIONAL_ID

TABLES = (AGGREGATION, SYSTEM_METRICS)

_NONE = np.zeros(0, np.uint32)

#: What the rows of each configuration that was parsed with consist of, by family and key.
_SCHEMAS: dict[tuple[str, bytes], FrameSchema] = {}


def both_ways(
    path: Path,
    tiers: TierConfig | None = None,
    resume: ResumePoint | None = None,
    facts: TraceFacts | None = None,
) -> tuple[ParsedTrace, ParsedTrace]:
    """Return what the kernel and what the reference make of the trace at *path*."""
    tiers = tiers or TierConfig(aggregation=AggregationTier())
    if tiers.aggregation:
        key = tier_key(tiers.aggregation)
        _SCHEMAS[AGGREGATION, key] = row_schema(tiers.aggregation)
        _SCHEMAS[AGGREGATION, sketch_key(tiers.aggregation)] = SKETCH_SCHEMA
        _SCHEMAS[SYSTEM_METRICS, key] = METRIC_SCHEMA
    request = ParseRequest(
        path=os.fsencode(path),
        segment_id=CLOSED_ID,
        provisional_id=PROVISIONAL_ID,
        tiers=tiers,
        resume=resume,
        facts=facts or TraceFacts(),
    )
    return parse_trace(request), parse_trace(request, use_kernel=False)


def assert_same(fast: ParsedTrace, slow: ParsedTrace) -> None:
    """Fail where the two differ in anything but who read a line."""
    assert _without_rows(fast) == _without_rows(slow)
    assert [row[:2] for row in fast.rows] == [row[:2] for row in slow.rows]
    for (family, key, left), (_, _, right) in zip(fast.rows, slow.rows, strict=True):
        if family in TABLES:
            _assert_same_table(_SCHEMAS[family, key[8:]], left, right)
        elif key.endswith(ORDER_SUFFIX):
            assert_same_order(decode_event_order(left), decode_event_order(right))
        elif family == MANIFEST:
            assert decode_manifest(left) == decode_manifest(right)
        elif family == CHUNK_STATS:
            _assert_same_stats(left, right)
        elif family == HASH_TABLES:
            assert decode_hash_tables(left) == decode_hash_tables(right)
        else:
            assert left == right, family


def assert_same_order(left: list[ChunkOrder], right: list[ChunkOrder]) -> None:
    """Fail where the orders of two segments differ."""
    for one, other in zip(left, right, strict=True):
        assert one._replace(codes=_NONE) == other._replace(codes=_NONE)
        assert one.codes.tolist() == other.codes.tolist()


def _assert_same_stats(left: bytes, right: bytes) -> None:
    assert decode_chunk_stats(left) == decode_chunk_stats(right)
    pairs = zip(decode_chunk_details(left), decode_chunk_details(right), strict=True)
    for one, other in pairs:
        assert one.hashes == other.hashes
        fast, slow = one.distributions, other.distributions
        assert (fast.times, fast.threads) == (slow.times, slow.threads)
        assert fast.durations.keys() == slow.durations.keys()
        for key, (count, total, squares) in fast.durations.items():
            assert (count, total) == slow.durations[key][:2], key
            assert math.isclose(squares, slow.durations[key][2], rel_tol=1e-12), key


def fast_lines(parses: Iterable[ParsedTrace]) -> LineCounts:
    """Return the line counts of all *parses*."""
    counts = (segment.lines for parsed in parses for segment in parsed.segments)
    return sum(counts, LineCounts())


def _without_rows(parsed: ParsedTrace) -> ParsedTrace:
    replace = msgspec.structs.replace
    segments = tuple(
        replace(segment, lines=replace(segment.lines, fast=0)) for segment in parsed.segments
    )
    return replace(parsed, rows=(), segments=segments)


def _assert_same_table(schema: FrameSchema, left: bytes, right: bytes) -> None:
    tables = [_sorted_rows(schema, value) for value in (left, right)]
    assert len(tables[0]) == len(tables[1])
    for one, other in zip(*tables, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert _same(one[name], other[name]), (name, one, other)


def _same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        both_unknown = math.isnan(left) and math.isnan(right)
        return both_unknown or math.isclose(left, right, rel_tol=1e-12)
    return left == right


def _sorted_rows(schema: FrameSchema, value: bytes) -> list[dict[str, object]]:
    rows = frame_rows(schema, value)
    exact = [name for name in (rows[0] if rows else ()) if not name.endswith(("_sq", "total"))]
    return sorted(rows, key=lambda row: [(row[name] is None, row[name]) for name in exact])
