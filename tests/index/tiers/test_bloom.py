"""A filter never denies a value that is there, and seldom claims one that is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import CHUNK_BLOOM, FILE_BLOOM
from dftindexd.index.tiers.bloom import (
    DIMENSIONS,
    BloomBuilder,
    Filters,
    bloom_key,
    decode_filters,
    probe,
)

from .records import Blocks, metadata, record


def _filters(rows: list[Row], family: str, dimension: str) -> Filters:
    values = {(found, key): value for found, key, value in rows}
    return decode_filters(values[family, bloom_key(5, dimension)])


def _rows(*chunks: list[str]) -> list[Row]:
    blocks, builder = Blocks(), BloomBuilder()
    for chunk in chunks:
        for line in chunk:
            block = blocks.decode(line)
            builder.add(block.columns, block.others)
        builder.end_chunk()
    return builder.rows(5, blocks.texts)


def test_each_chunk_and_the_segment_have_a_filter_in_every_dimension() -> None:
    rows = _rows([record("read")], [record("write", pid=9)], [])
    assert len(rows) == 2 * len(DIMENSIONS)
    for dimension in DIMENSIONS:
        assert len(_filters(rows, CHUNK_BLOOM, dimension)) == 3
        assert len(_filters(rows, FILE_BLOOM, dimension)) == 1
    names = _filters(rows, CHUNK_BLOOM, "name")
    assert names.may_match("name", "read").tolist() == [True, False, False]
    assert _filters(rows, CHUNK_BLOOM, "pid").may_match("pid", 9).tolist() == [False, True, False]
    hashes = _filters(rows, CHUNK_BLOOM, "fhash")
    assert hashes.may_match("fhash", "fwrite").tolist() == [False, True, False]
    assert _filters(rows, FILE_BLOOM, "name").may_match("name", "write").tolist() == [True]


def test_metadata_and_records_without_ph_are_never_pruned() -> None:
    rows = _rows([record("read")], [metadata("HH", "node", "aa")], ['{"name":"lost","tid":4}'])
    names = _filters(rows, CHUNK_BLOOM, "name")
    assert names.may_match("name", "HH").tolist() == [False, True, False]
    assert names.may_match("name", "lost").tolist() == [False, False, True]
    assert _filters(rows, CHUNK_BLOOM, "pid").may_match("pid", 77.0).tolist()[1]


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        ("pid", -1),
        ("pid", 1.5),
        ("pid", "12"),
        ("pid", True),
        ("pid", 2**64),
        ("name", 5),
        ("name", ""),
        ("hhash", None),
        ("hhash", True),
    ],
)
def test_a_value_that_lines_may_hold_in_another_form_is_never_pruned(
    dimension: str, value: object
) -> None:
    assert probe(dimension, value) is None
    rows = _rows([record("read")])
    assert _filters(rows, CHUNK_BLOOM, dimension).may_match(dimension, value).tolist() == [True]


def test_a_number_is_looked_up_as_the_decimal_text_of_a_hash() -> None:
    assert probe("hhash", 33084) == probe("hhash", "33084") == probe("hhash", 33084.0)


_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(names=st.lists(_names, min_size=1, max_size=60), pids=st.lists(st.integers(0, 2**64 - 1)))
@settings(deadline=None, max_examples=50)
def test_what_is_there_is_always_found(names: list[str], pids: list[int]) -> None:
    lines = [json.dumps({"ph": 1, "name": name}) for name in names]
    lines += [json.dumps({"ph": 1, "pid": pid}) for pid in pids]
    rows = _rows(lines)
    assert all(_filters(rows, FILE_BLOOM, "name").may_match("name", name)[0] for name in names)
    assert all(_filters(rows, FILE_BLOOM, "pid").may_match("pid", pid)[0] for pid in pids)


@pytest.mark.parametrize("count", [1, 20, 1000, 20_000])
def test_at_most_one_in_a_hundred_other_values_is_claimed(count: int) -> None:
    rows = _rows([record(f"name {number}", pid=number) for number in range(count)])
    for dimension, others in (
        ("name", [f"other {number}" for number in range(3000)]),
        ("pid", range(10**6, 10**6 + 3000)),
    ):
        filters = _filters(rows, FILE_BLOOM, dimension)
        claimed = sum(bool(filters.may_match(dimension, other)[0]) for other in others)
        assert claimed <= 30


@pytest.mark.parametrize("value", [b"", b"\xc0", b"\x82\xa6blocks\x91\x02\xa5words\xc4\x00"])
def test_a_damaged_row_is_named(value: bytes) -> None:
    with pytest.raises(StoreDamagedError, match="bloom filters do not decode"):
        decode_filters(value)
