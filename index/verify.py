"""Whether a store holds what its records say, and whether that is what lies on disk.

A store is verified in a copy of its own (``StoreWriter.copy``), so that nothing is read from the
memory of the one that is open, and commits go on meanwhile. The problems found are values; what is
done about them is decided elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np

from dftindexd.index.errors import StoreDamagedError, TraceGoneError
from dftindexd.index.model import ParsedTrace, SegmentSummary, TierConfig, TraceRecord
from dftindexd.index.query.source import RowSource
from dftindexd.index.scan import stamp_of
from dftindexd.index.store.layout import (
    AGGREGATION,
    CHECKPOINTS,
    CHUNK_BLOOM,
    CHUNK_STATS,
    DEFAULT,
    FILE_BLOOM,
    HASH_TABLES,
    MANIFEST,
    POSTINGS,
    SYSTEM_METRICS,
    completion_marker,
    segment_key,
)
from dftindexd.index.store.registry import Registry, decode_record
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.tier_sets import Sets
from dftindexd.index.tiers.aggregation_schema import quantities, row_schema, sketch_key, tier_key
from dftindexd.index.tiers.bloom import decode_blooms
from dftindexd.index.tiers.checkpoints import decode_checkpoints
from dftindexd.index.tiers.chunk_stats import decode_chunk_details, decode_chunk_stats
from dftindexd.index.tiers.event_order import ORDER_SUFFIX, ChunkOrder, decode_event_order
from dftindexd.index.tiers.frames import decode_frame
from dftindexd.index.tiers.hash_tables import decode_hash_tables
from dftindexd.index.tiers.manifest import ChunkManifest, decode_manifest
from dftindexd.index.tiers.postings import decode_postings, posting_suffix
from dftindexd.index.tiers.sketches import decode_sketches
from dftindexd.index.tiers.system_metrics import METRIC_SCHEMA
from dftindexd.index.trace.resume import still_matches
from dftindexd.index.trace.trace_file import open_trace

__all__ = (
    "Problem",
    "ProblemKind",
    "compare_parse",
    "verify_files",
    "verify_registry",
    "verify_trace",
)

#: What kind of problem: these names are part of the protocol and never change their meaning.
#: ``checksum``: a table's block does not read back; ``missing``: a row or the completion marker is
#: not there; ``unreadable``: a row does not decode; ``wrong``: a row and the record contradict each
#: other; ``replaced``: the file holds another text than was indexed, though its stamp is the same;
#: ``differs``: the file was parsed again and gave something else; ``store``: damage of no trace.
ProblemKind: TypeAlias = Literal[
    "checksum", "missing", "unreadable", "wrong", "replaced", "differs", "store"
]

_Check: TypeAlias = Callable[[SegmentSummary, bytes], None]

_TRACE_PREFIX: Final = b"t"
_CURRENT: Final = re.compile(rb"(MANIFEST-[0-9]{6,})\n")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One problem; ``path`` is relative to the root, and empty where the whole store has it."""

    kind: ProblemKind
    reason: str
    path: bytes = b""
    segments: frozenset[int] = frozenset()


class _Row(msgspec.Struct, frozen=True):
    """A row that every segment of a set has, and what must hold of it."""

    family: str
    suffix: bytes
    check: _Check


def verify_files(path: str) -> list[Problem]:
    """Check that what leads to the tables of the store *path* can be followed at its next opening:
    a copy has this anew."""
    try:
        with open(os.path.join(path, "CURRENT"), "rb") as file:
            text = file.read(256)
        named = _CURRENT.fullmatch(text)
        if named is not None and os.path.exists(os.path.join(path, named[1].decode())):
            return []
        reason = "CURRENT does not name a MANIFEST that is there"
    except OSError as error:
        reason = f"CURRENT cannot be read: {error.strerror}"
    return [Problem(kind="store", reason=reason)]


def verify_registry(rows: RocksStore, registry: Registry) -> list[Problem]:
    """Compare the records in the copy *rows* with *registry*, which was current at its making."""
    try:
        stored = [decode_record(value) for _, value in rows.scan(DEFAULT, _TRACE_PREFIX)]
    except (StoreDamagedError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        return [Problem(kind="store", reason=f"the registry does not read back: {error}")]
    known = {(one.path, one.tiers): one for sets in registry.sets.values() for one in sets}
    if {(one.path, one.tiers): one for one in stored} != known:
        return [Problem(kind="store", reason="the registry is not as it was committed")]
    return []


def verify_trace(rows: RowSource, root: bytes, sets: Sets) -> list[Problem]:
    """Check every row of one trace, and its file below *root* where its stamp is as indexed."""
    problems: list[Problem] = []
    for record in sets:
        if record.quarantined:
            continue
        found = [*_verify_marker(rows, record), *_verify_rows(rows, record)]
        problems += found or _verify_file(root, record)
    return problems


def _verify_marker(rows: RowSource, record: TraceRecord) -> Iterator[Problem]:
    key = completion_marker(record.file_id, record.tiers.digest())
    try:
        (value,) = rows.get_many(AGGREGATION, [key])
    except StoreDamagedError as error:
        yield _problem("checksum", record, record.segments, f"completion marker: {error.message}")
        return
    if value is None:
        yield _problem("missing", record, record.segments, "the completion marker is missing")


def _verify_rows(rows: RowSource, record: TraceRecord) -> Iterator[Problem]:
    for segment in record.segments:
        for expected in _expected(record.tiers, segment):
            problem = _verify_row(rows, record, segment, expected)
            if problem is not None:
                yield problem


def _verify_row(
    rows: RowSource, record: TraceRecord, segment: SegmentSummary, expected: _Row
) -> Problem | None:
    def found(kind: ProblemKind, reason: str) -> Problem:
        return _problem(kind, record, [segment], f"{expected.family}: {reason}")

    try:
        (value,) = rows.get_many(
            expected.family, [segment_key(segment.segment_id, expected.suffix)]
        )
    except StoreDamagedError as error:
        return found("checksum", error.message)
    if value is None:
        return found("missing", "a row is missing")
    try:
        expected.check(segment, value)
    except StoreDamagedError as error:
        return found("unreadable", error.message)
    except _WrongError as error:
        return found("wrong", str(error))
    return None


class _WrongError(Exception):
    """A row contradicts its record."""


def _expected(tiers: TierConfig, segment: SegmentSummary) -> Iterator[_Row]:
    """Yield what a segment of a set with *tiers* holds; ``docs/store-format.md`` says so too."""
    tiers = tiers.normal()
    yield _Row(HASH_TABLES, b"", _reads(decode_hash_tables))
    if tiers.checkpoints:
        yield _Row(CHECKPOINTS, b"", _check_checkpoints)
        yield _Row(CHUNK_STATS, b"", _check_stats)
    if tiers.bloom:
        yield _Row(CHUNK_BLOOM, b"", _reads(decode_blooms))
        if segment.chunks > 1:
            yield _Row(FILE_BLOOM, b"", _reads(decode_blooms))
    if tiers.manifest:
        yield from _expected_manifest()
    for column in tiers.postings:
        yield _Row(POSTINGS, posting_suffix(column), _check_postings)
    if tiers.aggregation is not None:
        tier = tiers.aggregation
        frames: dict[int, int] = {}

        def check_frame(segment: SegmentSummary, value: bytes) -> None:
            frames[segment.segment_id] = decode_frame(row_schema(tier), value).length

        def check_sketches(segment: SegmentSummary, value: bytes) -> None:
            decode_sketches(value, frames.get(segment.segment_id, 0), len(quantities(tier)))

        yield _Row(AGGREGATION, tier_key(tier), check_frame)
        if tier.percentiles:
            yield _Row(AGGREGATION, sketch_key(tier), check_sketches)
        yield _Row(SYSTEM_METRICS, tier_key(tier), _reads(partial(decode_frame, METRIC_SCHEMA)))


def _reads(decode: Callable[[bytes], object]) -> _Check:
    def check(_: SegmentSummary, value: bytes) -> None:
        decode(value)

    return check


def _check_checkpoints(segment: SegmentSummary, value: bytes) -> None:
    chunks = decode_checkpoints(value)
    _require_chunks(segment, len(chunks))
    lines = sum(chunk.num_lines for chunk in chunks)
    if lines != segment.lines.total:
        raise _WrongError(f"chunks of {lines} lines for a segment of {segment.lines.total}")


def _check_stats(segment: SegmentSummary, value: bytes) -> None:
    _require_chunks(segment, len(decode_chunk_stats(value)))
    decode_chunk_details(value)


def _check_postings(segment: SegmentSummary, value: bytes) -> None:
    _require_chunks(segment, len(decode_postings(value)))


def _expected_manifest() -> Iterator[_Row]:
    """Yield the manifest, and the order of events, which has as many of each kind."""
    manifests: dict[int, list[ChunkManifest]] = {}

    def check_manifest(segment: SegmentSummary, value: bytes) -> None:
        manifests[segment.segment_id] = decode_manifest(value)
        _require_chunks(segment, len(manifests[segment.segment_id]))

    def check_order(segment: SegmentSummary, value: bytes) -> None:
        orders = decode_event_order(value)
        _require_chunks(segment, len(orders))
        pairs = zip(orders, manifests.get(segment.segment_id, ()), strict=False)
        if any(_counts_of_order(order) != _counts_of_manifest(one) for order, one in pairs):
            raise _WrongError("other records in order than by kind")

    yield _Row(MANIFEST, b"", check_manifest)
    yield _Row(MANIFEST, ORDER_SUFFIX, check_order)


_Counts: TypeAlias = tuple[dict[tuple[str, str], int], int]


def _counts_of_order(order: ChunkOrder) -> _Counts:
    """Return how many rows of each kind there are, and how many metadata records."""
    counts = np.bincount(order.codes, minlength=len(order.kinds)).tolist()
    of_kinds = dict(zip(order.kinds, counts, strict=False))
    return of_kinds, sum(counts[len(order.kinds) :])


def _counts_of_manifest(manifest: ChunkManifest) -> _Counts:
    return {(kind.cat, kind.name): kind.count for kind in manifest.kinds}, manifest.metadata


def _require_chunks(segment: SegmentSummary, chunks: int) -> None:
    if chunks != segment.chunks:
        raise _WrongError(f"{chunks} chunks for a segment of {segment.chunks}")


def _verify_file(root: bytes, record: TraceRecord) -> list[Problem]:
    """Compare the first and last bytes that were indexed with those on disk. A file whose stamp is
    another is not looked at: that it is indexed anew is somebody else's work."""
    path = os.path.join(root, record.path)
    try:
        if record.resume is None or stamp_of(os.stat(path)) != record.stamp:
            return []
        with open_trace(path) as file:
            if still_matches(file, record.resume):
                return []
    except (OSError, TraceGoneError):
        return []  # whoever watches the disk names it
    reason = "the file holds another text than was indexed, though its stamp is the same"
    return [_problem("replaced", record, record.segments, reason)]


def compare_parse(record: TraceRecord, parsed: ParsedTrace) -> list[Problem]:
    """Compare what the store holds of a trace with what parsing it again gave."""
    if parsed.stamp != record.stamp:
        return []
    stored, found = _totals(record.segments), _totals(parsed.segments)
    differing = [
        f"{name} {ours} instead of {theirs}"
        for name, ours, theirs in zip(_TOTALS, stored, found, strict=True)
        if ours != theirs
    ]
    if not differing:
        return []
    reason = f"parsed again it gives something else: {', '.join(differing)}"
    return [_problem("differs", record, record.segments, reason)]


_TOTALS: Final = ("lines", "readable", "skipped", "bad", "records", "events", "metadata")


def _totals(segments: Iterable[SegmentSummary]) -> list[int]:
    counts = [
        (
            *(one.lines.total, one.lines.ok, one.lines.skipped, one.lines.bad),
            *(one.records, one.complete_events, one.metadata),
        )
        for one in segments
    ]
    return [sum(column) for column in zip(*counts, strict=True)] if counts else [0] * len(_TOTALS)


def _problem(
    kind: ProblemKind, record: TraceRecord, segments: Sequence[SegmentSummary], reason: str
) -> Problem:
    return Problem(
        kind=kind,
        reason=reason,
        path=record.path,
        segments=frozenset(one.segment_id for one in segments),
    )
