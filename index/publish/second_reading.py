"""Reading a trace again, where the daemon's rows are not those that are published: its chunks end
at the checkpoints of dftracer-utils 0.0.12, or its time buckets have another width.

It is parsed as the daemon did it, so that rows of the same kind come out. A line that a checkpoint
cuts is of the later chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from dftindexd.index.model import AggregationTier, Row, TierConfig, TraceFacts
from dftindexd.index.publish.checkpoint_places import checkpoint_places
from dftindexd.index.publish.members import Member
from dftindexd.index.store import layout
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.index.tiers.event_order import ORDER_SUFFIX
from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace.chunk_reader import check_chunk, chunk_text
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.lines import LineAssembler
from dftindexd.index.trace.resume import Place
from dftindexd.index.trace.segment_builder import SegmentBuilder
from dftindexd.index.trace.trace_file import TraceFile

__all__ = ("SecondReading", "read_again")

_SEGMENT: Final = 1


class SecondReading(msgspec.Struct, frozen=True):
    """The rows of a whole trace, as those of one segment; aggregated ones where they were asked
    for. Where they have chunks, those begin at ``places``, but for the first."""

    places: list[Place]
    chunk_stats: list[bytes]
    event_order: list[bytes]
    aggregation: list[bytes]
    system_metrics: list[bytes]


def read_again(
    file: TraceFile,
    chunks: Iterable[Checkpoint],
    members: Sequence[Member],
    tier: AggregationTier | None,
) -> SecondReading:
    """Read the text of *chunks*, all those of a trace, with checkpoints in its *members*, and
    aggregate it by *tier*.

    :raises TraceChangedError: it is not what the chunks say.
    :raises OSError: it cannot be read.
    """
    builder = SegmentBuilder(
        _SEGMENT,
        provisional=False,
        begin=Place(0, 0),
        uc_begin=0,
        first_line=0,
        tiers=TierConfig(bloom=False, aggregation=tier),
        facts=FactsCollector(TraceFacts()),
        use_kernel=kernel_cache.is_loaded(),
    )
    cutter = _Cutter(builder, checkpoint_places(file, members))
    for chunk in chunks:
        cutter.read(file, chunk)
    builder.end_chunk(Place(0, 0), file.size)
    segment = builder.finish()
    return _reading(cutter.places, segment.rows if segment else [])


class _Cutter:
    """Gives the lines of a trace to a builder, and ends its chunks at places."""

    def __init__(self, builder: SegmentBuilder, wanted: Iterator[Place]) -> None:
        self.places: list[Place] = []
        self._builder = builder
        self._wanted = wanted
        self._next = next(wanted, None)

    def read(self, file: TraceFile, chunk: Checkpoint) -> None:
        """Read the text of one of our chunks, which ends with a line."""
        text = LineAssembler(self._builder, chunk.uc_offset, chunk.first_line)
        for piece in chunk_text(file, chunk):
            self._feed(text, piece)
        text.terminate()
        size, count = text.end - chunk.uc_offset, text.line - chunk.first_line
        check_chunk(chunk, size, count)

    def _feed(self, text: LineAssembler, piece: bytes) -> None:
        while self._next is not None and self._next.uc_offset <= text.end + len(piece):
            before = self._next.uc_offset - text.end
            text.feed(piece[:before])
            text.flush()
            self._end_chunk(self._next)
            piece = piece[before:]
        text.feed(piece)

    def _end_chunk(self, place: Place) -> None:
        builder = self._builder
        if builder.uc_end > builder.chunk_begin:  # else no line has ended since the last one
            builder.end_chunk(place, place.c_offset)
            self.places.append(place)
        self._next = next(self._wanted, None)


def _reading(places: list[Place], rows: Iterable[Row]) -> SecondReading:
    order = layout.segment_key(_SEGMENT, ORDER_SUFFIX)
    found: dict[str, list[bytes]] = {}
    for family, key, value in rows:
        if family != layout.MANIFEST or key == order:
            found.setdefault(family, []).append(value)
    return SecondReading(
        places=places,
        chunk_stats=found.get(layout.CHUNK_STATS, []),
        event_order=found.get(layout.MANIFEST, []),
        aggregation=found.get(layout.AGGREGATION, []),
        system_metrics=found.get(layout.SYSTEM_METRICS, []),
    )
