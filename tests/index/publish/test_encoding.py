"""The encodings of a published store, on their own; ``tests/parity`` holds whole stores against
those of dftracer-utils."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from dftindexd.index.model import FileStamp
from dftindexd.index.publish.aggregation_rows import TextNumbers
from dftindexd.index.publish.encoding import FNV_BASIS, FNV_PRIME, fnv1a, name_id, varint
from dftindexd.index.publish.filters import bloom_filter, joined_filters
from dftindexd.index.publish.packed_rows import PackedRows
from dftindexd.index.publish.registry_rows import stored_mtime
from dftindexd.index.publish.totals import sketch_blob, times_blob
from dftindexd.index.tiers.time_bins import TimeBins, no_times

EDGES = (0, 1, 127, 128, 16_383, 16_384, 2**32, 2**63, 2**64 - 1)


def test_numbers_packed_for_many_rows_are_those_of_one() -> None:
    numbers = np.array(EDGES, np.uint64)
    rows = PackedRows(len(EDGES), 40)
    rows.add_varint(numbers)
    odd = np.flatnonzero(numbers % 2 == 1)
    rows.add_fixed(numbers[odd], ">u8", odd)
    rows.add_varint(numbers)
    expected = [
        varint(one) + (struct.pack(">Q", one) if one % 2 else b"") + varint(one) for one in EDGES
    ]
    assert rows.rows() == expected
    assert rows.joined() == b"".join(expected)


def test_a_filter_has_eight_bits_of_each_value_in_one_block() -> None:
    assert len(bloom_filter((), 0)) == 1452
    assert bloom_filter((), 5)[:12] == struct.pack("<3I", 8, 5, 11_520)
    one = int.from_bytes(bloom_filter(["read"], 1)[12:], "little")
    assert one.bit_count() == 8
    both = int.from_bytes(bloom_filter(["read", "write"], 2)[12:], "little")
    assert both & one == one


def test_a_sketch_of_too_wide_a_range_folds_its_lowest_bins() -> None:
    blob = sketch_blob({-1: 3, 0: 5, 100: 1, 300: 70_000}, 0, 400)
    gamma, least, greatest, count, zeros, offset, bins = struct.unpack("<3d2QiH", blob[:46])
    assert (gamma, least, greatest) == (1.01 / 0.99, 0.0, 400.0)
    assert (count, zeros, offset, bins) == (70_009, 3, 173, 128)
    counts = struct.unpack("<128H", blob[46:])
    assert (counts[0], counts[127], sum(counts)) == (6, 65_535, 65_541)


def test_times_are_steps_from_bin_to_bin() -> None:
    few = TimeBins(np.array([300, 303, 304]), np.array([1, 2, 99]))
    assert times_blob(few) == b"".join(map(varint, (102, 3, 300, 1, 3, 2, 1, 99)))
    far = TimeBins(np.array([3, 500, 501]), np.array([1, 2, 300]))
    assert times_blob(far) == b"".join(map(varint, (303, 3, 3, 1, 497, 2, 1, 300)))
    assert times_blob(no_times()) == b"\0\0"


def test_a_text_has_the_same_number_in_every_store_and_never_0() -> None:
    first, second = TextNumbers(), TextNumbers()
    texts = [f"text {number}" for number in range(5000)]
    found = [first.number(text) for text in texts]
    assert len(set(found)) == len(texts)
    assert 0 < min(found) <= max(found) < 2**20
    assert [first.number(text) for text in texts] == found
    alone = sum(second.number(text) == number for text, number in zip(texts, found, strict=True))
    assert alone > 4900
    assert name_id("") == fnv1a(b"") == 0xCBF29CE484222325


def test_a_file_changed_on_a_whole_second_is_of_the_second_before() -> None:
    assert stored_mtime(FileStamp(1, 1, 5_000_000_000, 0)) == 4
    assert stored_mtime(FileStamp(1, 1, 5_000_000_500, 0)) == 5


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 65_536])
def test_many_bytes_have_the_hash_of_one_after_the_other(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for state in (FNV_BASIS, 0, 2**64 - 1):
        expected = state
        for byte in data:
            expected = (expected ^ byte) * FNV_PRIME % 2**64
        assert fnv1a(data, state) == expected


def test_joined_filters_are_that_of_all_values() -> None:
    parts = [bloom_filter(["read"], 3), bloom_filter(["write", "open"], 4)]
    assert joined_filters(parts, 7) == bloom_filter(["read", "write", "open"], 7)
    assert joined_filters(parts[:1], 3) == parts[0]
