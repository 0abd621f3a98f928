"""The rows of one trace in a store of dftracer-utils 0.0.12, but for those of the aggregation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dftindexd.index.publish import families as to
from dftindexd.index.publish.checkpoint_rows import checkpoint_rows
from dftindexd.index.publish.chunk_parts import PublishedChunk
from dftindexd.index.publish.chunk_rows import FILTERED, ChunkRows, chunk_rows
from dftindexd.index.publish.encoding import blob, name_id, u32, u64
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.filters import joined_filters
from dftindexd.index.publish.members import CHECKPOINT_BYTES
from dftindexd.index.publish.root_rows import pids_row
from dftindexd.index.publish.summaries import Summary, encoded_counts, merged_summary, pairs
from dftindexd.index.publish.totals import times_blob
from dftindexd.index.trace.resume import Place

__all__ = ("trace_rows",)


def trace_rows(
    file_id: int, chunks: Sequence[PublishedChunk], places: Sequence[Place], text_bytes: int
) -> tuple[Summary, list[PublishedRow]]:
    """Return what is in a trace of *text_bytes*, and its rows. Checkpoints are at *places*, where
    all chunks but the first begin; the last one may be left out where it has no lines."""
    file = u32(file_id)
    made = [
        chunk_rows(file, number, chunk)
        for number, chunk in enumerate(chunks)
        if chunk.kinds or chunk.metadata
    ]
    summary = merged_summary(one.summary for one in made)
    newlines = [chunk.newlines for chunk in chunks]
    summary.newlines, summary.text_bytes = sum(newlines), text_bytes
    sizes = u64(CHECKPOINT_BYTES) + u64(summary.newlines) + u64(text_bytes)
    rows: list[PublishedRow] = [(to.METADATA, file, sizes)]
    rows += checkpoint_rows(file, places, newlines, text_bytes)
    if made:
        rows += [*_dimension_rows(file, made), *_statistics_rows(file, summary, len(made))]
        rows += [pids_row(file, summary.pids), *_name_rows(file, summary)]
        rows += [row for one in made for row in one.rows]
    return summary, rows


def _dimension_rows(file: bytes, made: Sequence[ChunkRows]) -> Iterator[PublishedRow]:
    for dimension in FILTERED:
        entries = sum(one.filters[dimension][0] for one in made)
        bits = joined_filters([one.filters[dimension][1] for one in made], entries)
        yield to.FILE_BLOOM, file + dimension.encode(), u64(entries) + bits
    for dimension in (*FILTERED, "ts", "dur"):
        yield to.DIMENSIONS, b"d|" + file + dimension.encode(), b""


def _statistics_rows(file: bytes, summary: Summary, chunks: int) -> Iterator[PublishedRow]:
    totals, names = summary.totals, summary.names
    times = blob(times_blob(totals.times))
    yield to.FILE_SCALAR_STATS, file, totals.head() + u64(chunks) + times
    yield to.FILE_CAT_COUNTS, file, encoded_counts(summary.cats)
    yield to.FILE_PID_TID_COUNTS, file, encoded_counts(summary.threads)
    yield to.FILE_NAME_COUNTS, file, u32(len(names)) + u64(0) + u64(len(names)) + pairs(names)


def _name_rows(file: bytes, summary: Summary) -> Iterator[PublishedRow]:
    for name in summary.names:
        number, data = u64(name_id(name)), name.encode()
        yield to.NAME_DICTIONARY, b"s|" + data, number
        yield to.NAME_DICTIONARY, b"i|" + number, data
        yield to.NAME_FILE_POSTINGS, b"n|" + number + file, b""
        yield to.NAME_FILE_POSTINGS, b"o|" + file + number, b""
