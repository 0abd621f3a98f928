"""What building views needs of a store, and who gives it.

The rows of a store are read by the one process that has it open; views are built in another. What
goes between them is here: which traces an answer is of, and on demand chunks and names of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec
import pyarrow as pa

from dftindexd.index.errors import TraceChangedError
from dftindexd.index.model import TraceRecord
from dftindexd.index.query.event_plan import TraceChunks
from dftindexd.index.query.hash_names import DirectoryHashes, HashKind
from dftindexd.index.query.source import RowSource, segment_rows
from dftindexd.index.store.layout import CHECKPOINTS
from dftindexd.index.tiers.checkpoints import decode_checkpoints
from dftindexd.views.problems import Problem, problems_of

__all__ = (
    "HashRef",
    "Made",
    "ResolvedName",
    "SegmentChunks",
    "SelectedTrace",
    "Selection",
    "ViewSource",
    "names_of_hashes",
    "segment_chunks",
    "selected",
)

#: A hash of one kind, as the trace of that place among the selected has it.
HashRef: TypeAlias = tuple[int, HashKind, str]


class ResolvedName(NamedTuple):
    """What a hash stands for, "" where that is not known. ``own``: its own trace says so, so that
    no other trace can change it."""

    name: str
    own: bool


class SelectedTrace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trace that an answer is of. ``path`` is relative to the root, ``name`` that for people;
    ``written`` is when its newest text was written, in nanoseconds; ``chunks`` are how many each
    segment has, ``problems`` what of it cannot be read."""

    path: bytes
    name: str
    file_id: int
    written: int
    segments: tuple[int, ...]
    chunks: tuple[int, ...]
    problems: tuple[Problem, ...] = ()


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The traces of one root that an answer is of. ``folder`` is where its partitions lie.
    ``whole``: there are no other traces in the root. ``viewer`` is "", or names somebody from whom
    traces are hidden, for whom partitions are kept apart."""

    root: bytes
    folder: str
    whole: bool
    traces: tuple[SelectedTrace, ...]
    viewer: str = ""

    def digest(self) -> str:
        """Return what differs between selections of different segments."""
        listed = "\n".join(f"{one.file_id} {one.segments}" for one in self.traces)
        return hashlib.blake2b(listed.encode(), digest_size=8).hexdigest()


class Made(msgspec.Struct, frozen=True, array_like=True):
    """How far the making of a view is: how many chunks are read, of how many."""

    view: str
    chunks: int
    of: int


class SegmentChunks(msgspec.Struct, frozen=True, kw_only=True):
    """The chunks of one segment; ``first_chunk`` is the number of the first in its trace."""

    segment: int
    first_chunk: int
    wanted: TraceChunks


class ViewSource(Protocol):
    """Gives what is asked of one selection."""

    def chunks(self, segments: Sequence[int]) -> list[SegmentChunks]:
        """Return the chunks of each of *segments*, in this order."""
        ...

    def names(self, hashes: Sequence[HashRef]) -> list[ResolvedName]:
        """Return what each hash stands for."""
        ...

    def aggregated_key(self, name: str) -> str:
        """Return sixteen hex digits that differ between different rows of a set of the aggregation
        tier."""
        ...

    def table(self, name: str) -> pa.Table:
        """Return the rows of a set of the aggregation tier, or of ``files``."""
        ...

    def note(self, made: Made) -> None:
        """Take note of how far the making of a view is."""
        ...


def selected(records: Iterable[TraceRecord], display_of: str) -> list[SelectedTrace]:
    """Return *records*, which are of sets with checkpoints, as an answer has them.

    *display_of* is the root's path for people.
    """
    return [
        SelectedTrace(
            record.path,
            os.path.join(display_of, record.path.decode("utf-8", "backslashreplace")),
            record.file_id,
            record.stamp.mtime_ns,
            tuple(segment.segment_id for segment in record.segments),
            tuple(segment.chunks for segment in record.segments),
            problems_of(record),
        )
        for record in records
    ]


def segment_chunks(
    source: RowSource, records: Sequence[TraceRecord], segments: Sequence[int]
) -> list[SegmentChunks]:
    """Return the chunks of each of *segments*, which are of *records*.

    :raises TraceChangedError: one is of none of them any more.
    :raises StoreDamagedError: the rows do not read back.
    """
    places: dict[int, tuple[TraceRecord, int, int]] = {}
    for record in records:
        before = 0
        for at, segment in enumerate(record.segments):
            places[segment.segment_id] = record, at, before
            before += segment.chunks
    missing = [segment for segment in segments if segment not in places]
    if missing:
        raise TraceChangedError("a trace changed while its views were built", "ask again")
    only = [
        msgspec.structs.replace(places[one][0], segments=(places[one][0].segments[places[one][1]],))
        for one in segments
    ]
    rows = segment_rows(source, CHECKPOINTS, only)
    return [
        SegmentChunks(
            segment=segment,
            first_chunk=places[segment][2],
            wanted=TraceChunks(
                path=record.path,
                stamp=record.stamp,
                resume=record.resume,
                unit=record.final_facts.time_metric,
                chunks=tuple(decode_checkpoints(value)),
            ),
        )
        for segment, record, (value,) in zip(segments, only, rows, strict=True)
    ]


def names_of_hashes(hashes: DirectoryHashes, wanted: Sequence[HashRef]) -> list[ResolvedName]:
    """Return what each of *wanted* stands for; *hashes* are those of the selected traces."""
    return [
        ResolvedName(hashes.name(kind, hash_, trace), hash_ in getattr(hashes.own[trace], kind))
        for trace, kind, hash_ in wanted
    ]
