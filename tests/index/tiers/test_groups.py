"""The grouping kernel against plain dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dftindexd.index.tiers.groups import (
    UINT64_MAX,
    RowAccumulator,
    dense_codes,
    exact_sums,
    float_sums,
    group_rows,
    maxima,
    merge_rows,
    minima,
)

_uint64 = st.one_of(st.integers(0, 3), st.integers(0, UINT64_MAX))
_int64 = st.one_of(st.integers(-2, 2), st.integers(-(2**63), 2**63 - 1))
_rows = st.lists(st.tuples(_uint64, _int64, st.integers(0, 255), _uint64), max_size=40)


@settings(deadline=None)
@given(_rows)
def test_groups_and_their_sums_and_bounds_are_those_of_a_dictionary(
    rows: list[tuple[int, int, int, int]],
) -> None:
    expected: dict[tuple[int, int, int], list[int]] = {}
    for *key, value in rows:
        expected.setdefault((key[0], key[1], key[2]), []).append(value)
    first, second, third, values = (
        np.array([row[place] for row in rows], dtype)
        for place, dtype in enumerate((np.uint64, np.int64, np.uint8, np.uint64))
    )
    groups = group_rows([first, second, third], len(rows))
    found = list(zip(*(c[groups.first].tolist() for c in (first, second, third)), strict=True))
    assert found == list(expected)
    members = list(expected.values())
    assert exact_sums(values, groups).tolist() == [min(sum(m), UINT64_MAX) for m in members]
    assert minima(values, groups).tolist() == [min(m) for m in members]
    assert maxima(values, groups).tolist() == [max(m) for m in members]
    assert float_sums(values, groups).tolist() == pytest.approx(
        [float(sum(map(float, m))) for m in members]
    )


def test_dense_codes_are_in_the_order_of_first_sight() -> None:
    codes, values = dense_codes(np.array([7, 3, 7, 9], np.int32))
    assert codes.tolist() == [0, 1, 0, 2]
    assert values.tolist() == [7, 3, 9]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64])
def test_many_numbers_are_hashed_to_what_sorting_them_gives(
    dtype: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(7).integers(0, 500, 3000).astype(dtype) * 7919
    codes, distinct = dense_codes(values)
    assert (distinct[codes] == values).all()
    assert codes.max() + 1 == len(distinct) == len(set(values.tolist()))
    monkeypatch.setattr("dftindexd.index.tiers.groups._SORTED_AT_MOST", 0)
    hashed, seen = dense_codes(values)
    assert hashed.tolist() == codes.tolist()
    assert seen.tolist() == distinct.tolist()
    assert seen.dtype == distinct.dtype == dtype


def test_rows_without_equal_keys_are_returned_as_they_are() -> None:
    rows: dict[str, Any] = {"key": np.arange(3), "n": np.ones(3, np.uint64)}
    assert merge_rows(rows, ["key"], {"n": "sum"}) is rows


def test_an_accumulator_without_rows_has_no_result() -> None:
    accumulator = RowAccumulator(["key"], {"n": "sum"})
    accumulator.add({"key": np.zeros(0, np.int64), "n": np.zeros(0, np.uint64)})
    assert accumulator.result() is None


def test_an_accumulator_may_go_on_after_its_result_was_read() -> None:
    accumulator = RowAccumulator(["key"], {"n": "sum"})
    for _ in range(2):
        accumulator.add({"key": np.array([1, 2]), "n": np.array([1, 1], np.uint64)})
        result = accumulator.result()
    assert result is not None
    assert result["n"].tolist() == [2, 2]
