"""A filter never denies a value that is there, and seldom claims one that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row, TierConfig
from dftindexd.index.store.layout import CHUNK_BLOOM, FILE_BLOOM, segment_key
from dftindexd.index.tiers.bloom import (
    DIMENSIONS,
    BloomBuilder,
    Blooms,
    decode_blooms,
    probe,
)
from dftindexd.index.tiers.chunk_contents import ChunkContents

from .records import Blocks, metadata, record


def _blooms(rows: list[Row], family: str = CHUNK_BLOOM) -> Blooms:
    values = {(found, key): value for found, key, value in rows}
    return decode_blooms(values[family, segment_key(5)])


def _rows(*chunks: list[str], rate: float = 0.01, arguments: tuple[str, ...] = ()) -> list[Row]:
    blocks = Blocks(arguments)
    builder = BloomBuilder(rate, arguments, blocks.texts)
    for chunk in chunks:
        contents = ChunkContents([blocks.texts.code(name) for name in arguments])
        for line in chunk:
            block = blocks.decode(line)
            contents.add(block.columns, block.others)
        builder.end_chunk(contents)
    return builder.rows(5)


def _chunks(blooms: Blooms, dimension: str, value: object) -> list[bool]:
    return [blooms.may_have(chunk, dimension, value) for chunk in range(len(blooms))]


def test_each_chunk_and_the_segment_have_a_filter_in_every_dimension() -> None:
    rows = _rows([record("read")], [record("write", pid=9)], [])
    assert [family for family, _, _ in rows] == [CHUNK_BLOOM, FILE_BLOOM]
    chunks, whole = _blooms(rows), _blooms(rows, FILE_BLOOM)
    assert (len(chunks), len(whole)) == (3, 1)
    assert all(blooms.has_dimension(name) for blooms in (chunks, whole) for name in DIMENSIONS)
    assert _chunks(chunks, "name", "read") == [True, False, False]
    assert _chunks(chunks, "pid", 9) == [False, True, False]
    assert _chunks(chunks, "fhash", "fwrite") == [False, True, False]
    assert _chunks(whole, "name", "write") == [True]
    assert _chunks(whole, "name", "lseek") == [False]


def test_a_segment_of_one_chunk_has_its_filters_once() -> None:
    assert [family for family, _, _ in _rows([record("read")])] == [CHUNK_BLOOM]


def test_metadata_and_records_without_ph_are_never_pruned() -> None:
    rows = _rows([record("read")], [metadata("HH", "node", "aa")], ['{"name":"lost","tid":4}'])
    chunks = _blooms(rows)
    assert _chunks(chunks, "name", "HH") == [False, True, False]
    assert _chunks(chunks, "name", "lost") == [False, False, True]
    assert _chunks(chunks, "pid", 77.0)[1]


def test_categories_are_found_without_regard_to_case() -> None:
    chunks = _blooms(_rows([record("read", cat="PosIX")]))
    assert _chunks(chunks, "cat", "POSIX") == _chunks(chunks, "cat", "posix") == [True]
    assert _chunks(chunks, "cat", "stdio") == [False]


def test_arguments_that_are_named_have_filters_of_texts_and_numbers() -> None:
    lines = [
        '{"ph":1,"name":"a","args":{"step":5,"mode":"rw","on":true}}',
        '{"ph":1,"name":"a","args":{"step":2.5,"mode":7,"other":9}}',
    ]
    chunks = _blooms(_rows(lines, arguments=("step", "mode", "on")))
    for name, value in (("step", 5), ("step", 5.0), ("step", 2.5), ("mode", "rw"), ("on", 1)):
        assert _chunks(chunks, f"args.{name}", value) == [True]
    assert _chunks(chunks, "args.step", 6) == [False]
    assert _chunks(chunks, "args.mode", "5") == [False]
    assert not chunks.has_dimension("args.other")
    assert _chunks(chunks, "args.other", 1) == [True]


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
        ("args.step", None),
        ("args.step", float("inf")),
        ("args.step", 10**400),
    ],
)
def test_a_value_that_lines_may_hold_in_another_form_is_never_pruned(
    dimension: str, value: object
) -> None:
    assert probe(dimension, value) is None
    rows = _rows([record("read")], arguments=("step",))
    assert _chunks(_blooms(rows), dimension, value) == [True]


def test_a_number_is_looked_up_as_the_decimal_text_of_a_hash() -> None:
    assert probe("hhash", 33084) == probe("hhash", "33084") == probe("hhash", 33084.0)


_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(names=st.lists(_names, min_size=1, max_size=60), pids=st.lists(st.integers(0, 2**64 - 1)))
@settings(deadline=None, max_examples=50)
def test_what_is_there_is_always_found(names: list[str], pids: list[int]) -> None:
    lines = [json.dumps({"ph": 1, "name": name}) for name in names]
    lines += [json.dumps({"ph": 1, "pid": pid}) for pid in pids]
    rows = _rows(lines, [])
    for blooms in (_blooms(rows), _blooms(rows, FILE_BLOOM)):
        assert all(blooms.may_have(0, "name", name) for name in names)
        assert all(blooms.may_have(0, "pid", pid) for pid in pids)


@pytest.mark.parametrize("rate", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("count", [1, 20, 1000, 20_000])
def test_at_most_the_rate_of_other_values_is_claimed(count: int, rate: float) -> None:
    rows = _rows([record(f"name {number}", pid=number) for number in range(count)], rate=rate)
    blooms = _blooms(rows)
    for dimension, others in (
        ("name", [f"other {number}" for number in range(3000)]),
        ("pid", range(10**6, 10**6 + 3000)),
    ):
        claimed = sum(blooms.may_have(0, dimension, other) for other in others)
        assert claimed <= 3000 * rate + 3 * (3000 * rate) ** 0.5


def test_a_lower_rate_costs_more_bits() -> None:
    lines = [record(f"name {number}") for number in range(2000)]
    sizes = [len(_rows(lines, rate=rate)[0][2]) for rate in (0.1, 0.01, 0.001)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2


@pytest.mark.parametrize(
    "config", [{"bloom_rate": 0.0}, {"bloom_rate": 0.9}, {"arguments": ("a.b",)}]
)
def test_a_configuration_out_of_range_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        TierConfig(**config)


@pytest.mark.parametrize(
    "value",
    [b"", b"\xc0", b"\x93\x91\xa4name\x91\x91\x01\xc4\x00", b"\x93\x90\x90\xc4\x00"],
)
def test_a_damaged_row_is_named(value: bytes) -> None:
    with pytest.raises(StoreDamagedError, match="bloom filters do not decode"):
        decode_blooms(value)
