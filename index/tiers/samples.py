"""Numbers that events bring, one a record, and their statistics by group."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dftindexd.index.tiers.groups import UINT64_MAX, Columns, Groups, exact_sums, float_sums

__all__ = ("Samples", "sample_statistics")


class Samples(NamedTuple):
    """Numbers that are not negative, one a record; ``has`` tells which records have one, ``None``
    that all do."""

    values: npt.NDArray[np.int64]
    has: npt.NDArray[np.bool_] | None


def sample_statistics(quantity: str, samples: Samples, groups: Groups) -> Columns:
    """Return the stored statistics of each group's *samples*."""
    count = len(groups)
    values, mask = samples
    own = groups
    if mask is not None and not mask.all():
        if not mask.any():
            return _no_samples(quantity, count)
        own = Groups(groups.ids[mask], groups.first)
        values = values[mask]
    unsigned = values.view(np.uint64)
    real = values.astype(np.float64)
    least = np.full(count, UINT64_MAX, np.uint64)
    greatest = np.zeros(count, np.uint64)
    np.minimum.at(least, own.ids, unsigned)
    np.maximum.at(greatest, own.ids, unsigned)
    return {
        f"{quantity}_count": np.bincount(own.ids, minlength=count).astype(np.uint64),
        f"{quantity}_total": exact_sums(unsigned, own),
        f"{quantity}_min": least,
        f"{quantity}_max": greatest,
        f"{quantity}_sq": float_sums(real * real, own),
    }


def _no_samples(quantity: str, count: int) -> Columns:
    return {
        f"{quantity}_count": np.zeros(count, np.uint64),
        f"{quantity}_total": np.zeros(count, np.uint64),
        f"{quantity}_min": np.full(count, UINT64_MAX, np.uint64),
        f"{quantity}_max": np.zeros(count, np.uint64),
        f"{quantity}_sq": np.zeros(count, np.float64),
    }
