"""Tier 2: how durations, times, threads and hashes are distributed over each chunk.

They lie in the row of ``chunk_stats``: MessagePack, an array of the texts that occur and one
:class:`_StoredChunk` a chunk, with positions in that array. What other indexes keep a chunk or a
file is derived from these and from the manifest, exactly:

* DDSketches, histograms by powers of two, sums and sums of squares of durations, by name or in all,
  from :attr:`Distributions.durations`;
* a file's, by merging its chunks' (:func:`merge_distributions`);
* counts by category, and the first category of a name, from the manifest's kinds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.sketch import BIN_BEGINS, bins_of
from dftindexd.index.tiers.chunk_contents import ChunkContents, Positions, new_positions
from dftindexd.index.tiers.groups import exact_sums, group_rows
from dftindexd.index.tiers.time_bins import TimeBins, merge_times, no_times
from dftindexd.index.trace.columns import HAS_TS, RecordColumns
from dftindexd.index.trace.numbers import UINT64_MAX

if TYPE_CHECKING:
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = (
    "MAX_VALUES",
    "TIME_BIN_US",
    "Cell",
    "ChunkDetails",
    "Distributions",
    "DistributionsBuilder",
    "HashCounts",
    "add_counts",
    "decode_distributions",
    "merge_distributions",
)

#: Of more distinct hashes than these in a chunk only their number is kept.
MAX_VALUES: Final = 4096

#: How many microseconds a bin of the time histogram has.
TIME_BIN_US: Final = 100_000

_FEW: Final = 150
_BEGINS: Final[list[int]] = BIN_BEGINS.tolist()
_POWERS: Final = np.left_shift(np.int64(1), np.arange(63, dtype=np.int64))

#: How many durations, their sum (at most 2**64-1) and the sum of their squares.
Cell: TypeAlias = tuple[int, int, float]

_Cells: TypeAlias = dict[tuple[int, int, int], Cell]

_Array: TypeAlias = npt.NDArray[Any]

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(slots=True)
class Distributions:
    """Those of the rows of one chunk, or of several merged.

    ``durations``: by name, DDSketch bin (:mod:`dftindexd.index.sketch`) and bit length of the
    duration. ``times``: rows by ``ts // TIME_BIN_US``, without those that have no time.
    ``threads``: rows by pid and tid. Orders are those of first sight by chunk and mean nothing.
    """

    durations: dict[tuple[str, int, int], Cell] = field(default_factory=dict)
    times: TimeBins = field(default_factory=no_times)
    threads: dict[tuple[int, int], int] = field(default_factory=dict)

    def sketch(self, name: str | None = None) -> dict[int, int]:
        """Return how many durations each bin of the sketch has, of all rows or of one *name*."""
        return _sums((key[1], cell[0]) for key, cell in self._cells(name))

    def log2_histogram(self, name: str | None = None) -> dict[int, int]:
        """Return how many durations have each bit length, of all rows or of one *name*."""
        return _sums((key[2], cell[0]) for key, cell in self._cells(name))

    def name_counts(self) -> dict[str, int]:
        """Return how many rows each name has."""
        return _sums((key[0], cell[0]) for key, cell in self.durations.items())

    def total(self, name: str | None = None) -> int:
        """Return the sum of durations, at most 2**64-1."""
        return min(sum(cell[1] for _, cell in self._cells(name)), UINT64_MAX)

    def squares(self, name: str | None = None) -> float:
        """Return the sum of the squares of durations."""
        return sum(cell[2] for _, cell in self._cells(name))

    def _cells(self, name: str | None) -> list[tuple[tuple[str, int, int], Cell]]:
        return [(key, cell) for key, cell in self.durations.items() if name in (None, key[0])]


class HashCounts(msgspec.Struct, frozen=True):
    """The distinct hashes of one dimension in a chunk, the empty one left out.

    ``counts`` says how many rows each has; it is ``None`` for more than ``MAX_VALUES``. Of
    ``shash`` the rows are not counted (0), and metadata's are among them.
    """

    distinct: int
    least: str
    greatest: str
    counts: dict[str, int] | None


class ChunkDetails(msgspec.Struct, frozen=True):
    """The distributions of a chunk, and its ``hhash``, ``fhash`` and ``shash``."""

    distributions: Distributions
    hashes: dict[str, HashCounts]


class _StoredHashes(msgspec.Struct, frozen=True, array_like=True):
    distinct: int
    least: str
    greatest: str
    texts: list[int]
    counts: list[int]


class _StoredChunk(msgspec.Struct, frozen=True, array_like=True):
    names: list[int]
    bins: list[int]
    bits: list[int]
    counts: list[int]
    totals: list[int]
    squares: list[float]
    time_steps: list[int]  # the first bin, then how far each is from the one before
    time_counts: list[int]
    pids: list[int]
    tids: list[int]
    thread_counts: list[int]
    hhash: _StoredHashes
    fhash: _StoredHashes
    shash: _StoredHashes


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    texts: list[str]
    chunks: list[_StoredChunk]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Stored)


class _Chunk(msgspec.Struct, frozen=True):
    cells: _Cells
    times: tuple[list[int], list[int]]
    threads: dict[tuple[int, int], int]
    hashes: tuple[Mapping[int, int], ...]


class DistributionsBuilder:
    """Gathers a segment's distributions, chunk by chunk."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._cells: _Cells = {}
        self._times: list[tuple[_Array, _Array]] = []

    def add(self, columns: RecordColumns) -> None:
        """Take a block of the current chunk, not an empty one."""
        timed = columns.ts[(columns.has & HAS_TS) != 0] // TIME_BIN_US
        if len(columns) <= _FEW:
            self._add_few(columns.name.tolist(), columns.dur.tolist())
            self._times.append((timed, np.ones(len(timed), np.int64)))
            return
        self._times.append(np.unique(timed, return_counts=True))
        durations = columns.dur
        sketch_bins = bins_of(durations)
        bits = np.searchsorted(_POWERS, durations, side="right")
        groups = group_rows([columns.name, sketch_bins, bits], len(columns))
        real = durations.astype(np.float64)
        self._add_cells(
            columns.name[groups.first].tolist(),
            sketch_bins[groups.first].tolist(),
            bits[groups.first].tolist(),
            np.bincount(groups.ids).tolist(),
            exact_sums(durations, groups).tolist(),
            np.bincount(groups.ids, real * real).tolist(),
        )

    def _add_few(self, names: list[int], durations: list[int]) -> None:
        cells = self._cells
        for name, duration in zip(names, durations, strict=True):
            key = (name, bisect_right(_BEGINS, duration) - 1, duration.bit_length())
            count, total, squares = cells.get(key, (0, 0, 0.0))
            real = float(duration)
            cells[key] = (count + 1, total + duration, squares + real * real)

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk."""
        self._times.append((groups.time_bin, groups.time_count))
        self._add_cells(
            groups.duration_name.tolist(),
            groups.duration_bin.tolist(),
            groups.duration_bits.tolist(),
            groups.duration_count.tolist(),
            groups.duration_total.tolist(),
            groups.duration_squares.tolist(),
        )

    def _add_cells(
        self,
        names: list[int],
        bins: list[int],
        bits: list[int],
        counts: list[int],
        totals: list[int],
        squares: list[float],
    ) -> None:
        cells = self._cells
        keys = zip(names, bins, bits, strict=True)
        if not cells:
            values = zip(counts, totals, squares, strict=True)
            found = dict(zip(keys, values, strict=True))
            if len(found) == len(names):  # all are distinct
                self._cells = found
                return
            keys = zip(names, bins, bits, strict=True)
        for key, count, total, square in zip(keys, counts, totals, squares, strict=True):
            known = cells.get(key)
            if known is not None:
                count, total, square = known[0] + count, known[1] + total, known[2] + square
            cells[key] = (count, total, square)

    def end_chunk(self, contents: ChunkContents) -> None:
        """End the current chunk, which had these *contents*."""
        strings = dict.fromkeys(contents.shash, 0)
        hashes = (contents.hhash, contents.fhash, strings)
        times = _merged_times(self._times)
        self._chunks.append(_Chunk(self._cells, times, contents.threads, hashes))
        self._cells, self._times = {}, []

    def encode(self, texts: list[str]) -> bytes:
        """Return the chunks as they are stored; *texts* are those of the codes."""
        positions = new_positions()
        chunks = [_stored_chunk(chunk, texts, positions) for chunk in self._chunks]
        return _encoder.encode(_Stored([texts[code] for code in positions], chunks))


def _merged_times(parts: list[tuple[_Array, _Array]]) -> tuple[list[int], list[int]]:
    """Return the steps from bin to bin, ascending, and how many rows each bin has."""
    if sum(len(bins) for bins, _ in parts) <= _FEW:
        times: dict[int, int] = {}
        for bins, counts in parts:
            for time_bin, count in zip(bins.tolist(), counts.tolist(), strict=True):
                times[time_bin] = times.get(time_bin, 0) + count
        ascending = sorted(times)
        steps = [after - before for before, after in pairwise([0, *ascending])]
        return steps, [times[time_bin] for time_bin in ascending]
    found, places = np.unique(np.concatenate([bins for bins, _ in parts]), return_inverse=True)
    total = np.zeros(len(found), np.int64)
    np.add.at(total, places, np.concatenate([counts for _, counts in parts]))
    return np.diff(found, prepend=0).tolist(), total.tolist()


def _stored_chunk(chunk: _Chunk, texts: list[str], positions: Positions) -> _StoredChunk:
    cells, threads = chunk.cells, chunk.threads
    names, bins, bits = zip(*cells, strict=True) if cells else ((), (), ())
    counts, totals, squares = zip(*cells.values(), strict=True) if cells else ((), (), ())
    hhash, fhash, shash = (_stored_hashes(found, texts, positions) for found in chunk.hashes)
    return _StoredChunk(
        names=[positions[name] for name in names],
        bins=list(bins),
        bits=list(bits),
        counts=list(counts),
        totals=[min(total, UINT64_MAX) for total in totals]
        if max(totals, default=0) > UINT64_MAX
        else list(totals),
        squares=list(squares),
        time_steps=chunk.times[0],
        time_counts=chunk.times[1],
        pids=[pid for pid, _ in threads],
        tids=[tid for _, tid in threads],
        thread_counts=list(threads.values()),
        hhash=hhash,
        fhash=fhash,
        shash=shash,
    )


def _stored_hashes(
    counts: Mapping[int, int], texts: list[str], positions: Positions
) -> _StoredHashes:
    found = [texts[code] for code in counts]
    least, greatest = min(found, default=""), max(found, default="")
    if len(counts) > MAX_VALUES:
        return _StoredHashes(len(counts), least, greatest, [], [])
    places = [positions[code] for code in counts]
    return _StoredHashes(len(counts), least, greatest, places, list(counts.values()))


def decode_distributions(value: bytes) -> list[ChunkDetails]:
    """Return those of a segment's chunks; a *value* that is not theirs is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        return [_details(chunk, stored.texts) for chunk in stored.chunks]
    except (ValueError, IndexError) as error:
        raise StoreDamagedError(f"distributions do not decode: {error}") from error


def _details(chunk: _StoredChunk, texts: list[str]) -> ChunkDetails:
    names = [texts[name] for name in chunk.names]
    keys = zip(names, chunk.bins, chunk.bits, strict=True)
    cells = zip(chunk.counts, chunk.totals, chunk.squares, strict=True)
    threads = zip(chunk.pids, chunk.tids, strict=True)
    distributions = Distributions(
        durations=dict(zip(keys, cells, strict=True)),
        times=_times(chunk),
        threads=dict(zip(threads, chunk.thread_counts, strict=True)),
    )
    stored = {"hhash": chunk.hhash, "fhash": chunk.fhash, "shash": chunk.shash}
    return ChunkDetails(
        distributions, {name: _hash_counts(found, texts) for name, found in stored.items()}
    )


def _times(chunk: _StoredChunk) -> TimeBins:
    if len(chunk.time_steps) != len(chunk.time_counts):
        raise ValueError("as many bins of time as counts are wanted")
    bins = np.cumsum(np.array(chunk.time_steps, np.int64))
    return TimeBins(bins, np.array(chunk.time_counts, np.int64))


def _hash_counts(stored: _StoredHashes, texts: list[str]) -> HashCounts:
    places = zip(stored.texts, stored.counts, strict=True)
    counts = {texts[place]: count for place, count in places}
    known = counts if len(counts) == stored.distinct else None
    return HashCounts(stored.distinct, stored.least, stored.greatest, known)


def merge_distributions(parts: Iterable[Distributions]) -> Distributions:
    """Return the distributions of several chunks together, those of a file for instance."""
    listed = list(parts)
    if len(listed) == 1:
        return listed[0]
    merged = Distributions(times=merge_times(part.times for part in listed))
    for part in listed:
        for key, (count, total, squares) in part.durations.items():
            known = merged.durations.get(key, (0, 0, 0.0))
            total = min(known[1] + total, UINT64_MAX)
            merged.durations[key] = (known[0] + count, total, known[2] + squares)
        add_counts(merged.threads, part.threads)
    return merged


def add_counts(counts: dict[_Key, int], more: Mapping[_Key, int]) -> None:
    """Add *more* to *counts*."""
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count


def _sums(pairs: Iterable[tuple[_Key, int]]) -> dict[_Key, int]:
    sums: dict[_Key, int] = {}
    for key, count in pairs:
        sums[key] = sums.get(key, 0) + count
    return sums
