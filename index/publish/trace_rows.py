"""The rows of one trace in a store of dftracer-utils 0.0.12, but for those of the aggregation.

A trace is one chunk there: without checkpoints every read begins at its first byte, and no line
is cut by the end of a chunk. dftracer-utils writes the same of a trace of small gzip members.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from dftindexd.index.publish import families as to
from dftindexd.index.publish.contents import HASHES, Contents
from dftindexd.index.publish.encoding import blob, json_map, name_id, text, u32, u64, varint
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.filters import bloom_filter
from dftindexd.index.publish.totals import (
    Totals,
    add_counts,
    histogram_json,
    sketch_blob,
    times_blob,
)
from dftindexd.index.tiers.chunk_stats import (
    ChunkStats,
    decode_chunk_details,
    decode_chunk_stats,
    merge_chunk_stats,
)
from dftindexd.index.tiers.distributions import Distributions, merge_distributions

__all__ = ("RootSummary", "TraceSummary", "trace_rows")

#: That of dftracer-utils when nothing else is said. It may not be 0.
_CHECKPOINT_BYTES: Final = 32 << 20
_MOST_PACKED: Final = 4096
_CHUNK: Final = u64(0)
_ROOT: Final = b"_root"
_FILTERED: Final = ("name", "cat", "pid", "tid", *HASHES)
_NUMBERS: Final = ("pid", "tid", "ts", "dur")

_Counts = dict[str, int]


class TraceSummary(msgspec.Struct):
    """What a trace holds, by category, name and thread; its newlines, bytes of text and
    processes."""

    totals: Totals
    cats: _Counts
    names: _Counts
    threads: _Counts
    newlines: int
    text_bytes: int
    pids: set[int]


class _Trace(msgspec.Struct, frozen=True):
    file: bytes  # the file's number as it begins keys
    stats: ChunkStats
    by_name: dict[str, Totals]  # durations alone
    threads: dict[tuple[int, int], int]
    contents: Contents
    summary: TraceSummary


def trace_rows(
    file_id: int, chunk_stats: Iterable[bytes], contents: Contents
) -> tuple[TraceSummary, list[PublishedRow]]:
    """Return what is in a trace, and its rows, of our rows of ``chunk_stats`` and its contents."""
    values = list(chunk_stats)
    stats = merge_chunk_stats([one for value in values for one in decode_chunk_stats(value)])
    details = [one for value in values for one in decode_chunk_details(value)]
    spread = merge_distributions(one.distributions for one in details)
    by_name = _by_name(spread)
    summary = _summary_of(stats, spread, by_name, contents)
    trace = _Trace(u32(file_id), stats, by_name, spread.threads, contents, summary)
    sizes = u64(_CHECKPOINT_BYTES) + u64(contents.newlines) + u64(contents.text_bytes)
    rows = [(to.METADATA, trace.file, sizes)]
    if contents.kinds or contents.metadata:
        rows += [*_dimension_rows(trace), *_statistics_rows(trace), *_manifest_rows(trace)]
        rows += _name_rows(trace)
    return summary, rows


def _summary_of(
    stats: ChunkStats, spread: Distributions, by_name: dict[str, Totals], contents: Contents
) -> TraceSummary:
    cats: _Counts = {}
    names: _Counts = {}
    for kind in contents.kinds:
        add_counts(cats, {kind.cat: kind.count})
        add_counts(names, {kind.name: kind.count})
    totals = Totals()
    for one in by_name.values():
        totals.add(one)
    totals.events, totals.times = stats.records, spread.times
    totals.min_ts, totals.max_te = stats.min_ts, stats.max_te or 0
    totals.dur_min, totals.dur_max = stats.min_dur, stats.max_dur or 0
    threads = {f"{pid}:{tid}": count for (pid, tid), count in spread.threads.items()}
    pids = {pid for pid, _ in spread.threads}
    return TraceSummary(totals, cats, names, threads, contents.newlines, contents.text_bytes, pids)


# -- dimensions ------------------------------------------------------------------------------------


def _dimension_rows(trace: _Trace) -> Iterable[PublishedRow]:
    counted = _dimension_counts(trace)
    for dimension in _FILTERED:
        counts = {value: count for value, count in counted[dimension].items() if value}
        entries = sum(counts.values())
        value = u64(entries) + bloom_filter(counts, entries)
        key = trace.file + dimension.encode()
        yield to.CHUNK_BLOOM, key + b"\0" + _CHUNK, value
        yield to.FILE_BLOOM, key, value
    for dimension in (*_FILTERED, "ts", "dur"):
        yield to.DIMENSIONS, b"d|" + trace.file + dimension.encode(), b""
    for dimension, counts in counted.items():
        yield _counted_row(trace, dimension, counts)
    stats = trace.stats
    for dimension, least, most in (
        ("ts", stats.min_ts or 0, stats.max_ts or 0),
        ("dur", stats.min_dur or 0, stats.max_dur or 0),
    ):
        value = _values_head(stats.records, str(least), str(most), dimension) + b"\0"
        yield to.CHUNK_DIM_STATS, _chunk_key(trace) + dimension.encode(), value


def _dimension_counts(trace: _Trace) -> dict[str, _Counts]:
    pids: _Counts = {}
    tids: _Counts = {}
    for (pid, tid), count in trace.threads.items():
        add_counts(pids, {str(pid): count})
        add_counts(tids, {str(tid): count})
    summary = trace.summary
    return {
        "name": summary.names,
        "cat": summary.cats,
        "pid": pids,
        "tid": tids,
        **trace.contents.hashes,
        "pid_tid": summary.threads,
    }


def _counted_row(trace: _Trace, dimension: str, counts: _Counts) -> PublishedRow:
    key = _chunk_key(trace) + dimension.encode()
    order = int if dimension in _NUMBERS else str
    least, most = min(counts, key=order, default=""), max(counts, key=order, default="")
    head = _values_head(len(counts), least, most, dimension)
    parts = [len(counts).to_bytes(4, "little")]
    for value, count in counts.items():
        data = value.encode()[: 2**16 - 1]
        parts += (len(data).to_bytes(2, "little"), data, count.to_bytes(8, "little"))
    packed = zlib.compress(b"".join(parts))
    is_kept = bool(counts) and len(packed) <= _MOST_PACKED
    return to.CHUNK_DIM_STATS, key, head + (b"\1" + blob(packed) if is_kept else b"\0")


def _values_head(distinct: int, least: str, most: str, dimension: str) -> bytes:
    kind = "uint" if dimension in _NUMBERS else "string"
    return u64(distinct) + text(least) + text(most) + text(kind)


def _chunk_key(trace: _Trace) -> bytes:
    return trace.file + _CHUNK


# -- statistics ------------------------------------------------------------------------------------


def _statistics_rows(trace: _Trace) -> Iterable[PublishedRow]:
    summary, totals = trace.summary, trace.summary.totals
    head, times = totals.head(), blob(times_blob(totals.times))
    yield to.CHUNK_STATS, _chunk_key(trace), head + _named_statistics(trace) + times
    yield to.FILE_SCALAR_STATS, trace.file, head + u64(1) + times
    yield to.FILE_CAT_COUNTS, trace.file, _counts(summary.cats)
    yield to.FILE_PID_TID_COUNTS, trace.file, _counts(summary.threads)
    number = len(summary.names)
    value = u32(number) + u64(0) + u64(number) + _pairs(summary.names)
    yield to.FILE_NAME_COUNTS, trace.file, value


def _named_statistics(trace: _Trace) -> bytes:
    """Return the statistics of the durations of each name, and the first category it has."""
    spread = trace.by_name
    bounds: dict[str, tuple[str, int, int]] = {}
    for kind in trace.contents.kinds:
        cat, least, most = bounds.get(kind.name, (kind.cat, kind.dur_min, kind.dur_max))
        bounds[kind.name] = (cat, min(least, kind.dur_min), max(most, kind.dur_max))
    sketches = [len(bounds).to_bytes(4, "little")]
    for name, (_, least, most) in bounds.items():
        data = name.encode()
        sketch = sketch_blob(spread[name].sketch, least, most)
        sketches += (len(data).to_bytes(4, "little"), data)
        sketches += (len(sketch).to_bytes(4, "little"), sketch)
    return b"".join(
        (
            blob(b"".join(sketches)),
            text(json_map((name, histogram_json(spread[name].bits)) for name in bounds)),
            text(json_map((name, str(spread[name].dur_sum)) for name in bounds)),
            text(json_map((name, f"{spread[name].squares:.17g}") for name in bounds)),
            text(json_map((name, f'"{cat}"') for name, (cat, _, _) in bounds.items())),
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


def _counts(counts: Mapping[str, int]) -> bytes:
    return u32(len(counts)) + _pairs(counts)


def _pairs(counts: Mapping[str, int]) -> bytes:
    return b"".join(text(value) + u64(count) for value, count in counts.items())


# -- the manifest and names ------------------------------------------------------------------------


def _manifest_rows(trace: _Trace) -> Iterable[PublishedRow]:
    key = _chunk_key(trace)
    for kind in trace.contents.kinds:
        place = b"E|" + key + kind.cat.encode() + b"\0" + kind.name.encode()
        yield to.MANIFEST, place, u64(kind.count) + blob(kind.numbers)
    for name, numbers in trace.contents.metadata.items():
        yield to.MANIFEST, b"M|" + key + name.encode(), blob(numbers)
    yield _pids_row(trace.file, trace.summary.pids)


def _pids_row(file: bytes, pids: set[int]) -> PublishedRow:
    return to.MANIFEST, b"P|" + file, varint(len(pids)) + b"".join(map(varint, sorted(pids)))


def _name_rows(trace: _Trace) -> Iterable[PublishedRow]:
    for name in trace.summary.names:
        number, data = u64(name_id(name)), name.encode()
        yield to.NAME_DICTIONARY, b"s|" + data, number
        yield to.NAME_DICTIONARY, b"i|" + number, data
        by_name, by_file = b"n|" + number + trace.file, b"o|" + trace.file + number
        yield to.NAME_FILE_POSTINGS, by_name, b""
        yield to.NAME_FILE_POSTINGS, by_file, b""
        yield to.NAME_CHUNK_POSTINGS, by_name + _CHUNK, b""
        yield to.NAME_CHUNK_POSTINGS, by_file + _CHUNK, b""


# -- all traces together ---------------------------------------------------------------------------


class RootSummary:
    """The summaries of all traces together, in their order, in whichever order they come."""

    def __init__(self) -> None:
        self._all = TraceSummary(Totals(), {}, {}, {}, 0, 0, set())
        self._pids: list[set[int]] = []  # of each trace
        self._traces = self._chunks = 0
        self._early: dict[int, TraceSummary] = {}

    def add(self, place: int, one: TraceSummary) -> None:
        """Take the trace at *place*."""
        self._early[place] = one
        while self._traces in self._early:
            self._take(self._early.pop(self._traces))

    def _take(self, one: TraceSummary) -> None:
        every = self._all
        every.totals.add(one.totals)
        add_counts(every.cats, one.cats)
        add_counts(every.names, one.names)
        add_counts(every.threads, one.threads)
        every.newlines += one.newlines
        every.text_bytes += one.text_bytes
        every.pids |= one.pids
        self._pids.append(one.pids)
        self._traces += 1
        self._chunks += one.totals.events > 0

    @property
    def events(self) -> int:
        """How many events there are."""
        return self._all.totals.events

    def rows(self) -> list[PublishedRow]:
        """Return the rows that describe the whole store."""
        every = self._all
        sizes = (u64(self._traces), u64(every.newlines), u64(every.text_bytes))
        times = blob(times_blob(every.totals.times))
        scalars = b"".join((every.totals.head(), u64(self._chunks), times, *sizes))
        return [
            (to.ROOT_SCALAR_STATS, _ROOT, scalars),
            (to.ROOT_CAT_COUNTS, _ROOT, _counts(every.cats)),
            (to.ROOT_NAME_COUNTS, _ROOT, _counts(every.names)),
            (to.ROOT_PID_TID_COUNTS, _ROOT, _counts(every.threads)),
        ]

    def rows_for_one_worker(self) -> list[PublishedRow]:
        """Return rows of the processes of each trace that have the smallest of all besides, to be
        written over those of the traces.

        dfanalyzer gives a trace to that worker of its cluster which the smallest process names, and
        asks there for the processes of its traces. So all go to one, which asks for all.
        """
        if not self._all.pids:
            return []
        least = {min(self._all.pids)}
        return [_pids_row(u32(place + 1), pids | least) for place, pids in enumerate(self._pids)]
