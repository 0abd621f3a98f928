"""Traces written, indexed and asked for events, without a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dftindexd.index.model import ParseRequest, TierConfig, TraceRecord
from dftindexd.index.query.event_filter import compile_filter
from dftindexd.index.query.event_lines import events_of_line, lines_of_text
from dftindexd.index.query.event_plan import Explanation, Range, TraceChunks
from dftindexd.index.query.event_scan import OpenTrace
from dftindexd.index.query.events import read_events
from dftindexd.index.query.filter import parse_filter
from dftindexd.index.query.normal_form import Predicates, tree_of
from dftindexd.index.segment import parse_trace
from dftindexd.index.trace.facts import TIME_SCALES
from dftindexd.index.trace.trace_file import TraceFile, open_trace
from tests.index.trace.parsing import gzip_member, inflated, lines_of

__all__ = ("IndexedTraces", "Rows", "write_chunks")


class Rows:
    """The rows of some traces, as a source."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], bytes] = {}

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key."""
        return [self.rows.get((family, key)) for key in keys]


def write_chunks(path: Path, *chunks: Iterable[bytes]) -> Path:
    """Write a trace of one gzip member for each list of lines."""
    path.write_bytes(b"".join(gzip_member(lines_of(*lines)) for lines in chunks))
    return path


class IndexedTraces:
    """Some traces and their rows; chunks are cut at every member of more than a few bytes."""

    def __init__(
        self, *paths: Path, tiers: TierConfig | None = None, use_kernel: bool = True
    ) -> None:
        self.source = Rows()
        self.paths = {os.fsencode(path): path for path in paths}
        tiers = tiers or TierConfig(aggregation=None, chunk_bytes=1)
        self.records = [
            self._index(os.fsencode(path), number, tiers, use_kernel=use_kernel)
            for number, path in enumerate(paths, 1)
        ]

    def _index(
        self, path: bytes, number: int, tiers: TierConfig, *, use_kernel: bool
    ) -> TraceRecord:
        request = ParseRequest(
            path=path, segment_id=2 * number, provisional_id=2 * number + 1, tiers=tiers
        )
        parsed = parse_trace(request, use_kernel=use_kernel)
        self.source.rows.update({(family, key): value for family, key, value in parsed.rows})
        return TraceRecord(
            file_id=number,
            path=path,
            version=1,
            generation=1,
            stamp=parsed.stamp,
            tiers=tiers,
            segments=parsed.segments,
            resume=parsed.resume,
            facts=parsed.facts,
            final_facts=parsed.final_facts,
            tail=parsed.tail,
        )

    def open(self, record: TraceChunks) -> AbstractContextManager[TraceFile]:
        """Open a trace's file."""
        return open_trace(record.path)

    def ask(
        self,
        query: str = "",
        *,
        predicates: Predicates | None = None,
        columns: Sequence[str] = ("line", "name"),
        line_range: Range | None = None,
        byte_range: Range | None = None,
        opener: OpenTrace | None = None,
    ) -> tuple[list[tuple[Any, ...]], Explanation]:
        """Return the events that a query keeps, as tuples, and what was done for them."""
        reading = read_events(
            self.source,
            self.records,
            opener or self.open,
            query,
            predicates=predicates,
            line_range=line_range,
            byte_range=byte_range,
            columns=columns,
        )
        rows: list[tuple[Any, ...]] = []
        for batch in reading:
            assert batch.schema == reading.schema
            rows += zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return rows, reading.explanation

    def brute_force(
        self, query: str = "", predicates: Predicates | None = None
    ) -> list[tuple[Any, ...]]:
        """Return line and name of the events that a query keeps, of all lines of all traces."""
        tree = parse_filter(query) if predicates is None else tree_of(predicates)
        keeps = compile_filter(tree) if tree else None
        found: list[tuple[Any, ...]] = []
        for record in self.records:
            scale = TIME_SCALES[record.final_facts.time_metric]
            text = inflated(self.paths[record.path].read_bytes())
            for line in lines_of_text([text], 0, 0):
                for event in events_of_line(line, scale):
                    name = event.record.get("name")
                    if keeps is None or keeps(event):
                        found.append((event.line, name if isinstance(name, str) else ""))
        return found
