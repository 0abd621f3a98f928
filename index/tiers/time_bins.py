"""How many records there are in each bin of time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ("TimeBins", "merge_times", "no_times")

_Numbers: TypeAlias = npt.NDArray[np.int64]


class TimeBins:
    """The ``counts`` of records in the distinct ``bins``, which ascend. It is never changed."""

    __slots__ = ("bins", "counts")

    def __init__(self, bins: _Numbers, counts: _Numbers) -> None:
        self.bins = bins
        self.counts = counts

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TimeBins):
            return NotImplemented
        pairs = ((self.bins, other.bins), (self.counts, other.counts))
        return all(np.array_equal(left, right) for left, right in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.bins)

    def as_dict(self) -> dict[int, int]:
        """Return the counts by bin."""
        return dict(zip(self.bins.tolist(), self.counts.tolist(), strict=True))


def no_times() -> TimeBins:
    """Return those of no record."""
    return TimeBins(np.zeros(0, np.int64), np.zeros(0, np.int64))


def merge_times(parts: Iterable[TimeBins]) -> TimeBins:
    """Return those of several kinds of records together."""
    found = [part for part in parts if len(part)]
    if len(found) < 2:
        return found[0] if found else no_times()
    bins = np.concatenate([part.bins for part in found])
    order = np.argsort(bins, kind="stable")  # quick, since each part is in order
    bins = bins[order]
    begins = np.flatnonzero(np.diff(bins, prepend=-1))
    counts = np.concatenate([part.counts for part in found])[order]
    return TimeBins(bins[begins], np.add.reduceat(counts, begins))
