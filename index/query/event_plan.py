"""Which chunks of which traces a query has to read, from the rows of tiers 1 and 2 alone.

:func:`plan_events` looks at a segment's own filters first, then at its chunks'. What is passed over
is counted by the reason that :mod:`pruning` gives. No file of a trace is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import msgspec

from dftindexd.index.model import FileStamp, ResumePoint, SegmentSummary, TraceRecord
from dftindexd.index.query.event_filter import (
    EventFilter,
    check_fields,
    compile_filter,
    fields_of,
)
from dftindexd.index.query.filter import Expression, parse_filter
from dftindexd.index.query.given_up import require_wanted
from dftindexd.index.query.normal_form import Predicates, both, tree_of
from dftindexd.index.query.pruning import ChunkFacts, prune
from dftindexd.index.query.source import RowSource, owned_rows, segment_rows
from dftindexd.index.store.layout import (
    CHECKPOINTS,
    CHUNK_BLOOM,
    CHUNK_STATS,
    FILE_BLOOM,
    MANIFEST,
    POSTINGS,
    segment_key,
)
from dftindexd.index.tiers.bloom import Blooms, decode_blooms
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.tiers.chunk_stats import ChunkStats, decode_chunk_stats, merge_chunk_stats
from dftindexd.index.tiers.manifest import ChunkManifest, decode_manifest
from dftindexd.index.tiers.postings import ColumnValues, decode_postings, posting_suffix
from dftindexd.index.trace.lines import Lines

__all__ = (
    "EventQuery",
    "Explanation",
    "Range",
    "TraceChunks",
    "TraceExplanation",
    "TracePlan",
    "plan_events",
    "tier_of",
)

#: The first, and the one after the last.
Range: TypeAlias = tuple[int, int]

#: How the reasons of each tier begin.
_TIERS: Final = {
    "lines": "checkpoints",
    "bytes": "checkpoints",
    "bloom": "bloom",
    "manifest": "manifest",
    "bounds": "statistics",
    "postings": "postings",
}


def tier_of(reason: str) -> str:
    """Return which tier let a chunk be passed over for *reason*; ``query`` where any chunk would
    be, such as for a comparison that can never hold."""
    return _TIERS.get(reason.partition(" ")[0], "query")


class EventQuery:
    """A filter, predicates and ranges, parsed; what is no filter is a QueryError.

    Both *query* and *predicates* are to hold. *lines* are numbers from 0, in each trace;
    *text_range* takes the lines that begin there in the text, in bytes.
    """

    def __init__(
        self,
        query: str = "",
        *,
        predicates: Predicates | None = None,
        lines: Range | None = None,
        text_range: Range | None = None,
    ) -> None:
        tree = parse_filter(query)
        if tree is not None:
            check_fields(tree, query)
        self.tree = both(tree, None if predicates is None else tree_of(predicates))
        self.keeps: EventFilter | None = compile_filter(self.tree) if self.tree else None
        self._lines = lines
        self._bytes = text_range

    def outside(self, chunk: Checkpoint) -> str | None:
        """Return which range *chunk* lies outside of, ``None`` for none."""
        if self._lines and not _overlap(self._lines, chunk.first_line, chunk.num_lines):
            return "lines"
        if self._bytes and not _overlap(self._bytes, chunk.uc_offset, chunk.uc_size):
            return "bytes"
        return None

    def takes_any(self, block: Lines) -> bool:
        """Return whether any line of *block* may lie within the ranges."""
        if self._bytes and not _overlap(self._bytes, block.uc_offset, len(block.text)):
            return False
        if self._lines is None:
            return True
        first, last = self._lines
        return block.line < last and first <= block.line + block.text.count(b"\n")

    def takes(self, line: int, uc_offset: int) -> bool:
        """Return whether a line lies within the ranges."""
        if self._lines and not self._lines[0] <= line < self._lines[1]:
            return False
        return not self._bytes or self._bytes[0] <= uc_offset < self._bytes[1]


class TraceExplanation(msgspec.Struct):
    """What was done for one trace: how many of its chunks were read, and how many were passed over
    for what reason; how many lines were read, and how many events kept. ``text_bytes`` is the size
    of its text."""

    path: str
    chunks: int = 0
    text_bytes: int = 0
    read: int = 0
    skipped: dict[str, int] = {}
    lines: int = 0
    events: int = 0


class Explanation(msgspec.Struct):
    """What was done for a query so far, by trace; it is whole when its last batch was taken."""

    traces: list[TraceExplanation] = []

    @property
    def chunks(self) -> int:
        """How many chunks the traces have."""
        return sum(trace.chunks for trace in self.traces)

    @property
    def read(self) -> int:
        """How many chunks were read."""
        return sum(trace.read for trace in self.traces)

    @property
    def skipped(self) -> dict[str, int]:
        """How many chunks were passed over, by reason."""
        total: Counter[str] = Counter()
        for trace in self.traces:
            total.update(trace.skipped)
        return dict(total)


class _Segment(NamedTuple):
    record: TraceRecord
    summary: SegmentSummary
    checkpoints: list[Checkpoint]
    stats: list[ChunkStats]


class TraceChunks(msgspec.Struct, frozen=True, kw_only=True):
    """Chunks of one trace that are to be read. ``stamp`` and ``resume`` tell whether its file is
    the one that was indexed, ``unit`` is that of its times."""

    path: bytes
    stamp: FileStamp
    resume: ResumePoint | None
    unit: str
    chunks: tuple[Checkpoint, ...]


class TracePlan(NamedTuple):
    """What is to be read of one trace, and what is known of it before anything is. ``numbers`` are
    those of the chunks among all of the trace."""

    wanted: TraceChunks
    explanation: TraceExplanation
    numbers: tuple[int, ...] = ()


def plan_events(
    source: RowSource, records: Sequence[TraceRecord], query: EventQuery
) -> list[TracePlan]:
    """Return for each of *records*, which are of sets that have checkpoints, what *query* has to
    read of it."""
    segments = _segments(source, records)
    places = iter(zip(segments, _reasons(source, query.tree, segments), strict=True))
    return [_plan(query, record, list(islice(places, len(record.segments)))) for record in records]


def _plan(
    query: EventQuery, record: TraceRecord, segments: list[tuple[_Segment, list[str | None]]]
) -> TracePlan:
    explained = TraceExplanation(record.path.decode("utf-8", "backslashreplace"))
    wanted: list[Checkpoint] = []
    numbers: list[int] = []
    for segment, reasons in segments:
        for chunk, pruned in zip(segment.checkpoints, reasons, strict=True):
            reason = query.outside(chunk) or pruned
            explained.chunks += 1
            explained.text_bytes += chunk.uc_size
            if reason is None:
                wanted.append(chunk)
                numbers.append(explained.chunks - 1)
            else:
                explained.skipped[reason] = explained.skipped.get(reason, 0) + 1
    chunks = TraceChunks(
        path=record.path,
        stamp=record.stamp,
        resume=record.resume,
        unit=record.final_facts.time_metric,
        chunks=tuple(wanted),
    )
    return TracePlan(chunks, explained, tuple(numbers))


def _segments(source: RowSource, records: Sequence[TraceRecord]) -> list[_Segment]:
    checkpoints = segment_rows(source, CHECKPOINTS, records)
    stats = segment_rows(source, CHUNK_STATS, records)
    return [
        _Segment(record, summary, decode_checkpoints(chunks), decode_chunk_stats(bounds))
        for record, of_chunks, of_stats in zip(records, checkpoints, stats, strict=True)
        for summary, chunks, bounds in zip(record.segments, of_chunks, of_stats, strict=True)
    ]


def _overlap(wanted: Range, begin: int, size: int) -> bool:
    return max(wanted[0], begin) < min(wanted[1], begin + size)


def _reasons(
    source: RowSource, tree: Expression | None, segments: list[_Segment]
) -> list[list[str | None]]:
    """Return for each segment why each of its chunks cannot match, ``None`` for one that can."""
    reasons: list[list[str | None]] = [[None] * len(segment.checkpoints) for segment in segments]
    if tree is None:
        return reasons
    left: list[int] = []
    for place, (segment, blooms) in enumerate(
        zip(segments, _blooms(source, FILE_BLOOM, segments), strict=True)
    ):
        stats = merge_chunk_stats(segment.stats)
        unit = segment.record.final_facts.time_metric
        whole = _prune(tree, ChunkFacts(blooms, 0, stats, None, unit))
        if whole is None:
            left.append(place)
        else:
            reasons[place] = [whole] * len(segment.checkpoints)
    found = [segments[place] for place in left]
    facts = zip(
        found,
        _blooms(source, CHUNK_BLOOM, found),
        _manifests(source, found),
        _postings(source, found, fields_of(tree)),
        strict=True,
    )
    for place, (segment, blooms, manifest, posted) in zip(left, facts, strict=True):
        unit = segment.record.final_facts.time_metric
        known = zip(segment.stats, manifest, posted, strict=True)
        reasons[place] = [
            _prune(tree, ChunkFacts(blooms, chunk, *of_chunk[:2], unit, of_chunk[2]))
            for chunk, of_chunk in enumerate(known)
        ]
    return reasons


def _prune(tree: Expression, facts: ChunkFacts) -> str | None:
    require_wanted()
    return prune(tree, facts)


def _postings(
    source: RowSource, segments: list[_Segment], fields: frozenset[str]
) -> list[list[dict[str, ColumnValues]]]:
    """Return the values of those of *fields* that have postings, by segment and chunk."""
    posted: list[list[dict[str, ColumnValues]]] = [
        [{} for _ in segment.stats] for segment in segments
    ]
    for name in sorted(fields):
        has_row = [name in segment.record.tiers.postings for segment in segments]
        values = _rows(source, POSTINGS, segments, has_row, posting_suffix(name))
        for of_segment, value in zip(posted, values, strict=True):
            if value is not None:
                for of_chunk, held in zip(of_segment, decode_postings(value), strict=True):
                    of_chunk[name] = held
    return posted


def _blooms(source: RowSource, family: str, segments: list[_Segment]) -> list[Blooms | None]:
    """Return the filters of each segment; one of a single chunk has none of its own."""
    has_row = [
        segment.record.tiers.bloom and (family == CHUNK_BLOOM or segment.summary.chunks > 1)
        for segment in segments
    ]
    values = _rows(source, family, segments, has_row)
    return [None if value is None else decode_blooms(value) for value in values]


def _manifests(source: RowSource, segments: list[_Segment]) -> list[Sequence[ChunkManifest | None]]:
    """Return what is known of the chunks of each segment."""
    has_row = [segment.record.tiers.manifest for segment in segments]
    values = _rows(source, MANIFEST, segments, has_row)
    return [
        [None] * len(segment.stats) if value is None else decode_manifest(value)
        for segment, value in zip(segments, values, strict=True)
    ]


def _rows(
    source: RowSource,
    family: str,
    segments: list[_Segment],
    has_row: list[bool],
    suffix: bytes = b"",
) -> Iterable[bytes | None]:
    pairs = [segment for segment, has in zip(segments, has_row, strict=True) if has]
    keys = [segment_key(segment.summary.segment_id, suffix) for segment in pairs]
    values = iter(owned_rows(source, family, [segment.record for segment in pairs], keys))
    for has in has_row:
        yield next(values) if has else None
