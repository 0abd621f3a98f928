"""Events of chunks, for what is built from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

from dftindexd.index.query.event_fields import Event
from dftindexd.index.query.event_lines import events_of_line, lines_of_text
from dftindexd.index.query.event_scan import check_unchanged
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.index.trace.chunk_reader import read_chunk
from dftindexd.index.trace.facts import TIME_SCALES
from dftindexd.index.trace.trace_file import open_trace
from dftindexd.views.source import SegmentChunks

__all__ = ("ChunkEvents", "events_of_chunks")


class ChunkEvents(NamedTuple):
    """A chunk, its number in its trace, and its events."""

    chunk: int
    place: Checkpoint
    events: Iterator[Event]


def events_of_chunks(
    root: bytes,
    given: SegmentChunks,
    step: Callable[[], None],
    only: Container[int] | None = None,
) -> Iterator[ChunkEvents]:
    """Yield the chunks of a segment, or those whose numbers are in *only*, one after the other;
    call *step* when one was taken.

    :raises TraceChangedError: the trace is no longer what was indexed.
    :raises TraceGoneError: it is gone.
    """
    numbered = [
        (number, chunk)
        for number, chunk in enumerate(given.wanted.chunks, given.first_chunk)
        if only is None or number in only
    ]
    if not numbered:
        return
    with open_trace(os.path.join(root, given.wanted.path)) as file:
        check_unchanged(file, given.wanted)
        scale = TIME_SCALES[given.wanted.unit]
        for number, chunk in numbered:
            lines = lines_of_text(read_chunk(file, chunk), chunk.uc_offset, chunk.first_line)
            events = (event for line in lines for event in events_of_line(line, scale))
            yield ChunkEvents(number, chunk, events)
            step()
