"""What a store of dftracer-utils 0.0.12 has of the checkpoints of a trace."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from dftindexd.index.publish import families as to
from dftindexd.index.publish.encoding import blob, i64, u64
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.trace.resume import Place

__all__ = ("checkpoint_rows",)


def checkpoint_rows(
    file: bytes, places: Sequence[Place], newlines: Sequence[int], text_bytes: int
) -> Iterator[PublishedRow]:
    """Give the rows of the checkpoints at *places* in the trace whose number is *file*, of
    *text_bytes*; *newlines* are those of each chunk. A checkpoint tells the lines before it, the
    last one also those after it."""
    line = 0
    for number, place in enumerate(places):
        is_last = number == len(places) - 1
        lines = sum(newlines[number:]) if is_last else newlines[number]
        uc_end = text_bytes if is_last else places[number + 1].uc_offset
        c_end = place.c_offset if is_last else places[number + 1].c_offset
        value = (
            u64(uc_end - place.uc_offset),
            u64(place.c_offset),
            u64(c_end - place.c_offset),
            i64(place.bits),
            blob(zlib.compress(zlib.decompress(place.window), 9)),
            u64(lines),
            u64(line + 1),
            u64(line + lines),
        )
        yield to.CHECKPOINTS, file + u64(place.uc_offset) + u64(number), b"".join(value)
        line += lines
