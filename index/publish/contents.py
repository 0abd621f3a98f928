"""What a store of dftracer-utils 0.0.12 has of each single line of a trace, read from its text.

That is the number of every event, by category and name, and how often each hash occurs. A number
counts the objects with ``ph`` that came before in the trace; blank lines, brackets and lines that
do not parse have none. Everything else comes from our own rows, but for an aggregation with another
width of buckets than ours, which is made on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import TraceChangedError
from dftindexd.index.model import AggregationTier, BadLine, FileStamp, TraceFacts
from dftindexd.index.tiers.aggregation import AggregationBuilder
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.index.tiers.system_metrics import SystemMetricsBuilder
from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace.chunk_reader import check_chunk, chunk_text
from dftindexd.index.trace.columns import Interner, RecordColumns
from dftindexd.index.trace.decode import BlockDecoder, DecodedBlock
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.json_line import read_odd_line
from dftindexd.index.trace.kernel import Kernel
from dftindexd.index.trace.lines import LineAssembler, Lines
from dftindexd.index.trace.names import NameCollector
from dftindexd.index.trace.trace_file import open_trace

__all__ = ("HASHES", "Contents", "KindContents", "read_contents")

#: The dimensions that are hashes.
HASHES: Final = ("hhash", "fhash", "shash")

#: With this each record comes as a row of its own, however the rest of it is chosen.
_ROW_BY_ROW: Final = AggregationTier(percentiles=True)
_METADATA: Final = ("M", 4)
_NEWLINE: Final = ord("\n")
_NUMBER: Final = np.dtype("<u4")

_Array: TypeAlias = npt.NDArray[Any]


class KindContents(msgspec.Struct, frozen=True):
    """The events of a category and name: how many, their numbers (u32, little endian), the first
    of these, and their least and greatest duration."""

    cat: str
    name: str
    count: int
    numbers: bytes
    first: int
    dur_min: int
    dur_max: int


class Contents(msgspec.Struct, frozen=True):
    """``kinds`` in the order of their first events; the numbers of metadata records by name; how
    many events have each hash, by dimension; newlines and bytes of the text; and, where they were
    asked for, the frames of another aggregation and its system metrics."""

    kinds: list[KindContents]
    metadata: dict[str, bytes]
    hashes: dict[str, dict[str, int]]
    newlines: int
    text_bytes: int
    aggregation: bytes = b""
    system_metrics: bytes = b""


def read_contents(
    path: bytes,
    stamp: FileStamp,
    chunks: Iterable[Checkpoint],
    tier: AggregationTier | None = None,
) -> Contents:
    """Read the text of *chunks*, all those of the trace at *path*, and aggregate it by *tier*.

    :raises TraceChangedError: it is another file than that of *stamp*, or not what the chunks say.
    :raises OSError: it cannot be read.
    """
    lines = _Numbers(tier)
    with open_trace(path) as file:
        if file.stamp != stamp:
            raise TraceChangedError(
                f"{os.fsdecode(path)} has changed since it was indexed",
                "publish again after a sync",
            )
        for chunk in chunks:
            assembler = LineAssembler(lines, chunk.uc_offset, chunk.first_line)
            for piece in chunk_text(file, chunk):
                assembler.feed(piece)
            assembler.terminate()
            size, count = assembler.end - chunk.uc_offset, assembler.line - chunk.first_line
            check_chunk(chunk, size, count)
    return lines.contents()


class _Found:
    """The events of one kind so far."""

    __slots__ = ("dur_max", "dur_min", "numbers")

    def __init__(self) -> None:
        self.numbers: list[_Array] = []
        self.dur_min = 2**63
        self.dur_max = 0


class _Numbers:
    """Takes the lines of a trace in order, and numbers what is in them."""

    def __init__(self, tier: AggregationTier | None) -> None:
        self._texts = Interner()
        self._builders: tuple[AggregationBuilder | SystemMetricsBuilder, ...] = ()
        if tier is not None:
            self._builders = (AggregationBuilder(tier), SystemMetricsBuilder(tier))
        facts, names = FactsCollector(TraceFacts()), NameCollector()
        self._decoder = BlockDecoder(self._texts, facts, names, ())
        self._kernel: Kernel | None = None
        if kernel_cache.is_loaded():
            self._kernel = Kernel(self._texts, facts, names, self._decoder, _ROW_BY_ROW)
        self._next = 0
        self._kinds: dict[tuple[int, int], _Found] = {}
        self._metadata: dict[str, list[int]] = {}
        self._hashes = {name: np.zeros(0, np.int64) for name in HASHES}
        self._newlines = 0
        self._end = 0

    def add_lines(self, lines: Lines) -> int:
        """Take a block of whole lines; return how many they are."""
        blocks = self._kernel.decode(lines) if self._kernel else (self._decoder.decode(lines),)
        total = sum(block.lines.total for block in blocks)
        self._take(lines, blocks, total)
        self._newlines += total - (not lines.text.endswith(b"\n"))
        self._end = lines.uc_offset + len(lines.text)
        return total

    def add_oversized(self, bad: BadLine, uc_end: int) -> None:
        """Take notice of a line that is too long to have a record."""
        self._newlines += 1
        self._end = max(self._end, uc_end, bad.uc_offset)

    def _take(self, lines: Lines, blocks: tuple[DecodedBlock, ...], total: int) -> None:
        columns = [block.columns for block in blocks if len(block.columns)]
        for builder in self._builders:
            for one in columns:
                builder.add(one, self._texts)
        rows = sum(map(len, columns))
        if len(columns) == 1 and rows == total:
            self._add(columns[0], np.arange(self._next, self._next + rows))
            self._next += rows
            return
        found = [one.line - lines.line for one in columns]
        others = self._others(lines.text, found, total)
        places = np.concatenate([*found, np.array([line for line, _ in others], np.int64)])
        order = np.argsort(places, kind="stable")
        numbers = np.empty(len(places), np.int64)
        numbers[order] = np.arange(self._next, self._next + len(places))
        begin = 0
        for one in columns:
            self._add(one, numbers[begin : begin + len(one)])
            begin += len(one)
        for number, (_, name) in zip(numbers[rows:].tolist(), others, strict=True):
            self._metadata.setdefault(name, []).append(number)
        self._next += len(places)

    def _others(self, text: bytes, found: list[_Array], total: int) -> list[tuple[int, str]]:
        """Return the line and the name of each metadata record among lines that are no rows."""
        is_other = np.ones(total, np.bool_)
        for places in found:
            is_other[places] = False
        lines = np.flatnonzero(is_other)
        if not len(lines):
            return []
        ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE)
        begins = np.concatenate([[0], ends + 1])
        stops = np.append(ends, len(text))
        return [
            (line, name)
            for line, begin, end in zip(
                lines.tolist(), begins[lines].tolist(), stops[lines].tolist(), strict=True
            )
            for name in _metadata_of(text[begin:end])
        ]

    def _add(self, columns: RecordColumns, numbers: _Array) -> None:
        kinds = columns.cat.astype(np.int64) * len(self._texts) + columns.name
        order = np.argsort(kinds, kind="stable")
        ordered = kinds[order]
        begins = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        sorted_numbers = numbers[order].astype(_NUMBER)
        durations = columns.dur[order]
        least, greatest = (
            np.minimum.reduceat(durations, begins),
            np.maximum.reduceat(durations, begins),
        )
        ends = np.append(begins[1:], len(order)).tolist()
        keys = divmod(ordered[begins], len(self._texts))
        rows = zip(*(one.tolist() for one in (*keys, begins, least, greatest)), ends, strict=True)
        for cat, name, begin, low, high, end in rows:
            kind = self._kinds.get((cat, name))
            if kind is None:
                kind = self._kinds[cat, name] = _Found()
            kind.numbers.append(sorted_numbers[begin:end])
            kind.dur_min = min(kind.dur_min, low)
            kind.dur_max = max(kind.dur_max, high)
        for dimension in HASHES:
            self._count(dimension, getattr(columns, dimension))

    def _count(self, dimension: str, codes: _Array) -> None:
        counts = np.bincount(codes, minlength=len(self._hashes[dimension]))
        counts[: len(self._hashes[dimension])] += self._hashes[dimension]
        self._hashes[dimension] = counts

    def contents(self) -> Contents:
        """Return what all lines held."""
        if self._kernel:
            self._kernel.close()
        texts = self._texts.texts
        kinds = [self._kind(texts, *key, found) for key, found in self._kinds.items()]
        frames = [builder.rows(0, self._texts)[0][2] for builder in self._builders]
        aggregation, system_metrics = frames or (b"", b"")
        return Contents(
            kinds=sorted(kinds, key=lambda kind: kind.first),
            metadata={
                name: np.array(numbers, _NUMBER).tobytes()
                for name, numbers in self._metadata.items()
            },
            hashes={name: _counted(counts, texts) for name, counts in self._hashes.items()},
            newlines=self._newlines,
            text_bytes=self._end,
            aggregation=aggregation,
            system_metrics=system_metrics,
        )

    def _kind(self, texts: list[str], cat: int, name: int, found: _Found) -> KindContents:
        numbers = np.concatenate(found.numbers)
        return KindContents(
            cat=texts[cat],
            name=texts[name],
            count=len(numbers),
            numbers=numbers.tobytes(),
            first=int(numbers[0]),
            dur_min=found.dur_min,
            dur_max=found.dur_max,
        )


def _counted(counts: _Array, texts: list[str]) -> dict[str, int]:
    """Return how often each text occurs, without the empty one, whose code is 0."""
    return {texts[code]: int(counts[code]) for code in np.flatnonzero(counts).tolist() if code}


def _metadata_of(line: bytes) -> list[str]:
    odd = read_odd_line(line)
    records = odd.records if odd is not None else []
    return [str(one.get("name", "")) for one in records if one.get("ph") in _METADATA]
