"""Distributions say of each chunk, and of chunks together, what counting its records says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dftindexd.index.sketch import bins_of
from dftindexd.index.tiers.chunk_contents import ChunkContents
from dftindexd.index.tiers.chunk_stats import ChunkStatsBuilder, decode_chunk_details
from dftindexd.index.tiers.distributions import (
    MAX_VALUES,
    ChunkDetails,
    merge_distributions,
)
from dftindexd.index.trace.columns import Interner, RecordColumns
from dftindexd.index.trace.kernel import ChunkGroups

from .records import Blocks, metadata, record

_Record = dict[str, Any]


def _details(*chunks: Sequence[Sequence[str]]) -> list[ChunkDetails]:
    """Return those of chunks, each of some blocks of lines."""
    blocks, builder = Blocks(), ChunkStatsBuilder()
    for chunk in chunks:
        contents = ChunkContents()
        for lines in chunk:
            block = blocks.decode(*lines)
            contents.add(block.columns, block.others)
            builder.add(block.columns, exact=block.exact)
        builder.end_chunk(contents, "US")
    return decode_chunk_details(builder.rows(9, blocks.texts.texts)[0][2])


_records = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["read", "write", "open"]),
        "ph": st.just(1),
        "pid": st.sampled_from([1, 2]),
        "tid": st.sampled_from([1, 2**63]),
        "dur": st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1)),
        "args": st.fixed_dictionaries({"fhash": st.sampled_from(["a", "b", "c"])}),
    },
    optional={"ts": st.integers(0, 2**40)},
)


@given(
    records=st.lists(_records, max_size=400),
    cuts=st.lists(st.integers(0, 400), max_size=3),
)
@settings(deadline=None, max_examples=60)
def test_few_and_many_records_are_counted_alike(records: list[_Record], cuts: list[int]) -> None:
    lines = [json.dumps(found) for found in records]
    ends = [0, *sorted(cuts), len(lines)]
    blocks = [lines[begin:end] for begin, end in pairwise(ends) if begin < end]
    (found,) = _details(blocks)
    distributions = found.distributions
    names: Counter[str] = Counter(one["name"] for one in records)
    assert distributions.name_counts() == names
    for name in (None, *names):
        durations = [one["dur"] for one in records if name in (None, one["name"])]
        array = np.array(durations, np.int64)
        assert distributions.sketch(name) == Counter(bins_of(array).tolist())
        assert distributions.log2_histogram(name) == Counter(d.bit_length() for d in durations)
        assert distributions.squares(name) == pytest.approx(sum(float(d) ** 2 for d in durations))
        assert distributions.total(name) == min(sum(durations), 2**64 - 1)
    times = Counter(one["ts"] // 100_000 for one in records if "ts" in one)
    assert distributions.times.as_dict() == times
    assert distributions.threads == Counter((one["pid"], one["tid"]) for one in records)
    assert found.hashes["fhash"].counts == Counter(one["args"]["fhash"] for one in records)


def _short(found: _Record) -> _Record:
    return {**found, "dur": found["dur"] % 2**40}


@given(chunks=st.lists(st.lists(_records.map(_short), max_size=30), max_size=4))
@settings(deadline=None, max_examples=30)
def test_chunks_together_are_as_one_chunk_of_all(chunks: list[list[_Record]]) -> None:
    lines = [[json.dumps(found) for found in chunk] for chunk in chunks]
    merged = merge_distributions(
        found.distributions for found in _details(*[[chunk] for chunk in lines])
    )
    (whole,) = _details(lines)
    assert merged.times == whole.distributions.times
    assert merged.threads == whole.distributions.threads
    assert merged.sketch() == whole.distributions.sketch()
    assert merged.total() == whole.distributions.total()
    assert merged.squares() == pytest.approx(whole.distributions.squares())


def test_of_too_many_hashes_only_the_number_and_the_bounds_are_kept() -> None:
    lines = [record(f"n{number:05}") for number in range(MAX_VALUES + 1)]
    (many,), (few,) = _details([lines]), _details([lines[:-1]])
    counts = many.hashes["fhash"]
    assert (counts.distinct, counts.counts) == (MAX_VALUES + 1, None)
    assert (counts.least, counts.greatest) == ("fn00000", f"fn{MAX_VALUES:05}")
    kept = few.hashes["fhash"]
    assert kept.counts is not None
    assert len(kept.counts) == kept.distinct == MAX_VALUES


def test_metadata_is_in_no_distribution() -> None:
    (found,) = _details([[metadata("HH", "node", "aa")]])
    assert not found.distributions.durations
    assert not found.distributions.threads
    assert found.hashes["hhash"].distinct == 0


def _groups(columns: RecordColumns) -> ChunkGroups:
    """Return records grouped, each a group of its own, as a kernel could have."""
    count = len(columns)
    ones = np.ones(count, np.int64)
    return ChunkGroups(
        cat=columns.cat,
        name=columns.name,
        pid=columns.pid,
        tid=columns.tid,
        hhash=columns.hhash,
        fhash=columns.fhash,
        counts=ones,
        first_line=columns.line,
        is_row=np.ones(count, np.bool_),
        shash=columns.shash,
        shash_rows=ones,
        duration_name=columns.name,
        duration_bin=bins_of(columns.dur),
        duration_bits=np.array([int(d).bit_length() for d in columns.dur], np.uint8),
        duration_count=ones,
        duration_total=columns.dur.astype(np.uint64),
        duration_squares=columns.dur.astype(np.float64) ** 2,
        time_bin=columns.ts // 100_000,
        time_count=ones,
        ret_bounds=None,
        offset_bounds=None,
        count_bounds=None,
        records=count,
        min_ts=int(columns.ts.min()),
        max_ts=int(columns.ts.max()),
        max_te=int((columns.ts + columns.dur).max()),
        min_dur=int(columns.dur.min()),
        max_dur=int(columns.dur.max()),
        sum_dur=int(columns.dur.sum()),
        order=np.zeros(0, np.uint8),
        kind_cats=np.zeros(0, np.int32),
        kind_names=np.zeros(0, np.int32),
        kind_bounds=np.zeros((0, 2), np.int64),
    )


def _both_ways(lines: list[str]) -> Iterator[tuple[Interner, ChunkContents, ChunkStatsBuilder]]:
    for grouped in (False, True):
        blocks, contents, builder = Blocks(), ChunkContents(), ChunkStatsBuilder()
        block = blocks.decode(*lines)
        if grouped:
            contents.add_groups(_groups(block.columns))
            builder.add_groups(_groups(block.columns))
        else:
            contents.add(block.columns, block.others)
            builder.add(block.columns, exact=block.exact)
        builder.end_chunk(contents, "US")
        yield blocks.texts, contents, builder


@pytest.mark.parametrize("count", [3, 700])
def test_groups_give_what_their_records_give(count: int) -> None:
    lines = [
        record(f"n{number % 37}", pid=number % 5, ts=number * 7919, dur=number * number)
        for number in range(count)
    ]
    (_, one, left), (texts, other, right) = _both_ways(lines)
    assert left.rows(9, texts.texts)[0][2]
    for name in ("records", "kinds", "threads", "hhash", "fhash", "shash"):
        assert getattr(one, name) == getattr(other, name), name
    details = [
        decode_chunk_details(builder.rows(9, texts.texts)[0][2])[0] for builder in (left, right)
    ]
    assert details[0].hashes == details[1].hashes
    assert details[0].distributions.times == details[1].distributions.times
    assert details[0].distributions.durations.keys() == details[1].distributions.durations.keys()
    assert details[0].distributions.sketch() == details[1].distributions.sketch()
