"""Frames read back as written, whatever is in them, and damage never passes for an answer."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.tiers.frames import (
    FrameSchema,
    decode_frame,
    empty_frame,
    encode_frame,
    join_frames,
)

from .reading import frame_rows

SCHEMA = FrameSchema(
    numbers=(("u", "uint64"), ("i", "int64"), ("f", "float64")),
    texts=("cat", "name"),
    optional=("epoch",),
)
TEXTS = ("", "unused", "read", "wörld", "x")

_code = st.integers(0, len(TEXTS) - 1)
_row = st.tuples(
    st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)),
    st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
    st.floats(allow_nan=False),
    _code,
    _code,
    st.one_of(st.just(-1), _code),
)
_Row = tuple[int, int, float, int, int, int]


def _stored(rows: list[_Row]) -> bytes:
    dtypes = (np.uint64, np.int64, np.float64, np.int32, np.int32, np.int32)
    names = ("u", "i", "f", *SCHEMA.text_columns)
    columns: dict[str, Any] = {
        name: np.array([row[place] for row in rows], dtype)
        for place, (name, dtype) in enumerate(zip(names, dtypes, strict=True))
    }
    return encode_frame(SCHEMA, columns, TEXTS)


def _expected(rows: list[_Row]) -> list[dict[str, object]]:
    return [
        {
            "u": u,
            "i": i,
            "f": f,
            "cat": TEXTS[cat],
            "name": TEXTS[name],
            "epoch": None if epoch < 0 else TEXTS[epoch],
        }
        for u, i, f, cat, name, epoch in rows
    ]


@settings(deadline=None)
@given(st.lists(_row, max_size=6), st.sampled_from([1, 400]))
def test_a_frame_reads_back_as_it_was_written(rows: list[_Row], times: int) -> None:
    assert frame_rows(SCHEMA, _stored(rows * times)) == _expected(rows * times)


@settings(deadline=None)
@given(st.lists(st.lists(_row, max_size=4), max_size=4))
def test_joined_frames_are_their_rows_in_order_with_each_text_once(
    parts: list[list[_Row]],
) -> None:
    joined = join_frames(SCHEMA, [decode_frame(SCHEMA, _stored(part)) for part in parts])
    expected = _expected([row for part in parts for row in part])
    assert joined.length == len(expected)
    for name, texts in joined.texts.items():
        found = [None if code < 0 else texts[code] for code in joined.columns[name].tolist()]
        assert found == [row[name] for row in expected]
        assert len(set(texts)) == len(texts)
        assert set(texts) == {text for text in found if text is not None}
    for name, _ in SCHEMA.numbers:
        assert joined.columns[name].tolist() == [row[name] for row in expected]


def test_a_frame_without_rows_is_the_empty_one() -> None:
    assert _stored([]) == empty_frame(SCHEMA)
    assert frame_rows(SCHEMA, empty_frame(SCHEMA)) == []


def test_a_frame_of_many_rows_takes_what_its_numbers_need() -> None:
    rows: list[_Row] = [(2**63 + n, -n, 0.0, 2, 3, -1) for n in range(1000)]
    assert len(_stored(rows)) < 1000 * (2 + 2 + 1 + 1 + 1 + 1) + 200


@pytest.mark.parametrize(
    "other",
    [
        FrameSchema(SCHEMA.numbers, SCHEMA.texts),
        FrameSchema(SCHEMA.numbers, (*SCHEMA.texts, *SCHEMA.optional)),
        FrameSchema((("u", "int64"), *SCHEMA.numbers[1:]), SCHEMA.texts, SCHEMA.optional),
        FrameSchema((("v", "uint64"), *SCHEMA.numbers[1:]), SCHEMA.texts, SCHEMA.optional),
    ],
)
def test_a_frame_is_read_with_its_own_schema_only(other: FrameSchema) -> None:
    with pytest.raises(StoreDamagedError, match="other columns than its configuration"):
        decode_frame(other, _stored([(1, 2, 0.5, 2, 3, 4)]))


_ROWS: list[_Row] = [(n, 5 - n, n / 3, 2 + n % 3, 3, n % 4 - 1) for n in range(5)]
_VALUES = (_stored(_ROWS), _stored(_ROWS * 100))


@pytest.mark.parametrize("value", _VALUES, ids=["plain", "narrow"])
def test_every_cut_of_a_frame_is_damage(value: bytes) -> None:
    for length in range(0, len(value), 1 if len(value) < 1000 else 37):
        with pytest.raises(StoreDamagedError):
            decode_frame(SCHEMA, value[:length])


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(_VALUES), st.data())
def test_a_frame_with_wrong_bytes_is_damage_or_a_frame_of_the_schema(
    value: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(value)
    near = st.integers(0, min(len(value), 120) - 1)
    places = st.lists(st.one_of(near, st.integers(0, len(value) - 1)), min_size=1, max_size=3)
    for place in data.draw(places):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        frame = decode_frame(SCHEMA, bytes(damaged))
    except StoreDamagedError:
        return
    joined = join_frames(SCHEMA, [frame])
    assert {len(column) for column in joined.columns.values()} == {joined.length}
    for name, texts in joined.texts.items():
        codes = joined.columns[name].tolist()
        assert all((-1 if name == "epoch" else 0) <= code < len(texts) for code in codes)


@pytest.mark.parametrize(
    ("place", "field"),
    [
        (1, 4),  # rows
        (1, -5),
        (1, 2**63),
        (2, ["read"]),  # texts
        (2, []),
        (3, b"\x08" * 6),  # widths
        (4, b"\0" * 48),  # lows
        (5, b""),  # columns
    ],
)
def test_a_plain_frame_whose_parts_do_not_fit_is_damage(place: int, field: object) -> None:
    parts = msgspec.msgpack.decode(_VALUES[0])
    parts[place] = field
    with pytest.raises(StoreDamagedError):
        decode_frame(SCHEMA, msgspec.msgpack.encode(parts))


@pytest.mark.parametrize(
    ("place", "field"),
    [
        (1, 499),
        (2, ["read"]),
        (3, b""),
        (3, b"\x03" * 6),
        (3, b"\0" * 6),
        (3, b"\x01" * 5),
        (4, b"\xff" * 48),
        (4, b""),
        (5, b"\0"),
    ],
)
def test_a_narrow_frame_whose_parts_do_not_fit_is_damage(place: int, field: object) -> None:
    parts = msgspec.msgpack.decode(_VALUES[1])
    parts[place] = field
    with pytest.raises(StoreDamagedError):
        decode_frame(SCHEMA, msgspec.msgpack.encode(parts))


def test_a_null_in_a_column_that_has_none_is_damage() -> None:
    rows: list[_Row] = [(1, 2, 0.5, 2, -1, 3)]
    with pytest.raises(StoreDamagedError, match="a text that it does not have"):
        decode_frame(SCHEMA, _stored(rows))
