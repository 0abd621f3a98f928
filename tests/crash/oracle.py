"""What was acknowledged, noted outside of the store, and how a store is held against it.

The oracle learns of every change before it is made and of every acknowledgement after it came.
Each line of its file is synced before it counts. After a crash it demands:

- the generation is not older than any that was acknowledged;
- a trace that did not change since an acknowledgement is there as it was then;
- a trace that did change is there as it was then, or is the beginning of what it was to become; it
  may only be absent if it was to go;
- each trace is whole: its rows hold exactly the events that its record names, in every family;
- no row belongs to a segment that nobody knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from dftindexd.index.model import AggregationTier, TraceRecord
from dftindexd.index.query.aggregation import read_aggregation
from dftindexd.index.store.layout import (
    AGGREGATION,
    CHECKPOINTS,
    CHUNK_BLOOM,
    CHUNK_STATS,
    DEFAULT,
    HASH_TABLES,
    MANIFEST,
    SEGMENT_FAMILIES,
    SYSTEM_METRICS,
    segment_bounds,
)
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import StoreWriter
from tests.crash.workload import Content, Totals

__all__ = ("Oracle", "ViolationError", "stored_totals")

#: Families with a row of every segment of the default tiers.
_EVERY_SEGMENT = (
    *(CHECKPOINTS, CHUNK_BLOOM, MANIFEST, CHUNK_STATS),
    *(HASH_TABLES, AGGREGATION, SYSTEM_METRICS),
)


class ViolationError(AssertionError):
    """The store broke its promise."""


@dataclass
class _Trace:
    """What the store may hold of one path: what was acknowledged, or what came after it."""

    acknowledged: Content | None = None
    later: list[Content | None] = field(default_factory=list)
    mixed: bool = False


class Oracle:
    """Keeps the history in *file* and judges stores by it."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab")
        self._traces: dict[str, _Trace] = {}
        self._generation = 0
        self.acknowledgements = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def announce(self, coming: Mapping[str, Content | None], mixed: bool) -> None:
        """Note that these paths are about to change."""
        self._note("change", {path: one and one.ranges for path, one in coming.items()})
        for path, content in coming.items():
            trace = self._traces.setdefault(path, _Trace())
            trace.later.append(content)
            trace.mixed |= mixed

    def acknowledge(self, generation: int, now: Mapping[str, Content]) -> None:
        """Note that the daemon said that all of *now* is indexed, nothing else being on disk."""
        self._note("acknowledged", generation)
        if generation < self._generation:
            raise ViolationError(f"generation {generation} after {self._generation}")
        self._generation = generation
        self._traces = {path: _Trace(content) for path, content in now.items()}
        self.acknowledgements += 1

    def _note(self, kind: str, what: object) -> None:
        self._file.write(json.dumps({kind: what}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def judge(self, store: Path) -> None:
        """Open *store*, a copy of one that no process has open, and raise what is wrong in it."""
        writer = StoreWriter(str(store), root="", owner="the oracle")
        try:
            problems = list(self._problems(writer))
        finally:
            writer.close()
        if problems:
            raise ViolationError("\n".join(problems))

    def _problems(self, writer: StoreWriter) -> Iterator[str]:
        registry = writer.registry
        if registry.generation < self._generation:
            yield f"generation {registry.generation}, acknowledged was {self._generation}"
        records = {os.fsdecode(path): record for path, record in registry.traces.items()}
        for path, record in records.items():
            missing = _missing_rows(writer.rocks, record)
            if missing:
                yield f"{path}: no rows in {missing}"
                continue
            found = stored_totals(writer.rocks, record)
            if found.events != record.complete_events:
                yield f"{path}: {found.events} of {record.complete_events} events have rows"
            yield from self._unexpected(path, found)
        for path, trace in self._traces.items():
            if path in records or trace.acknowledged is None or None in trace.later:
                continue
            yield f"{path}: acknowledged and gone"
        yield from _strays(writer)

    def _unexpected(self, path: str, found: Totals) -> Iterator[str]:
        trace = self._traces.get(path, _Trace())
        if trace.acknowledged is not None and trace.acknowledged.totals() == found:
            return
        if trace.mixed or any(one is not None and one.begins_with(found) for one in trace.later):
            return
        yield f"{path}: holds {found}, acknowledged was {trace.acknowledged}, then {trace.later}"


def stored_totals(rocks: RocksStore, record: TraceRecord) -> Totals:
    """Return what the aggregation rows of a trace hold."""
    table = read_aggregation(rocks, [record], AggregationTier(), "events")
    return Totals(pc.sum(table["count"]).as_py() or 0, pc.sum(table["dur_total"]).as_py() or 0)


def _missing_rows(rocks: RocksStore, record: TraceRecord) -> list[str]:
    return [
        family
        for segment in record.segments
        for family in _EVERY_SEGMENT
        if next(rocks.scan(family, segment_bounds(segment.segment_id)[0]), None) is None
    ]


def _strays(writer: StoreWriter) -> Iterator[str]:
    known = {
        segment.segment_id
        for sets in writer.registry.sets.values()
        for record in sets
        for segment in record.segments
    } | {int.from_bytes(key[1:], "big") for key, _ in writer.rocks.scan(DEFAULT, b"g")}
    for family in SEGMENT_FAMILIES:
        stray = {
            int.from_bytes(key[:8], "big")
            for key, _ in writer.rocks.scan(family)
            if not key.startswith(b"\xff\xff")
        } - known
        if stray:
            yield f"{family}: rows of {len(stray)} segments that nobody knows"
