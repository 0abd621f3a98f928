"""What a published chunk is made of: the rows of a store, or those of a second reading."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from dftindexd.index.errors import StoreDamagedError, TraceChangedError
from dftindexd.index.model import AggregationTier, ParsedTrace, ParseRequest, TierConfig
from dftindexd.index.publish.chunk_parts import PublishedChunk, chunk_parts, merged_chunk
from dftindexd.index.publish.second_reading import SecondReading, read_again
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.layout import AGGREGATION, CHECKPOINTS, CHUNK_STATS, MANIFEST
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.tiers.event_order import ORDER_SUFFIX
from dftindexd.index.trace.trace_file import open_trace

METADATA = '{"name":"FH","cat":"dftracer","ph":"M","args":{"name":"/a","value":"ff"}}'


def _event(name: str, cat: str = "POSIX", dur: int = 1, **args: object) -> str:
    record = {"name": name, "cat": cat, "pid": 1, "tid": 2, "ts": 5, "dur": dur, "ph": "X"}
    return json.dumps(record | {"args": args}, separators=(",", ":"))


def _parsed(trace: Path, chunk_bytes: int = TierConfig().chunk_bytes) -> ParsedTrace:
    request = ParseRequest(
        path=os.fsencode(trace),
        segment_id=1,
        provisional_id=2,
        tiers=TierConfig(chunk_bytes=chunk_bytes),
    )
    return parse_trace(request)


def _values(parsed: ParsedTrace, family: str, suffix: bytes = b"") -> list[bytes]:
    rows = sorted(row for row in parsed.rows if row[0] == family)
    return [value for _, key, value in rows if key[8:] == suffix]


def _chunks(parsed: ParsedTrace) -> list[Checkpoint]:
    return [one for value in _values(parsed, CHECKPOINTS) for one in decode_checkpoints(value)]


def _merged(parsed: ParsedTrace) -> PublishedChunk:
    order = _values(parsed, MANIFEST, ORDER_SUFFIX)
    return merged_chunk(chunk_parts(_values(parsed, CHUNK_STATS), order))


def _read_again(
    trace: Path, chunks: list[Checkpoint], tier: AggregationTier | None = None
) -> SecondReading:
    with open_trace(os.fsencode(trace)) as file:
        return read_again(file, chunks, [], tier)


def test_every_object_has_a_number_whatever_stands_between_them(tmp_path: Path) -> None:
    lines = [
        *("[", METADATA, _event("read", dur=9, fhash="ff"), "", "no record at all"),
        *(_event("open"), METADATA, _event("read", dur=3, fhash="ff"), _event("read", "APP"), "]"),
    ]
    trace = tmp_path / "t.pfw.gz"
    trace.write_bytes(gzip.compress("\n".join(lines).encode()))
    chunk = _merged(_parsed(trace))
    numbers = {
        (kind.cat, kind.name): np.frombuffer(kind.numbers, "<u4").tolist() for kind in chunk.kinds
    }
    assert numbers == {("POSIX", "read"): [1, 4], ("POSIX", "open"): [2], ("APP", "read"): [5]}
    assert (chunk.kinds[0].name, chunk.kinds[0].count) == ("read", 2)
    assert chunk.durations["read"] == (1, 9)
    assert np.frombuffer(chunk.metadata["FH"], "<u4").tolist() == [0, 3]
    assert chunk.hashes["fhash"] == {"ff": 2}
    assert chunk.newlines == 9


def _long_trace(trace: Path) -> None:
    events = [_event(f"call{number % 7}", dur=number, fhash="ff") for number in range(900)]
    events[500:500] = [METADATA, "{bad"]
    text = ("[\n" + "\n".join(events)).encode()
    parts = [text[begin : begin + 9000] for begin in range(0, len(text), 9000)]
    trace.write_bytes(b"".join(map(gzip.compress, parts)))


def test_chunks_of_a_store_make_one_as_if_there_had_been_no_other(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    _long_trace(trace)
    whole, parts = _parsed(trace), _parsed(trace, 10_000)
    assert len(_chunks(whole)) == 2  # the last line is apart, since it has no newline
    assert len(_chunks(parts)) > 5
    assert _merged(parts) == _merged(whole)


def test_a_second_reading_gives_what_the_first_gave_and_another_aggregation(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "t.pfw.gz"
    _long_trace(trace)
    first = _parsed(trace, 10_000)
    again = _read_again(trace, _chunks(first))
    assert merged_chunk(chunk_parts(again.chunk_stats, again.event_order)) == _merged(first)
    assert (again.places, again.aggregation, again.system_metrics) == ([], [], [])
    wanted = AggregationTier(interval_us=2)
    tiers = TierConfig(aggregation=wanted)
    request = ParseRequest(path=os.fsencode(trace), segment_id=1, provisional_id=2, tiers=tiers)
    made = [value for family, _, value in parse_trace(request).rows if family == AGGREGATION]
    assert len(_read_again(trace, _chunks(first), wanted).aggregation) == 1 < len(made)


def test_rows_of_other_chunks_are_damage(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    _long_trace(trace)
    whole, parts = _parsed(trace), _parsed(trace, 10_000)
    order = _values(parts, MANIFEST, ORDER_SUFFIX)
    with pytest.raises(StoreDamagedError, match="are not of the same chunks"):
        chunk_parts(_values(whole, CHUNK_STATS), order)


def test_a_trace_that_is_not_what_its_chunks_say_is_refused(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw"
    trace.write_text(_event("read") + "\n")
    chunks = _chunks(_parsed(trace))
    trace.write_text(_event("read")[:-1] + "\n\n")
    with pytest.raises(TraceChangedError, match="2 lines are there, not 1"):
        _read_again(trace, chunks)
