"""The rows of one chunk in a store of dftracer-utils 0.0.12."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from dftindexd.index.publish import families as to
from dftindexd.index.publish.chunk_parts import HASHES, PublishedChunk
from dftindexd.index.publish.encoding import blob, json_map, name_id, text, u64
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.filters import bloom_filter
from dftindexd.index.publish.summaries import Counts, Summary
from dftindexd.index.publish.totals import (
    Totals,
    histogram_json,
    sketch_blob,
    times_blob,
)
from dftindexd.index.tiers.distributions import Distributions, add_counts

__all__ = ("FILTERED", "ChunkRows", "chunk_rows")

#: The dimensions that have filters.
FILTERED: Final = ("name", "cat", "pid", "tid", *HASHES)

_MOST_PACKED: Final = 4096
_NUMBERS: Final = ("pid", "tid", "ts", "dur")


class ChunkRows(msgspec.Struct, frozen=True):
    """The rows of a chunk, what it holds, and its filters, each after the number of its entries."""

    summary: Summary
    filters: dict[str, tuple[int, bytes]]
    rows: list[PublishedRow]


def chunk_rows(file: bytes, number: int, chunk: PublishedChunk) -> ChunkRows:
    """Return what is stored of the chunk with this *number* in the trace whose number is *file*."""
    by_name = _by_name(chunk.spread)
    summary = _summary_of(chunk, by_name)
    counted = _dimension_counts(chunk, summary)
    filters = {dimension: _filter(counted[dimension]) for dimension in FILTERED}
    key = file + u64(number)
    rows = [
        (to.CHUNK_BLOOM, file + name.encode() + b"\0" + u64(number), u64(entries) + bits)
        for name, (entries, bits) in filters.items()
    ]
    rows += [_counted_row(key, dimension, counts) for dimension, counts in counted.items()]
    rows += [*_number_rows(key, chunk), _statistics_row(key, chunk, summary, by_name)]
    rows += [*_manifest_rows(key, chunk), *_name_rows(file, number, summary)]
    return ChunkRows(summary, filters, rows)


def _summary_of(chunk: PublishedChunk, by_name: Mapping[str, Totals]) -> Summary:
    stats, spread = chunk.stats, chunk.spread
    summary = Summary(newlines=chunk.newlines, chunks=int(stats.records > 0))
    for kind in chunk.kinds:
        add_counts(summary.cats, {kind.cat: kind.count})
        add_counts(summary.names, {kind.name: kind.count})
    totals = summary.totals
    for one in by_name.values():
        totals.add(one)
    totals.events, totals.times = stats.records, spread.times
    totals.min_ts, totals.max_te = stats.min_ts, stats.max_te or 0
    totals.dur_min, totals.dur_max = stats.min_dur, stats.max_dur or 0
    summary.threads = {f"{pid}:{tid}": count for (pid, tid), count in spread.threads.items()}
    summary.pids = {pid for pid, _ in spread.threads}
    return summary


# -- dimensions ------------------------------------------------------------------------------------


def _dimension_counts(chunk: PublishedChunk, summary: Summary) -> dict[str, Counts]:
    pids: Counts = {}
    tids: Counts = {}
    for (pid, tid), count in chunk.spread.threads.items():
        add_counts(pids, {str(pid): count})
        add_counts(tids, {str(tid): count})
    return {
        "name": summary.names,
        "cat": summary.cats,
        "pid": pids,
        "tid": tids,
        **chunk.hashes,
        "pid_tid": summary.threads,
    }


def _filter(counted: Counts) -> tuple[int, bytes]:
    counts = {value: count for value, count in counted.items() if value}
    entries = sum(counts.values())
    return entries, bloom_filter(counts, entries)


def _counted_row(chunk: bytes, dimension: str, counts: Counts) -> PublishedRow:
    order = int if dimension in _NUMBERS else str
    least, most = min(counts, key=order, default=""), max(counts, key=order, default="")
    head = _values_head(len(counts), least, most, dimension)
    parts = [len(counts).to_bytes(4, "little")]
    for one, count in counts.items():
        data = one.encode()[: 2**16 - 1]
        parts += (len(data).to_bytes(2, "little"), data, count.to_bytes(8, "little"))
    packed = zlib.compress(b"".join(parts))
    is_kept = bool(counts) and len(packed) <= _MOST_PACKED
    value = head + (b"\1" + blob(packed) if is_kept else b"\0")
    return to.CHUNK_DIM_STATS, chunk + dimension.encode(), value


def _number_rows(key: bytes, chunk: PublishedChunk) -> Iterator[PublishedRow]:
    stats = chunk.stats
    for dimension, least, most in (
        ("ts", stats.min_ts or 0, stats.max_ts or 0),
        ("dur", stats.min_dur or 0, stats.max_dur or 0),
    ):
        value = _values_head(stats.records, str(least), str(most), dimension) + b"\0"
        yield to.CHUNK_DIM_STATS, key + dimension.encode(), value


def _values_head(distinct: int, least: str, most: str, dimension: str) -> bytes:
    kind = "uint" if dimension in _NUMBERS else "string"
    return u64(distinct) + text(least) + text(most) + text(kind)


# -- statistics ------------------------------------------------------------------------------------


def _statistics_row(
    key: bytes, chunk: PublishedChunk, summary: Summary, by_name: Mapping[str, Totals]
) -> PublishedRow:
    totals = summary.totals
    named = _named_statistics(chunk, by_name)
    return to.CHUNK_STATS, key, totals.head() + named + blob(times_blob(totals.times))


def _named_statistics(chunk: PublishedChunk, by_name: Mapping[str, Totals]) -> bytes:
    """Return the statistics of the durations of each name, and the first category it has."""
    cats: dict[str, str] = {}
    for kind in chunk.kinds:
        cats.setdefault(kind.name, kind.cat)
    sketches = [len(cats).to_bytes(4, "little")]
    for name in cats:
        data = name.encode()
        sketch = sketch_blob(by_name[name].sketch, *chunk.durations[name])
        sketches += (len(data).to_bytes(4, "little"), data)
        sketches += (len(sketch).to_bytes(4, "little"), sketch)
    return b"".join(
        (
            blob(b"".join(sketches)),
            text(json_map((name, histogram_json(by_name[name].bits)) for name in cats)),
            text(json_map((name, str(by_name[name].dur_sum)) for name in cats)),
            text(json_map((name, f"{by_name[name].squares:.17g}") for name in cats)),
            text(json_map((name, f'"{cat}"') for name, cat in cats.items())),
        )
    )


def _by_name(spread: Distributions) -> dict[str, Totals]:
    """Return the statistics of the durations of each name."""
    found: dict[str, Totals] = {}
    for (name, place, bits), (count, total, squares) in spread.durations.items():
        one = found.get(name)
        if one is None:
            one = found[name] = Totals()
        one.sketch[place] = one.sketch.get(place, 0) + count
        one.bits[bits] = one.bits.get(bits, 0) + count
        one.dur_sum += total
        one.squares += squares
    return found


# -- the manifest and names ------------------------------------------------------------------------


def _manifest_rows(key: bytes, chunk: PublishedChunk) -> Iterator[PublishedRow]:
    for kind in chunk.kinds:
        place = b"E|" + key + kind.cat.encode() + b"\0" + kind.name.encode()
        yield to.MANIFEST, place, u64(kind.count) + blob(kind.numbers)
    for name, numbers in chunk.metadata.items():
        yield to.MANIFEST, b"M|" + key + name.encode(), blob(numbers)


def _name_rows(file: bytes, number: int, summary: Summary) -> Iterator[PublishedRow]:
    for name in summary.names:
        place = u64(name_id(name))
        yield to.NAME_CHUNK_POSTINGS, b"n|" + place + file + u64(number), b""
        yield to.NAME_CHUNK_POSTINGS, b"o|" + file + place + u64(number), b""
