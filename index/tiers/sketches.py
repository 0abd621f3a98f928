"""Percentiles: the samples of each row counted in the bins of a DDSketch.

Bins add, so sketches merge exactly over blocks, segments, traces and groups. Only events have
samples; counters bring none. They are stored beside the rows as a frame of their own: for each
quantity, row and bin that has any, how many samples are in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.sketch import bin_values, bins_of
from dftindexd.index.tiers.frames import (
    Frame,
    FrameSchema,
    decode_frame,
    empty_frame,
    encode_frame,
    join_frames,
)
from dftindexd.index.tiers.groups import (
    Array,
    Columns,
    Groups,
    RowAccumulator,
    exact_sums,
    group_rows,
)
from dftindexd.index.tiers.samples import Samples

__all__ = (
    "PERCENTILES",
    "SKETCH_SCHEMA",
    "Sketch",
    "SketchBuilder",
    "decode_sketches",
    "join_sketches",
)

#: The suffixes of the columns in answers, and the quantile of each.
PERCENTILES: Final = {"p25": 0.25, "p50": 0.50, "p75": 0.75, "p90": 0.90}

_QUANTITY: Final = "quantity"
_ROW: Final = "row"
_BIN: Final = "bin"
_COUNT: Final = "samples"

#: Entries ascend by quantity (a position in those of the configuration), row and bin.
SKETCH_SCHEMA: Final = FrameSchema(
    ((_QUANTITY, "int64"), (_ROW, "int64"), (_BIN, "int64"), (_COUNT, "uint64"))
)
_BINS: Final = np.iinfo(np.int16)


@dataclass(frozen=True, slots=True)
class Sketch:
    """The bins of one quantity over some rows: entries ascend by row, then by bin."""

    rows: npt.NDArray[np.int64]
    bins: npt.NDArray[np.int16]
    counts: npt.NDArray[np.uint64]

    @property
    def nbytes(self) -> int:
        """How much memory the entries take, in bytes."""
        return self.rows.nbytes + self.bins.nbytes + self.counts.nbytes

    def take(self, kept: npt.NDArray[np.int64], length: int) -> Sketch:
        """Return the sketches of the rows *kept*, ascending, of *length* rows."""
        places = np.full(length, -1, np.int64)
        places[kept] = np.arange(len(kept))
        rows = places[self.rows]
        entries = np.flatnonzero(rows >= 0)
        return Sketch(rows[entries], self.bins[entries], self.counts[entries])

    def merged(self, groups: npt.NDArray[np.int64]) -> Sketch:
        """Return the sketches of groups of rows: *groups* has that of each row."""
        return _sketch(groups[self.rows], self.bins, self.counts)

    def quantiles(
        self, quantile: float, least: Array, greatest: Array
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return for each row the number at *quantile*, and whether it has any samples.

        As numpy's default it lies between two neighbouring samples; it is within 1 % of what it is
        for the samples themselves, and never beyond the *least* and the *greatest* of them.
        """
        length = len(least)
        totals = np.cumsum(self.counts.astype(np.int64))
        last = np.searchsorted(self.rows, np.arange(length), side="right")
        until = np.concatenate([[0], totals])[last]
        before = np.concatenate([[0], until[:-1]])
        samples = until - before
        has = samples > 0
        rank = quantile * np.maximum(samples - 1, 0)
        low = np.floor(rank).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(samples - 1, 0))
        result = np.zeros(length, np.float64)
        if has.any():
            lower, upper = (
                bin_values(self.bins[np.searchsorted(totals, (before + at)[has], side="right")])
                for at in (low, high)
            )
            between = lower + (upper - lower) * (rank - low)[has]
            bounds = least[has].astype(np.float64), greatest[has].astype(np.float64)
            result[has] = np.clip(between, *bounds)
        return result, has


def _sketch(rows: Array, bins: Array, counts: Array) -> Sketch:
    """Return entries with equal row and bin as one, in order."""
    groups = group_rows([rows, bins], len(rows))
    counts = exact_sums(counts, groups)
    rows, bins = rows[groups.first].astype(np.int64), bins[groups.first].astype(np.int16)
    order = np.lexsort((bins, rows))
    return Sketch(rows[order], bins[order], counts[order])


class SketchBuilder:
    """Counts the samples of one segment's events; *keys* are the key columns of its rows.

    Memory is bounded by the number of distinct keys times the bins that their samples are in.
    """

    def __init__(self, keys: Sequence[str], quantities: Sequence[str]) -> None:
        self._keys = tuple(keys)
        self._quantities = tuple(quantities)
        self._entries = RowAccumulator((*self._keys, _QUANTITY, _BIN), {_COUNT: "sum"})

    @property
    def held(self) -> int:
        """About how many entries there are so far."""
        return self._entries.held

    def add(self, rows: Columns, groups: Groups, samples: Mapping[str, Samples]) -> None:
        """Take in the samples of some records, whose rows and groups are given."""
        for quantity, (values, has) in samples.items():
            ids = groups.ids
            if has is not None:
                ids, values = ids[has], values[has]
            if not len(values):
                continue
            found = _sketch(ids, bins_of(values), np.ones(len(ids), np.uint64))
            entries: Columns = {key: rows[key][found.rows] for key in self._keys}
            entries[_QUANTITY] = np.full(
                len(found.rows), self._quantities.index(quantity), np.int16
            )
            entries[_BIN] = found.bins
            entries[_COUNT] = found.counts
            self._entries.add(entries)

    def stored(self, rows: Columns | None) -> bytes:
        """Return the stored sketches of the segment's *rows*, whose keys are distinct."""
        entries = self._entries.result()
        if entries is None or rows is None:
            return empty_frame(SKETCH_SCHEMA)
        keys = [np.concatenate([rows[key], entries[key]]) for key in self._keys]
        places = group_rows(keys, len(keys[0])).ids[len(rows[self._keys[0]]) :]
        order = np.lexsort((entries[_BIN], places, entries[_QUANTITY]))
        columns: Columns = {_ROW: places[order]}
        for name in (_QUANTITY, _BIN, _COUNT):
            columns[name] = entries[name][order]
        return encode_frame(SKETCH_SCHEMA, columns, ())


def decode_sketches(value: bytes, length: int, quantities: int) -> Frame:
    """Return the stored sketches of *length* rows; ones that cannot be theirs are a
    StoreDamagedError."""
    frame = decode_frame(SKETCH_SCHEMA, value)
    limits = ((0, quantities), (0, length), (_BINS.min, _BINS.max + 1))
    for place, (least, limit) in enumerate(limits):
        numbers = frame.bits(place)
        if len(numbers) and not least <= int(numbers.min()) <= int(numbers.max()) < limit:
            raise StoreDamagedError("a sketch is of other rows than those of its segment")
    return frame


def join_sketches(
    frames: Sequence[Frame], lengths: Sequence[int], quantities: Sequence[str]
) -> dict[str, Sketch]:
    """Return the sketches of the rows of several segments, so many in each, by quantity."""
    entries = join_frames(SKETCH_SCHEMA, frames).columns
    begins = np.cumsum([0, *lengths])[:-1]
    counts = np.array([frame.length for frame in frames], np.int64)
    rows = entries[_ROW] + np.repeat(begins, counts)
    sketches: dict[str, Sketch] = {}
    for number, quantity in enumerate(quantities):
        own = np.flatnonzero(entries[_QUANTITY] == number)
        bins = entries[_BIN][own].astype(np.int16)
        sketches[quantity] = Sketch(rows[own], bins, entries[_COUNT][own])
    return sketches
