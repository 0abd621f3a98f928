"""Checkpoints, manifest and statistics read back as what the chunks had."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.store.layout import CHECKPOINTS, CHUNK_STATS, MANIFEST, segment_key
from dftindexd.index.tiers.checkpoints import Checkpoint, checkpoint_rows, decode_checkpoints
from dftindexd.index.tiers.chunk_contents import ChunkContents
from dftindexd.index.tiers.chunk_stats import (
    ChunkStats,
    ChunkStatsBuilder,
    decode_chunk_details,
    decode_chunk_stats,
)
from dftindexd.index.tiers.manifest import (
    ChunkManifest,
    Kind,
    ManifestBuilder,
    decode_manifest,
)

from .records import Blocks, metadata, record

_INT64_MAX = 2**63 - 1


def test_checkpoints_read_back_in_order() -> None:
    chunks = [
        Checkpoint(uc_offset=0, uc_size=90, c_offset=0, c_size=40, first_line=0, num_lines=3),
        Checkpoint(
            uc_offset=90,
            uc_size=10,
            c_offset=20,
            c_size=30,
            first_line=3,
            num_lines=1,
            skip=7,
            bits=3,
            window=b"text before",
        ),
    ]
    ((family, key, value),) = checkpoint_rows(9, chunks)
    assert (family, key) == (CHECKPOINTS, segment_key(9))
    assert decode_checkpoints(value) == chunks
    assert decode_checkpoints(checkpoint_rows(9, [])[0][2]) == []


def test_the_manifest_has_kinds_with_counts_and_first_lines() -> None:
    blocks, builder, contents = Blocks(), ManifestBuilder(), ChunkContents()
    for block in (
        blocks.decode(metadata("HH", "node", "aa"), record("write"), record("read", pid=3)),
        blocks.decode(record("read"), record("read", cat="posix")),
    ):
        contents.add(block.columns, block.others)
        builder.add(block.metadata)
    builder.end_chunk(contents)
    block, contents = blocks.decode(metadata("FH", "/a", "bb"), '{"name":"lost"}'), ChunkContents()
    contents.add(block.columns, block.others)
    builder.add(block.metadata)
    builder.end_chunk(contents)
    ((family, key, value),) = builder.rows(9, blocks.texts.texts)
    assert (family, key) == (MANIFEST, segment_key(9))
    assert decode_manifest(value) == [
        ChunkManifest(
            kinds=(
                Kind("POSIX", "write", 1, 1),
                Kind("POSIX", "read", 2, 2),
                Kind("posix", "read", 1, 4),
            ),
            pids=(1, 3),
            metadata=1,
            other_kinds=(Kind("dftracer", "HH", 1, 0),),
        ),
        ChunkManifest(
            kinds=(),
            pids=(),
            metadata=1,
            other_kinds=(Kind("dftracer", "FH", 1, 5), Kind("", "lost", 1, 6)),
        ),
    ]


def _stats(*chunks: list[list[str]]) -> list[ChunkStats]:
    blocks, builder = Blocks(), ChunkStatsBuilder()
    for chunk in chunks:
        for lines in chunk:
            block = blocks.decode(*lines)
            builder.add(block.columns, exact=block.exact)
        builder.end_chunk(ChunkContents(), "US")
    ((family, key, value),) = builder.rows(9, blocks.texts.texts)
    assert (family, key) == (CHUNK_STATS, segment_key(9))
    return decode_chunk_stats(value)


def test_statistics_are_the_bounds_of_each_chunk() -> None:
    first = [[record("a", ts=50, dur=9), record("b", ts=40, dur=30)], [record("c", ts=60, dur=1)]]
    assert _stats(first, [[metadata("HH", "n", "aa")]], []) == [
        ChunkStats(
            records=3,
            timed=3,
            min_ts=40,
            max_ts=60,
            max_te=70,
            min_dur=1,
            max_dur=30,
            sum_dur=40,
        ),
        ChunkStats(),
        ChunkStats(),
    ]


def test_a_record_without_time_has_no_part_in_the_bounds_of_time() -> None:
    (stats,) = _stats([['{"ph":1,"name":"n","dur":4}', record("a", ts=50)]])
    assert (stats.records, stats.timed, stats.min_ts, stats.max_dur) == (2, 1, 50, 4)


def test_sizes_have_bounds_of_the_records_that_have_them() -> None:
    lines = ['{"ph":1,"args":{"ret":-1,"count":5}}', '{"ph":1,"args":{"ret":"7","count":"x"}}']
    (stats,) = _stats([lines])
    assert (stats.ret, stats.count, stats.offset) == ((-1, 7), (5, 5), None)


def test_bounds_of_times_that_were_changed_are_not_exact() -> None:
    assert [stats.exact for stats in _stats([[record("a", ts=-5)]], [[record("a")]])] == [
        False,
        True,
    ]


def test_sums_beyond_64_bits_stop_at_the_greatest_number() -> None:
    (stats,) = _stats([[record("a", ts=9, dur=_INT64_MAX)] * 3])
    assert stats.sum_dur == 2**64 - 1
    assert stats.max_te == _INT64_MAX


@pytest.mark.parametrize(
    ("decode", "what"),
    [
        (decode_checkpoints, "checkpoints"),
        (decode_manifest, "manifest"),
        (decode_chunk_stats, "chunk statistics"),
    ],
)
@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x91\x05"])
def test_a_damaged_row_is_named(decode: Callable[[bytes], object], what: str, value: bytes) -> None:
    with pytest.raises(StoreDamagedError, match=f"{what} do(es)? not decode"):
        decode(value)


def test_a_position_that_is_no_texts_is_damage() -> None:
    kinds = [[5], [5], [1], [1]]
    value = msgspec.msgpack.encode([[], [[kinds, [], 0, [[], [], [], []]]]])
    with pytest.raises(StoreDamagedError, match="manifest does not decode"):
        decode_manifest(value)
    nothing = [0, "", "", [], []]
    chunk = [[5], [1], [1], [1], [1], [1.0], *([[]] * 5), nothing, nothing, nothing]
    value = msgspec.msgpack.encode([[], [[], [chunk]]])
    with pytest.raises(StoreDamagedError, match="distributions do not decode"):
        decode_chunk_details(value)


def test_checkpoint_columns_of_unequal_length_are_damage() -> None:
    value = checkpoint_rows(9, [])[0][2].replace(b"\xa4bits\x90", b"\xa4bits\x91\x00")
    with pytest.raises(StoreDamagedError, match="checkpoints do not decode"):
        decode_checkpoints(value)
