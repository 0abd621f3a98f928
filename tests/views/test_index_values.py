"""Indices in memory against a dictionary that does the same the long way."""

from __future__ import annotations

import operator
import pickle
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dftindexd.views.indices import (
    ExplicitSecondaryIndex,
    IndexBase,
    PartitionIndex,
    filter_indices,
    merge_indices,
    remove_partitions_from_indices,
)

Model = dict[Any, list[str]]

LABELS = st.lists(
    st.sampled_from([f"t-{number}#0" for number in range(6)]), min_size=1, unique=True
)
COLUMNS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.string(), st.text(max_size=3)),
    (pa.binary(), st.binary(max_size=3)),
    (pa.bool_(), st.booleans()),
    (pa.date32(), st.dates(date(1700, 1, 1), date(2200, 1, 1))),
    (
        pa.timestamp("ns"),
        st.integers(-(2**62), 2**62).map(lambda number: np.datetime64(number, "ns")),
    ),
]
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@st.composite
def models(draw: st.DrawFn) -> tuple[pa.DataType, Model, Any]:
    """A type, an index of it that may hold null, and a value that may be in it."""
    dtype, values = draw(st.sampled_from(COLUMNS))
    model = draw(st.dictionaries(values | st.none(), LABELS, max_size=8))
    known = [value for value in model if value is not None]
    return dtype, model, draw(st.sampled_from(known) | values if known else values)


def index_of(dtype: pa.DataType, model: Model) -> ExplicitSecondaryIndex:
    """Return the index that holds *model*."""
    return ExplicitSecondaryIndex("col", model, dtype=dtype)


@given(made=models(), op=st.sampled_from(list(OPERATORS)))
def test_every_operator_finds_what_a_scan_finds_and_null_is_no_value(
    made: tuple[pa.DataType, Model, Any], op: str
) -> None:
    dtype, model, asked = made
    expected = {
        label
        for value, labels in model.items()
        if value is not None and OPERATORS[op](value, asked)
        for label in labels
    }
    assert index_of(dtype, model).eval_operator(op, asked) == expected


@given(made=models(), others=st.data())
def test_null_is_found_where_it_is_asked_for(
    made: tuple[pa.DataType, Model, Any], others: st.DataObject
) -> None:
    dtype, model, asked = made
    index = index_of(dtype, model)
    nulls = set(model.get(None, []))
    rest = {label for value, labels in model.items() if value is not None for label in labels}
    assert set(index.query(None)) == index.eval_operator("==", None) == nulls
    assert index.eval_operator("!=", None) == rest
    wanted = others.draw(st.lists(st.sampled_from([None, asked]), max_size=3))
    expected = {label for value in set(wanted) for label in model.get(value, [])}
    assert index.eval_operator("in", wanted) == expected
    for op in ("<", "<=", ">", ">="):
        with pytest.raises(ValueError, match="null with operator"):
            index.eval_operator(op, None)


@given(made=models())
def test_an_index_is_the_same_after_parquet_and_pickle(
    made: tuple[pa.DataType, Model, Any],
) -> None:
    dtype, model, _ = made
    index = index_of(dtype, model)
    kept: dict[str, bytes] = {}

    class Store:
        put = staticmethod(kept.__setitem__)
        get = staticmethod(kept.__getitem__)

    key = index.store(Store(), "run-1")
    loaded = ExplicitSecondaryIndex("col", index_storage_key=key).load(Store)
    assert (loaded.index_dct, loaded.dtype) == (index.index_dct, index.dtype)
    assert pickle.loads(pickle.dumps(index)) == index
    assert ExplicitSecondaryIndex.from_table("col", index.to_table()) == index


@given(left=models(), data=st.data(), inplace=st.booleans())
def test_updates_and_removals_do_what_they_do_to_a_dictionary(
    left: tuple[pa.DataType, Model, Any], data: st.DataObject, inplace: bool
) -> None:
    dtype, model, asked = left
    more = data.draw(st.dictionaries(st.sampled_from([asked, None]), LABELS, max_size=2))
    gone = data.draw(LABELS)
    index = index_of(dtype, model)
    before = index.copy()
    updated = index.update(index_of(dtype, more), inplace=inplace)
    both = {
        value: set(model.get(value, [])) | set(more.get(value, [])) for value in {**model, **more}
    }
    assert {value: set(labels) for value, labels in updated.to_dict().items()} == both
    shrunk = updated.remove_partitions(gone, inplace=inplace)
    left_over = {value: labels - set(gone) for value, labels in both.items()}
    kept = {value: labels for value, labels in left_over.items() if labels}
    assert {value: set(labels) for value, labels in shrunk.to_dict().items()} == kept
    emptied = shrunk.remove_values([asked, None], inplace=inplace)
    assert set(emptied.to_dict()) == set(kept) - {asked, None}
    if inplace:
        assert emptied is index or not more
    else:
        assert index == before


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (pa.timestamp("ns"), "2024-01-02T03:04:05.123456789+01:00", 1704161045123456789),
        (pa.timestamp("ns"), "2024-01-02T03:04:05.1234567", 1704164645123456700),
        (pa.timestamp("ns"), datetime(2024, 1, 2, tzinfo=UTC), 1704153600000000000),
        (
            pa.timestamp("ns"),
            datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            1704146400000000000,
        ),
        (pa.timestamp("ns"), 17, 17),
        (pa.timestamp("ns"), np.datetime64(17, "ms"), 17_000_000),
    ],
)
def test_times_are_nanoseconds_utc_whatever_they_come_as(
    dtype: pa.DataType, value: object, expected: int
) -> None:
    assert IndexBase.normalize_value(dtype, value) == np.datetime64(expected, "ns")


@pytest.mark.parametrize("value", [datetime(2300, 1, 1), np.datetime64("2300-01-01")])
def test_a_time_beyond_nanoseconds_is_an_error_and_no_other_time(value: object) -> None:
    with pytest.raises(ValueError, match="does not fit nanoseconds"):
        IndexBase.normalize_value(pa.timestamp("ns"), value)


def test_a_text_that_is_no_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match='Cannot parse boolean value "perhaps"'):
        IndexBase.normalize_value(pa.bool_(), "perhaps")


@pytest.mark.parametrize("null", [None, float("nan"), np.datetime64("NaT"), np.float32("nan")])
def test_whatever_stands_for_null_is_one_key(null: object) -> None:
    index = ExplicitSecondaryIndex("col", {1.5: ["a"], null: ["b"]})
    assert index.dtype == pa.float64()
    assert index.index_dct == {1.5: ["a"], None: ["b"]}
    assert index.query(null) == ["b"]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (pa.string(), b"x"),
        (pa.binary(), "x"),
        (pa.date32(), "2024-01-01"),
        (pa.int64(), True),
        (pa.float64(), 1),
        (pa.bool_(), 1),
        (pa.timestamp("ns"), "2024-01-01"),
    ],
)
def test_a_value_of_another_type_is_refused_and_named(dtype: pa.DataType, value: object) -> None:
    index = ExplicitSecondaryIndex("col", {}, dtype=dtype)
    with pytest.raises(TypeError, match="Unexpected type for predicate: Column 'col'"):
        index.eval_operator("==", value)
    with pytest.raises(TypeError, match="Unexpected type for predicate: Column 'col'"):
        index.eval_operator("in", [value])


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="op not supported"):
        IndexBase("col", {1: ["a"]}).eval_operator("like", 1)


@pytest.mark.parametrize(
    ("predicates", "reason"),
    [
        ([], "Empty predicates"),
        ([[]], "Conjunction 0 is empty"),
        ([("col", "==", 1)], "should be a list of 3-tuples"),
        ([[("col", "==")]], "should be a 3-tuple"),
        ([[["col", "==", 1]]], "should be a 3-tuple"),
        ([[("col", "<", None)]], "with null value and operator <"),
    ],
)
def test_predicates_in_another_form_are_refused(predicates: Any, reason: str) -> None:
    index = IndexBase("col", {1: ["a"]})
    with pytest.raises(ValueError, match=reason):
        index.as_flat_series(predicates=predicates)


def test_predicates_keep_values_of_their_column_and_others_are_true() -> None:
    index = IndexBase("col", {1: ["a"], 2: ["a", "b"], None: ["c"]})
    series = index.as_flat_series(predicates=[[("col", ">", 1), ("x", "==", 9)]])
    assert series.to_dict() == {2: "b"}
    assert len(index.as_flat_series(predicates=[[("col", ">", 1)], [("x", "==", 9)]])) == 4
    nulls = index.as_flat_series(predicates=[[("col", "==", None)]], partitions_as_index=True)
    assert nulls.to_dict() == {"c": None}


def test_observed_values_say_where_null_is() -> None:
    assert IndexBase("c", {1: ["a"], None: ["b"]}).observed_values().tolist() == [1, None]
    assert np.isnan(IndexBase("c", {None: ["a"]}, pa.float64()).observed_values()).all()
    assert np.isnat(IndexBase("c", {None: ["a"]}, pa.timestamp("ns")).observed_values()).all()
    assert IndexBase("c", {7: ["a"]}).observed_values().dtype == np.int64


def test_a_series_without_pandas_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "dftindexd.views.indices.flat_series", raising=False)
    monkeypatch.setitem(sys.modules, "pandas", None)
    index = IndexBase("c", {1: ["a"]})
    with pytest.raises(RuntimeError, match="pip install pandas"):
        index.as_flat_series()
    assert index.observed_values().tolist() == [1]


def test_an_index_that_is_not_loaded_never_answers_short() -> None:
    index = ExplicitSecondaryIndex("col", index_storage_key="run-1/col.parquet")
    for ask in (
        lambda: index.query(1),
        lambda: index.eval_operator("==", 1),
        lambda: index.observed_values(),
        lambda: index.remove_partitions(["a"]),
    ):
        with pytest.raises(RuntimeError, match="needs to be loaded"):
            ask()


def test_a_partition_index_needs_a_type_and_is_no_other_kind_of_index() -> None:
    with pytest.raises(ValueError, match="cannot be None"):
        PartitionIndex("host", {"n1": ["a"]})
    index = PartitionIndex("host", {"n1": ["a"]}, pa.string())
    assert index == pickle.loads(pickle.dumps(index))
    assert index != ExplicitSecondaryIndex("host", {"n1": ["a"]})
    assert repr(index).startswith("PartitionIndex(column=host, dtype=string, creation_time=")


def test_the_columns_of_many_indices_are_merged_cut_down_and_kept() -> None:
    parts = [
        {"pid": IndexBase("pid", {1: [f"t{number}"], number: ["all"]})} for number in range(2, 5)
    ]
    merged = merge_indices(parts)
    assert set(merged["pid"].query(1)) == {"t2", "t3", "t4"}
    assert parts[0]["pid"].query(1) == ["t2"]
    left = remove_partitions_from_indices(merged, ["all"])
    assert set(left["pid"].to_dict()) == {1}
    kept = filter_indices(merged, ["t3"])
    assert kept["pid"].to_dict() == {1: ["t3"], 2: [], 3: [], 4: []}
    assert merge_indices([]) == {}


@pytest.mark.parametrize("table", [pa.table({"col": [1]}), pa.table({"x": [1], "partition": [[]]})])
def test_a_table_that_is_no_index_is_refused(table: pa.Table) -> None:
    with pytest.raises(ValueError, match="is no index of col"):
        ExplicitSecondaryIndex.from_table("col", table)
