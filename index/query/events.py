"""Events of traces, filtered, from only those chunks of text that can hold any.

:mod:`event_plan` chooses the chunks from the rows of tiers 1 and 2, :mod:`event_scan` reads them;
this joins the two, some traces at a time, for whoever has the store and the time to wait for both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from dftindexd.index.model import TraceRecord
from dftindexd.index.query.event_columns import DEFAULT_COLUMNS
from dftindexd.index.query.event_plan import (
    EventQuery,
    Explanation,
    Range,
    TracePlan,
    plan_events,
)
from dftindexd.index.query.event_scan import EventScan, OpenTrace
from dftindexd.index.query.normal_form import Predicates
from dftindexd.index.query.source import RowSource

__all__ = ("TRACES_AT_ONCE", "EventReading", "read_events")

#: So many traces are planned together.
TRACES_AT_ONCE: Final = 256


class EventReading:
    """The events of a query: iterating gives its batches, once, and fills ``explanation``."""

    def __init__(
        self,
        source: RowSource,
        records: Sequence[TraceRecord],
        open_trace: OpenTrace,
        query: EventQuery,
        columns: Sequence[str],
    ) -> None:
        self.explanation = Explanation()
        self._source = source
        self._records = records
        self._open_trace = open_trace
        self._query = query
        self._scan = EventScan(query, columns)

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self._scan.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._scan.batches(self._plans(), self._open_trace)

    def _plans(self) -> Iterator[TracePlan]:
        for first in range(0, len(self._records), TRACES_AT_ONCE):
            some = self._records[first : first + TRACES_AT_ONCE]
            for plan in plan_events(self._source, some, self._query):
                self.explanation.traces.append(plan.explanation)
                yield plan


def read_events(
    source: RowSource,
    records: Sequence[TraceRecord],
    open_trace: OpenTrace,
    query: str = "",
    *,
    predicates: Predicates | None = None,
    line_range: Range | None = None,
    byte_range: Range | None = None,
    columns: Sequence[str] = DEFAULT_COLUMNS,
) -> EventReading:
    """Return the events of *records* that *query* and *predicates* keep, trace by trace, in the
    traces' order.

    *records* are of sets that have checkpoints. *line_range* are numbers from 0, in each trace;
    *byte_range* takes the lines that begin there in the text. Nothing is read before the result is
    iterated. Raises a QueryError for a query or columns that are none.
    """
    wanted = EventQuery(query, predicates=predicates, lines=line_range, text_range=byte_range)
    return EventReading(source, records, open_trace, wanted, columns)
