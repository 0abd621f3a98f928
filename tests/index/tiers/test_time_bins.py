"""Counts by bin of time, and several of them together."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dftindexd.index.tiers.time_bins import TimeBins, merge_times, no_times

COUNTS = st.dictionaries(st.integers(0, 40), st.integers(1, 2**40))


def _bins(counts: dict[int, int]) -> TimeBins:
    ascending = sorted(counts)
    values = [counts[one] for one in ascending]
    return TimeBins(np.array(ascending, np.int64), np.array(values, np.int64))


@given(st.lists(COUNTS, max_size=5))
def test_merged_bins_have_the_counts_of_all(parts: list[dict[int, int]]) -> None:
    expected: Counter[int] = Counter()
    for part in parts:
        expected.update(part)
    merged = merge_times(map(_bins, parts))
    assert merged == _bins(expected)
    assert merged.as_dict() == expected
    assert len(merged) == len(expected)


def test_bins_differ_by_any_bin_or_count() -> None:
    assert _bins({1: 2}) == _bins({1: 2})
    assert _bins({1: 2}) != _bins({1: 3})
    assert _bins({1: 2}) != _bins({2: 2})
    assert no_times() != _bins({0: 1})
