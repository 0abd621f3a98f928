"""Events of chunks of text: lines are read, filtered, and given on as Arrow batches.

A trace's file is opened only if one of its chunks is to be read. Memory is bounded by a batch and a
piece of text, whatever the trace.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeAlias, TypeVar

import pyarrow as pa

from dftindexd.index.errors import TraceChangedError
from dftindexd.index.query.event_columns import DEFAULT_COLUMNS, EventColumns, EventRow
from dftindexd.index.query.event_lines import Line, events_of_line, lines_of_text
from dftindexd.index.query.event_plan import EventQuery, TraceChunks, TraceExplanation, TracePlan
from dftindexd.index.trace.chunk_reader import read_chunk
from dftindexd.index.trace.facts import TIME_SCALES
from dftindexd.index.trace.resume import still_matches
from dftindexd.index.trace.trace_file import TraceFile

__all__ = (
    "LINE_SCHEMA",
    "EventScan",
    "LineScan",
    "OpenTrace",
    "check_unchanged",
    "lines_of_chunks",
)

R = TypeVar("R")

#: Opens the file of a trace.
OpenTrace: TypeAlias = Callable[[TraceChunks], AbstractContextManager[TraceFile]]

LINE_SCHEMA: Final = pa.schema([pa.field("text", pa.binary(), nullable=False)])

_BATCH_ROWS: Final = 8192
#: As much text may be in the lines of one batch, and one line more.
_BATCH_TEXT: Final = 1 << 20


class EventScan:
    """The events that a query keeps, as columns; unknown *columns* are a QueryError."""

    def __init__(self, query: EventQuery, columns: Sequence[str] = DEFAULT_COLUMNS) -> None:
        self._query = query
        self._columns = EventColumns(columns)
        self.schema = self._columns.schema

    def batches(
        self, plans: Iterable[TracePlan], open_trace: OpenTrace
    ) -> Iterator[pa.RecordBatch]:
        """Yield the events of *plans* in their order; what was done is added to their
        explanations."""
        rows = (row for plan in plans for row in self._rows(plan, open_trace))
        for some in _in_parts(rows, lambda row: len(row.line.text)):
            yield self._columns.batch(some)

    def _rows(self, plan: TracePlan, open_trace: OpenTrace) -> Iterator[EventRow]:
        scale, keeps, explained = TIME_SCALES[plan.wanted.unit], self._query.keeps, plan.explanation
        for line in lines_of_chunks(plan.wanted, open_trace, self._query, explained):
            for event in events_of_line(line, scale):
                if keeps is None or keeps(event):
                    explained.events += 1
                    yield EventRow(explained.path, line, event)


class LineScan:
    """The lines as they are in the text: those with an event that the query keeps, and all of them
    where it has no filter."""

    schema = LINE_SCHEMA

    def __init__(self, query: EventQuery) -> None:
        self._query = query

    def batches(
        self, plans: Iterable[TracePlan], open_trace: OpenTrace
    ) -> Iterator[pa.RecordBatch]:
        """Yield the lines of *plans*, as :meth:`EventScan.batches` does."""
        lines = (line for plan in plans for line in self._kept(plan, open_trace))
        for some in _in_parts(lines, lambda line: len(line.text)):
            texts = pa.array([line.text for line in some], pa.binary())
            yield pa.RecordBatch.from_arrays([texts], schema=LINE_SCHEMA)

    def _kept(self, plan: TracePlan, open_trace: OpenTrace) -> Iterator[Line]:
        scale, keeps = TIME_SCALES[plan.wanted.unit], self._query.keeps
        for line in lines_of_chunks(plan.wanted, open_trace, self._query, plan.explanation):
            if keeps is None or any(map(keeps, events_of_line(line, scale))):
                yield line


def lines_of_chunks(
    wanted: TraceChunks, open_trace: OpenTrace, query: EventQuery, explained: TraceExplanation
) -> Iterator[Line]:
    """Yield the lines of the chunks of a trace that are within the ranges of *query*."""
    if not wanted.chunks:
        return
    with open_trace(wanted) as file:
        check_unchanged(file, wanted)
        for chunk in wanted.chunks:
            explained.read += 1
            pieces = read_chunk(file, chunk)
            begin = chunk.uc_offset, chunk.first_line
            for line in lines_of_text(pieces, *begin, query.takes_any):
                explained.lines += 1
                if query.takes(line.line, line.uc_offset):
                    yield line


def check_unchanged(file: TraceFile, wanted: TraceChunks) -> None:
    """Raise a TraceChangedError unless *file* is as it was indexed, or only grew."""
    if file.stamp == wanted.stamp:
        return
    resume = wanted.resume
    if file.size < wanted.stamp.size or resume is None or not still_matches(file, resume):
        raise TraceChangedError(
            f"{os.fsdecode(wanted.path)} changed since it was indexed", "ask again when it is"
        )


def _in_parts(rows: Iterable[R], text_of: Callable[[R], int]) -> Iterator[list[R]]:
    """Cut *rows* into lists of bounded length and text."""
    part: list[R] = []
    text = 0
    for row in rows:
        part.append(row)
        text += text_of(row)
        if len(part) == _BATCH_ROWS or text >= _BATCH_TEXT:
            yield part
            part, text = [], 0
    if part:
        yield part
