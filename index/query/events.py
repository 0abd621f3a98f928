"""Events of traces, filtered, from only those chunks of text that can hold any.

:func:`read_events` plans trace by trace from the rows of tier 1 and 2: a segment's own filters
first, then its chunks'. What is passed over is counted by the reason that :mod:`pruning` gives.
A trace's file is opened only if one of its chunks is to be read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa

from dftindexd.index.errors import TraceChangedError
from dftindexd.index.model import SegmentSummary, TraceRecord
from dftindexd.index.query.event_columns import DEFAULT_COLUMNS, EventColumns, EventRow
from dftindexd.index.query.event_filter import EventFilter, check_fields, compile_filter
from dftindexd.index.query.event_lines import events_of_line, lines_of_text
from dftindexd.index.query.filter import Expression, parse_filter
from dftindexd.index.query.pruning import ChunkFacts, prune
from dftindexd.index.query.source import RowSource, owned_rows, segment_rows
from dftindexd.index.store.layout import (
    CHECKPOINTS,
    CHUNK_BLOOM,
    CHUNK_STATS,
    FILE_BLOOM,
    MANIFEST,
    segment_key,
)
from dftindexd.index.tiers.bloom import Blooms, decode_blooms
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.tiers.chunk_stats import ChunkStats, decode_chunk_stats, merge_chunk_stats
from dftindexd.index.tiers.manifest import ChunkManifest, decode_manifest
from dftindexd.index.trace.chunk_reader import read_chunk
from dftindexd.index.trace.facts import TIME_SCALES
from dftindexd.index.trace.resume import still_matches
from dftindexd.index.trace.trace_file import TraceFile

__all__ = ("EventReading", "Explanation", "OpenTrace", "Range", "TraceExplanation", "read_events")

#: Opens the file of a trace.
OpenTrace: TypeAlias = Callable[[TraceRecord], AbstractContextManager[TraceFile]]

#: The first, and the one after the last.
Range: TypeAlias = tuple[int, int]

_TRACES_AT_ONCE: Final = 256
_BATCH_ROWS: Final = 8192


class TraceExplanation(msgspec.Struct):
    """What was done for one trace: how many of its chunks were read, and how many were passed over
    for what reason; how many lines were read, and how many events kept."""

    path: str
    chunks: int = 0
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


class EventReading:
    """The events of a query: iterating gives its batches, once, and fills ``explanation``."""

    def __init__(
        self,
        source: RowSource,
        records: Sequence[TraceRecord],
        open_trace: OpenTrace,
        query: str,
        line_range: Range | None,
        byte_range: Range | None,
        columns: Sequence[str],
    ) -> None:
        self.explanation = Explanation()
        self._source = source
        self._records = records
        self._open_trace = open_trace
        self._tree = parse_filter(query)
        self._keeps: EventFilter | None = None
        if self._tree is not None:
            check_fields(self._tree, query)
            self._keeps = compile_filter(self._tree)
        self._lines = line_range
        self._bytes = byte_range
        self._columns = EventColumns(columns)

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._columns.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        rows = self._rows()
        while batch := list(islice(rows, _BATCH_ROWS)):
            yield self._columns.batch(batch)

    def _rows(self) -> Iterator[EventRow]:
        records = iter(self._records)
        while some := list(islice(records, _TRACES_AT_ONCE)):
            for record, chunks, explained in self._plan(some):
                self.explanation.traces.append(explained)
                if chunks:
                    yield from self._read(record, chunks, explained)

    def _plan(
        self, records: list[TraceRecord]
    ) -> Iterator[tuple[TraceRecord, list[Checkpoint], TraceExplanation]]:
        """Yield for each trace the chunks that are to be read."""
        segments = self._segments(records)
        reasons = _reasons(self._source, self._tree, segments)
        places = iter(zip(segments, reasons, strict=True))
        for record in records:
            explained = TraceExplanation(os.fsdecode(record.path))
            wanted: list[Checkpoint] = []
            for segment, why in islice(places, len(record.segments)):
                for chunk, reason in zip(segment.checkpoints, why, strict=True):
                    reason = self._outside(chunk) or reason
                    explained.chunks += 1
                    if reason is None:
                        wanted.append(chunk)
                    else:
                        explained.skipped[reason] = explained.skipped.get(reason, 0) + 1
            yield record, wanted, explained

    def _segments(self, records: list[TraceRecord]) -> list[_Segment]:
        checkpoints = segment_rows(self._source, CHECKPOINTS, records)
        stats = segment_rows(self._source, CHUNK_STATS, records)
        return [
            _Segment(record, summary, decode_checkpoints(chunks), decode_chunk_stats(bounds))
            for record, of_chunks, of_stats in zip(records, checkpoints, stats, strict=True)
            for summary, chunks, bounds in zip(record.segments, of_chunks, of_stats, strict=True)
        ]

    def _outside(self, chunk: Checkpoint) -> str | None:
        if self._lines and not _overlap(self._lines, chunk.first_line, chunk.num_lines):
            return "lines"
        if self._bytes and not _overlap(self._bytes, chunk.uc_offset, chunk.uc_size):
            return "bytes"
        return None

    def _read(
        self, record: TraceRecord, chunks: list[Checkpoint], explained: TraceExplanation
    ) -> Iterator[EventRow]:
        scale = TIME_SCALES[record.final_facts.time_metric]
        with self._open_trace(record) as file:
            _check_unchanged(file, record)
            for chunk in chunks:
                explained.read += 1
                pieces = read_chunk(file, chunk)
                for line in lines_of_text(pieces, chunk.uc_offset, chunk.first_line):
                    explained.lines += 1
                    if not self._is_wanted(line.line, line.uc_offset):
                        continue
                    for event in events_of_line(line, scale):
                        if self._keeps is None or self._keeps(event):
                            explained.events += 1
                            yield EventRow(explained.path, line, event)

    def _is_wanted(self, line: int, uc_offset: int) -> bool:
        if self._lines and not self._lines[0] <= line < self._lines[1]:
            return False
        return not self._bytes or self._bytes[0] <= uc_offset < self._bytes[1]


def _overlap(wanted: Range, begin: int, size: int) -> bool:
    return max(wanted[0], begin) < min(wanted[1], begin + size)


def _check_unchanged(file: TraceFile, record: TraceRecord) -> None:
    """Raise a TraceChangedError unless *file* is as it was indexed, or only grew."""
    if file.stamp == record.stamp:
        return
    resume = record.resume
    if file.size < record.stamp.size or resume is None or not still_matches(file, resume):
        raise TraceChangedError(
            f"{os.fsdecode(record.path)} changed since it was indexed", "ask again when it is"
        )


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
        whole = prune(tree, ChunkFacts(blooms, 0, stats, None, unit))
        if whole is None:
            left.append(place)
        else:
            reasons[place] = [whole] * len(segment.checkpoints)
    found = [segments[place] for place in left]
    facts = zip(found, _blooms(source, CHUNK_BLOOM, found), _manifests(source, found), strict=True)
    for place, (segment, blooms, manifest) in zip(left, facts, strict=True):
        unit = segment.record.final_facts.time_metric
        reasons[place] = [
            prune(tree, ChunkFacts(blooms, chunk, stats, known, unit))
            for chunk, (stats, known) in enumerate(zip(segment.stats, manifest, strict=True))
        ]
    return reasons


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
    source: RowSource, family: str, segments: list[_Segment], has_row: list[bool]
) -> Iterable[bytes | None]:
    pairs = [segment for segment, has in zip(segments, has_row, strict=True) if has]
    keys = [segment_key(segment.summary.segment_id) for segment in pairs]
    values = iter(owned_rows(source, family, [segment.record for segment in pairs], keys))
    for has in has_row:
        yield next(values) if has else None


def read_events(
    source: RowSource,
    records: Sequence[TraceRecord],
    open_trace: OpenTrace,
    query: str = "",
    *,
    line_range: Range | None = None,
    byte_range: Range | None = None,
    columns: Sequence[str] = DEFAULT_COLUMNS,
) -> EventReading:
    """Return the events of *records* that *query* keeps, trace by trace, in the traces' order.

    *records* are of sets that have checkpoints. *line_range* are numbers from 0, in each trace;
    *byte_range* takes the lines that begin there in the text. Nothing is read before the result is
    iterated. Raises a QueryError for a query or columns that are none.
    """
    return EventReading(source, records, open_trace, query, line_range, byte_range, columns)
