"""The lines of a trace, or of all traces below a directory, with an index wherever it is, or none.

A trace that the index of its directory shows as it is on disk is read through that: only chunks
that can hold what is asked for. Any other is read from its beginning. The text is read by this
process itself, with the rights of its user; memory is bounded, whatever the trace.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from dftindexd.compat.access import read_index
from dftindexd.compat.errors import DFTUtilsIOError, DFTUtilsQueryError, DFTUtilsReaderError
from dftindexd.compat.reading import Wanted
from dftindexd.compat.selection import RULES, Selection, select
from dftindexd.index.errors import CoreError, QueryError, TraceGoneError
from dftindexd.index.model import FileStamp, TierConfig
from dftindexd.index.query.event_fields import Event
from dftindexd.index.query.event_lines import Line, events_of_line, lines_of_text
from dftindexd.index.query.event_plan import EventQuery, TracePlan
from dftindexd.index.query.event_scan import lines_of_chunks
from dftindexd.index.scan import scan_tree
from dftindexd.index.trace.chunk_reader import cut_text, read_bytes
from dftindexd.index.trace.facts import MICROSECONDS, TIME_SCALES
from dftindexd.index.trace.lines import Lines
from dftindexd.index.trace.members import (
    Note,
    OpenMemberError,
    plain_stretches,
    settled_members,
)
from dftindexd.index.trace.trace_file import TraceFile, open_trace

__all__ = ("NO_TIERS", "TraceSize", "TraceText", "parsed")

#: What is asked of an index that is only read: whichever tiers it has.
NO_TIERS = TierConfig(checkpoints=False, bloom=False, manifest=False, aggregation=None).normal()

_UNIT = b"time_metric"
_STRETCH = 32 << 20
#: What may stand around the one object of a line.
_AROUND = b" \t\r\n,"
_decode_json = msgspec.json.Decoder().decode


class TraceSize(NamedTuple):
    """What the index knows of a trace's text."""

    lines: int
    text_bytes: int


class _Read(NamedTuple):
    """A line, the scale of its trace's times, and its events where they had to be looked at."""

    line: Line
    scale: tuple[int, int]
    events: list[Event] | None


class TraceText:
    """The text of the trace at *path*, or of the traces at any depth below it.

    *index_dir* is where the stores lie, as of an indexer. What is there, and what an index knows of
    it, is looked up once.
    """

    def __init__(self, path: str, index_dir: str) -> None:
        self._path = path
        self._index_dir = index_dir
        self._found: list[Selection] | None = None
        self._whole: dict[bytes, dict[bytes, TracePlan]] = {}

    def selections(self) -> list[Selection]:
        """Return the traces as they are on disk, one selection a folder, in the order of paths.

        :raises DFTUtilsIOError: something below the directory cannot be looked at.
        """
        if self._found is None:
            self._found = self._scan()
        return self._found

    def _scan(self) -> list[Selection]:
        if not os.path.isdir(self._path):
            return [select("", [self._path])]
        root = os.path.realpath(os.fsencode(self._path))
        scan = scan_tree(root, rules=RULES)
        for problem, reason in scan.problems.items():
            raise DFTUtilsIOError(f"{os.fsdecode(os.path.join(root, problem))}: {reason}")
        folders: defaultdict[bytes, dict[bytes, FileStamp | None]] = defaultdict(dict)
        for name, stamp in sorted(scan.stamps.items()):
            folder, base = os.path.split(os.path.join(root, name))
            folders[folder][base] = stamp
        return [Selection(folder, stamps, (folder,)) for folder, stamps in sorted(folders.items())]

    def sizes(self) -> list[TraceSize | None]:
        """Return what the index knows of each trace, ``None`` for one that it does not show."""
        found: list[TraceSize | None] = []
        for selection in self.selections():
            plans = self._plans(selection, Wanted())
            found += [_size(plans[name]) if name in plans else None for name in selection.stamps]
        return found

    def plans(self, wanted: Wanted) -> Iterator[tuple[bytes, TracePlan | None]]:
        """Yield the absolute path of each trace and what has to be read of it, ``None`` where the
        index does not know."""
        for selection in self.selections():
            plans = self._plans(selection, wanted)
            for name in selection.stamps:
                yield os.path.join(selection.root, name), plans.get(name)

    def _plans(self, selection: Selection, wanted: Wanted) -> dict[bytes, TracePlan]:
        """Return the plan of each trace of which the index shows the file that is there."""
        if wanted.query:
            return self._planned(selection, wanted)
        if selection.root not in self._whole:
            self._whole[selection.root] = self._planned(selection, Wanted())
        whole = self._whole[selection.root]
        query = wanted.parsed()
        return {name: _within(plan, query) for name, plan in whole.items()}

    def _planned(self, selection: Selection, wanted: Wanted) -> dict[bytes, TracePlan]:
        with read_index(selection, self._index_dir, NO_TIERS) as index:
            if index is None:
                return {}
            current = {name: one for name in index.sets if (one := index.current_sets(name))}
            plans = index.rows.plans(current, wanted) if current else {}
        stamps = selection.stamps
        return {name: plan for name, plan in plans.items() if plan.wanted.stamp == stamps[name]}

    def lines(self, wanted: Wanted) -> Iterator[bytes]:
        """Yield the lines that are asked for, as they are, without the newline.

        :raises DFTUtilsQueryError: the query is none.
        :raises DFTUtilsIOError: a trace is gone, or cannot be read.
        :raises DFTUtilsReaderError: a trace changed while it was read.
        """
        return (read.line.text for read in self._read(wanted, parsed(wanted)))

    def events(self, wanted: Wanted) -> Iterator[Event]:
        """Yield the events that are asked for; metadata are events too."""
        query = parsed(wanted)
        for line, scale, known in self._read(wanted, query):
            events = events_of_line(line, scale) if known is None else known
            kept = events if query.keeps is None else list(filter(query.keeps, events))
            yield from _in_full(kept, line)

    def raw_bytes(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes *begin* to *end* (not in) of each trace's text, in pieces."""
        for path, plan in self.plans(Wanted(text_range=(begin, end))):
            with _translated(path), open_trace(path) as file:
                if plan is not None:
                    yield from read_bytes(file, plan.wanted.chunks, begin, end)
                else:
                    yield from cut_text(_whole_text(file, path), begin, max(end - begin, 0))

    def _read(self, wanted: Wanted, query: EventQuery) -> Iterator[_Read]:
        for path, plan in self.plans(wanted):
            with _translated(path):
                lines = _sequential(path, query) if plan is None else _by_plan(path, plan, query)
                for line, scale in lines:
                    if query.keeps is None:
                        yield _Read(line, scale, None)
                        continue
                    events = events_of_line(line, scale)
                    if any(map(query.keeps, events)):
                        yield _Read(line, scale, events)


def _in_full(events: list[Event], line: Line) -> list[Event]:
    """Return the events of *line* with what the index passes over: arrays, and what is deep."""
    if len(events) != 1:
        return events
    (event,) = events
    if len(event.record) + len(event.args) == line.text.count(b'":'):
        return events  # nothing lies deeper
    try:
        record = _decode_json(line.text.strip(_AROUND))
    except (ValueError, RecursionError):
        return events
    return [event._replace(record=record)] if isinstance(record, dict) else events


def parsed(wanted: Wanted) -> EventQuery:
    """Return *wanted* parsed.

    :raises DFTUtilsQueryError: its query is none.
    """
    try:
        return wanted.parsed()
    except QueryError as error:
        raise DFTUtilsQueryError(str(error)) from error


@contextmanager
def _translated(path: bytes) -> Iterator[None]:
    try:
        yield
    except TraceGoneError as error:
        raise DFTUtilsIOError(f"cannot open {os.fsdecode(path)}: nothing is there") from error
    except CoreError as error:
        raise DFTUtilsReaderError(str(error)) from error
    except OSError as error:
        raise DFTUtilsIOError(f"cannot read {os.fsdecode(path)}: {error.strerror}") from error


def _within(plan: TracePlan, query: EventQuery) -> TracePlan:
    """Return *plan* with those chunks alone that overlap the ranges of *query*."""
    chunks = tuple(chunk for chunk in plan.wanted.chunks if query.outside(chunk) is None)
    return plan._replace(wanted=msgspec.structs.replace(plan.wanted, chunks=chunks))


def _size(plan: TracePlan) -> TraceSize:
    chunks = plan.wanted.chunks
    return TraceSize(sum(chunk.num_lines for chunk in chunks), plan.explanation.text_bytes)


def _by_plan(
    path: bytes, plan: TracePlan, query: EventQuery
) -> Iterator[tuple[Line, tuple[int, int]]]:
    scale = TIME_SCALES[plan.wanted.unit]
    for line in lines_of_chunks(plan.wanted, lambda _: open_trace(path), query, plan.explanation):
        yield line, scale


def _sequential(path: bytes, query: EventQuery) -> Iterator[tuple[Line, tuple[int, int]]]:
    """Yield the lines within the ranges of *query*, each with the unit named last before it."""

    def is_wanted(block: Lines) -> bool:
        return query.takes_any(block) or _UNIT in block.text

    scale = MICROSECONDS
    with open_trace(path) as file:
        for line in lines_of_text(_whole_text(file, path), 0, 0, is_wanted):
            if _UNIT in line.text:
                scale = _named_scale(line, scale)
            if query.takes(line.line, line.uc_offset):
                yield line, scale


def _named_scale(line: Line, scale: tuple[int, int]) -> tuple[int, int]:
    """Return the scale that a line names, *scale* if it names none."""
    for event in events_of_line(line, scale):
        named, unit = event.args.get("name"), event.args.get("value")
        if event.record.get("name") == "CM" and named == "time_metric" and isinstance(unit, str):
            scale = TIME_SCALES.get(unit, scale)
    return scale


def _whole_text(file: TraceFile, path: bytes) -> Iterator[bytes]:
    """Yield all that can be read of a trace's text; a warning names what cannot."""
    if file.is_gzip():
        events: Iterable[object] = settled_members(file, 0, None, hold_bytes=0)
    else:
        events = plain_stretches(file, 0, _STRETCH)
    try:
        for event in events:
            if isinstance(event, bytes):
                yield event
            elif isinstance(event, Note):
                warnings.warn(f"{os.fsdecode(path)}: {event.text}", RuntimeWarning, stacklevel=2)
    except OpenMemberError:
        return  # all of it was given: the last member is not ended yet
