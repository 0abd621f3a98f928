"""Both ways of reading, side by side: all that is stored must mean the same."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

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
from dftindexd.index.store.layout import AGGREGATION, HASH_TABLES, MANIFEST, SYSTEM_METRICS
from dftindexd.index.tiers.aggregation_schema import batch_from_ipc
from dftindexd.index.tiers.hash_tables import decode_hash_tables
from dftindexd.index.tiers.manifest import decode_manifest

from .parsing import CLOSED_ID, PROVISIONAL_ID

TABLES = (AGGREGATION, SYSTEM_METRICS)


def both_ways(
    path: Path,
    tiers: TierConfig | None = None,
    resume: ResumePoint | None = None,
    facts: TraceFacts | None = None,
) -> tuple[ParsedTrace, ParsedTrace]:
    """Return what the kernel and what the reference make of the trace at *path*."""
    request = ParseRequest(
        path=os.fsencode(path),
        segment_id=CLOSED_ID,
        provisional_id=PROVISIONAL_ID,
        tiers=tiers or TierConfig(aggregation=AggregationTier()),
        resume=resume,
        facts=facts or TraceFacts(),
    )
    return parse_trace(request), parse_trace(request, use_kernel=False)


def assert_same(fast: ParsedTrace, slow: ParsedTrace) -> None:
    """Fail where the two differ in anything but who read a line."""
    assert _without_rows(fast) == _without_rows(slow)
    assert [row[:2] for row in fast.rows] == [row[:2] for row in slow.rows]
    for (family, _, left), (_, _, right) in zip(fast.rows, slow.rows, strict=True):
        if family in TABLES:
            _assert_same_table(left, right)
        elif family == MANIFEST:
            assert decode_manifest(left) == decode_manifest(right)
        elif family == HASH_TABLES:
            assert decode_hash_tables(left) == decode_hash_tables(right)
        else:
            assert left == right, family


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


def _assert_same_table(left: bytes, right: bytes) -> None:
    tables = [_sorted_rows(value) for value in (left, right)]
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


def _sorted_rows(value: bytes) -> list[dict[str, object]]:
    rows = batch_from_ipc(value).to_pylist()
    exact = [name for name in (rows[0] if rows else ()) if not name.endswith(("_sq", "total"))]
    return sorted(rows, key=lambda row: [(row[name] is None, row[name]) for name in exact])
