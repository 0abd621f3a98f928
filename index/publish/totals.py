"""Statistics of durations and times over some records: what chunks, files and the whole store of
dftracer-utils 0.0.12 begin with, and how they are encoded."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.publish.encoding import blob, f64, text, u64, varint
from dftindexd.index.publish.packed_rows import PackedRows
from dftindexd.index.sketch import GAMMA, ZERO_BIN
from dftindexd.index.tiers.distributions import add_counts
from dftindexd.index.tiers.time_bins import TimeBins, merge_times, no_times
from dftindexd.index.trace.numbers import INT64_MAX, UINT64_MAX

__all__ = ("Totals", "histogram_json", "sketch_blob", "times_blob")

_SKETCH: Final = struct.Struct("<3d2QiH")
_VARINT_BYTES: Final = 10
_SEVEN_BITS: Final = 1 << 7
_MOST_BINS: Final = 128
_MOST_IN_BIN: Final = 2**16 - 1


class Totals(msgspec.Struct):
    """Those of *events* records. ``sketch``, ``bits`` and ``times`` count them by bin of the
    DDSketch of the duration, by its bit length, and by ``ts // 100_000``; times are microseconds.
    """

    events: int = 0
    min_ts: int | None = None
    max_te: int = 0
    dur_sum: int = 0
    dur_min: int | None = None
    dur_max: int = 0
    squares: float = 0.0
    sketch: dict[int, int] = msgspec.field(default_factory=dict)
    bits: dict[int, int] = msgspec.field(default_factory=dict)
    times: TimeBins = msgspec.field(default_factory=no_times)

    def add(self, part: Totals) -> None:
        """Take those of other records as well."""
        self.events += part.events
        self.min_ts = _least(self.min_ts, part.min_ts)
        self.max_te = max(self.max_te, part.max_te)
        self.dur_sum += part.dur_sum
        self.dur_min = _least(self.dur_min, part.dur_min)
        self.dur_max = max(self.dur_max, part.dur_max)
        self.squares += part.squares
        add_counts(self.sketch, part.sketch)
        add_counts(self.bits, part.bits)
        self.times = merge_times((self.times, part.times))

    def head(self) -> bytes:
        """Return the statistics without the histogram of times."""
        least = self.dur_min or 0
        return b"".join(
            (
                u64(self.events),
                u64(UINT64_MAX if self.min_ts is None else self.min_ts),
                u64(self.max_te),
                u64(min(self.dur_sum, INT64_MAX)),
                u64(UINT64_MAX if self.dur_min is None else self.dur_min),
                u64(self.dur_max),
                u64(self.events),
                f64(self._deviation()),
                blob(sketch_blob(self.sketch, least, self.dur_max)),
                text(histogram_json(self.bits)),
            )
        )

    def _deviation(self) -> float:
        """Return the sum of the squared distances from the mean."""
        if not self.events:
            return 0.0
        return max(self.squares - self.dur_sum * (self.dur_sum / self.events), 0.0)


def _least(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return min(left, right)


def sketch_blob(bins: Mapping[int, int], least: int, greatest: int) -> bytes:
    """Return the DDSketch of numbers between *least* and *greatest*, counted by bin.

    It has 128 bins at most; what is below them is in the lowest.
    """
    counts = {index: count for index, count in bins.items() if index != ZERO_BIN}
    zeros, count = bins.get(ZERO_BIN, 0), sum(bins.values())
    bounds = (float(least), float(greatest)) if count else (math.inf, -math.inf)
    if not counts:
        return _SKETCH.pack(GAMMA, *bounds, count, zeros, 0, 0)
    last = max(counts)
    offset = max(min(counts), last - _MOST_BINS + 1)
    listed = [0] * (last - offset + 1)
    for index, held in counts.items():
        listed[max(index - offset, 0)] += held
    listed = [min(held, _MOST_IN_BIN) for held in listed]
    header = _SKETCH.pack(GAMMA, *bounds, count, zeros, offset, len(listed))
    return header + struct.pack(f"<{len(listed)}H", *listed)


def histogram_json(bits: Mapping[int, int]) -> str:
    """Return numbers counted by bit length as JSON."""
    return "[" + ",".join(f"[{size},{count}]" for size, count in sorted(bits.items())) + "]"


def times_blob(times: TimeBins) -> bytes:
    """Return records counted by ``ts // 100_000``."""
    head = varint(int(times.counts.sum())) + varint(len(times))
    if not len(times):
        return head
    steps, counts = np.diff(times.bins), times.counts
    first = varint(int(times.bins[0])) + varint(int(counts[0]))
    return head + first + _packed_pairs(steps, counts[1:])


def _packed_pairs(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> bytes:
    """Return pairs of numbers as LEB128."""
    if len(left) and max(left.max(), right.max()) < _SEVEN_BITS:  # as most often
        return np.stack((left, right), axis=1).astype(np.uint8).tobytes()
    rows = PackedRows(len(left), 2 * _VARINT_BYTES)
    rows.add_varint(left)
    rows.add_varint(right)
    return rows.joined()
