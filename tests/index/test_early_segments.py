"""A segment that holds too much ends early: what is asked for does not depend on where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexed_gzip import IndexedGzipFile, ZranError

from dftindexd.index import segment
from dftindexd.index.model import (
    AggregationTier,
    ParsedTrace,
    ParseRequest,
    Row,
    TierConfig,
    TraceFacts,
    TraceRecord,
)
from dftindexd.index.query.aggregation import Kind, read_aggregation
from dftindexd.index.query.answers import Clock
from dftindexd.index.query.event_plan import TraceChunks
from dftindexd.index.query.events import read_events
from dftindexd.index.query.hash_names import hash_tables
from dftindexd.index.query.source import origin_of
from dftindexd.index.query.system_metrics import system_metrics_table
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.registry import CommitParsed, Registry, plan
from dftindexd.index.tiers.chunk_stats import decode_chunk_stats
from dftindexd.index.trace.members import settled_members
from dftindexd.index.trace.trace_file import TraceFile, open_trace
from tests.index.query.event_traces import Rows
from tests.index.trace.chunks import (
    chunks_of,
    many_members,
    one_member,
    some_lines,
    text_of,
)
from tests.index.trace.parsing import event, gzip_member, inflated, lines_of

_TIER: Final = AggregationTier(interval_us=1_000_000, percentiles=True, group_keys=("step",))
_TIERS: Final = (
    TierConfig(aggregation=AggregationTier(interval_us=1_000_000), chunk_bytes=500),
    TierConfig(aggregation=_TIER, arguments=("step",), chunk_bytes=500),
)
_KINDS: Final[tuple[Kind, ...]] = ("events", "profiles", "system")
_QUERIES: Final = ("", 'name == "f3"', 'fhash == "a1" and ts > 2000000', "tid == 5")
_COLUMNS: Final = ("line", "uc_offset", "name", "fhash", "hhash", "pid", "tid", "ts", "dur", "args")
_RUN: Final = 1_000
_NEVER: Final = 10**9

_SETTINGS = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_number = st.integers(0, 7)


def _metadata(kind: str, value: int, name: int) -> bytes:
    return (
        f'{{"name":"{kind}","cat":"dftracer","type":1,"pid":7,"tid":8,"ph":4,'
        f'"args":{{"hhash":"aa","name":"/data/{name}","value":"a{value}"}}}}'
    ).encode()


def _event(name: int, tid: int, ts: int, space: str) -> bytes:
    return (
        f'{{"id":1,"name":"f{name}","cat":"POSIX","type":3,"pid":7,"tid":{tid},"ts":{ts},'
        f'"dur":{name}, "ph":1,"args":{{"hhash":"aa",{space}"fhash":"a{tid}","step":{name}}}}}'
    ).encode()


def _counter(name: int, ts: int, phase: int) -> bytes:
    return (
        f'{{"id":1,"name":"f{name}","cat":"sys","type":3,"pid":7,"tid":8,"ts":{ts},"dur":0,'
        f'"ph":{phase},"args":{{"hhash":"aa","dft_cnt":{name},"dur_sum":{name}}}}}'
    ).encode()


def _sample(name: int, ts: int) -> bytes:
    return (
        f'{{"id":1,"name":"cpu-{name}","cat":"sys","type":3,"pid":7,"tid":8,"ts":{ts},"dur":0,'
        f'"ph":2,"args":{{"hhash":"aa","user_pct":{name}}}}}'
    ).encode()


_times = st.integers(0, 4_000_000)
_lines = st.one_of(
    st.builds(_metadata, st.sampled_from(["FH", "HH", "SH", "PR"]), _number, _number),
    st.builds(_event, _number, _number, _times, st.sampled_from(["", " "])),
    st.builds(_counter, _number, _times, st.sampled_from([2, 3])),
    st.builds(_sample, _number, _times),
    st.sampled_from([b"", b"[", b"no record", b'{"name":"no phase"}']),
)


def _plain(text: bytes, _: int) -> bytes:
    return text


_CONTAINERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "plain": _plain,
    "one member": lambda text, _: gzip_member(text),
    "members": many_members,
}


class _Index:
    """A trace that is indexed while it grows."""

    def __init__(self, path: Path, tiers: TierConfig, most_held: int, *, use_kernel: bool) -> None:
        self.path = path
        self.source = Rows()
        self._parse = partial(parse_trace, use_kernel=use_kernel, most_held=most_held)
        self._tiers = tiers
        self._registry = Registry.of(0, 1, ())
        self._next_id = 1

    @property
    def record(self) -> TraceRecord:
        """The trace's record, as the store would have it."""
        return self._registry.traces[b"t"]

    def read(self) -> ParsedTrace:
        """Index what the file holds now."""
        old = self.record if b"t" in self._registry.traces else None
        parsed = self._parse(
            ParseRequest(
                path=os.fsencode(self.path),
                segment_id=self._next_id,
                provisional_id=self._next_id + _RUN,
                run=_RUN,
                tiers=self._tiers,
                resume=old.resume if old else None,
                facts=old.facts if old else TraceFacts(),
            )
        )
        self._next_id += 2 * _RUN
        self.source.rows |= {(family, key): value for family, key, value in parsed.rows}
        version = old.version if old else 0
        commit = CommitParsed(path=b"t", base_version=version, tiers=self._tiers, parsed=parsed)
        done = plan(self._registry, [commit])
        assert not done.refused
        self._registry = done.registry
        return parsed

    def answers(self) -> Iterator[object]:
        """Give what every kind of question about the trace gets."""
        record, tier = self.record, self._tiers.aggregation
        assert tier
        records = [record]
        yield record.lines, record.complete_events, origin_of(records)
        yield sum(one.records for one in record.segments)
        yield sum(one.metadata for one in record.segments)
        yield record.facts, record.final_facts, record.tail, record.resume
        hashes = hash_tables(self.source, records)
        yield hashes.own
        for kind in _KINDS:
            yield _sorted(read_aggregation(self.source, records, tier, kind).to_pylist())
        clock = Clock(0, 1_000_000, 1_000_000)
        metrics = system_metrics_table(self.source, records, tier, hashes, clock)
        yield _sorted(metrics.to_pylist())
        for query in _QUERIES:
            reading = read_events(self.source, records, self._open, query, columns=_COLUMNS)
            yield [row for batch in reading for row in batch.to_pylist()]

    def _open(self, record: TraceChunks) -> AbstractContextManager[TraceFile]:
        return open_trace(os.fsencode(self.path))


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((dict(sorted(row.items())) for row in rows), key=repr)


@pytest.mark.parametrize("container", list(_CONTAINERS))
@pytest.mark.parametrize("use_kernel", [True, False])
@given(
    lines=st.lists(_lines, min_size=1, max_size=60),
    most_held=st.integers(1, 30),
    member=st.integers(50, 3_000),
    shares=st.lists(st.floats(0, 1), max_size=2),
    tiers=st.sampled_from(_TIERS),
    open_end=st.booleans(),
)
@pytest.mark.fuzz
@_SETTINGS
def test_no_answer_depends_on_where_segments_end(
    tmp_path: Path,
    container: str,
    use_kernel: bool,
    lines: list[bytes],
    most_held: int,
    member: int,
    shares: list[float],
    tiers: TierConfig,
    open_end: bool,
) -> None:
    data = _CONTAINERS[container](lines_of(*lines), member)
    if open_end:
        data = data[:-9]
    path = tmp_path / "t.pfw"
    cut = _Index(path, tiers, most_held, use_kernel=use_kernel)
    for size in sorted(int(share * len(data)) for share in shares):
        path.write_bytes(data[:size])
        cut.read()
    path.write_bytes(data)
    cut.read()
    whole = _Index(path, tiers, _NEVER, use_kernel=use_kernel)
    whole.read()
    assert len(whole.record.segments) <= 2
    for found, expected in zip(cut.answers(), whole.answers(), strict=True):
        assert found == expected


def _parsed(path: Path, chunk_bytes: int = 32 << 20, run: int = _RUN, **how: Any) -> ParsedTrace:
    request = ParseRequest(
        path=os.fsencode(path),
        segment_id=100,
        provisional_id=100 + run,
        run=run,
        tiers=TierConfig(chunk_bytes=chunk_bytes),
    )
    return parse_trace(request, **how)


@pytest.mark.parametrize("container", ["plain", "one member", "members"])
def test_segments_and_their_chunks_follow_each_other_without_gap(
    tmp_path: Path, container: str
) -> None:
    text = some_lines(12_000)
    packs: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes,
        "one member": one_member,
        "members": many_members,
    }
    path = tmp_path / "t.pfw"
    path.write_bytes(packs[container](text))
    parsed = _parsed(path, chunk_bytes=256 << 10, most_held=1_000)
    assert len(parsed.segments) > 3
    assert [one.segment_id for one in parsed.segments] == [
        100 + number for number in range(len(parsed.segments))
    ]
    for before, after in pairwise(parsed.segments):
        assert after.uc_begin == before.uc_end
        assert after.first_line == before.first_line + before.lines.total
    chunks = chunks_of(parsed)
    assert b"".join(text_of(path, chunk) for chunk in chunks) == text
    assert sum(one.chunks for one in parsed.segments) == len(chunks)
    stats = [value for family, _, value in parsed.rows if family == "chunk_stats"]
    assert len(stats) == len(parsed.segments)
    assert sum(one.records for value in stats for one in decode_chunk_stats(value)) == 12_000


def test_the_text_of_an_open_member_takes_several_provisional_segments(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(gzip_member(lines_of(event())) + one_member(some_lines(12_000))[:-20])
    parsed = _parsed(path, chunk_bytes=128 << 10, most_held=1_000)
    kinds = [one.provisional for one in parsed.segments]
    assert kinds[0] is False
    assert len(kinds) > 3
    assert all(kinds[1:])
    assert parsed.segments[1].segment_id == 100 + _RUN
    text = inflated(path.read_bytes())
    assert parsed.segments[-1].uc_end == text.rindex(b"\n") + 1


def test_without_more_ids_the_last_segment_takes_the_rest_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(some_lines(12_000))
    parsed = _parsed(path, chunk_bytes=64 << 10, run=2, most_held=500)
    assert [one.segment_id for one in parsed.segments] == [100, 101]
    assert parsed.reason == (
        "there are too many distinct texts for 2 segments; the last one takes the rest"
    )
    assert parsed.segments[1].warnings == (parsed.reason,)


class _Sink:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[int | None] = []

    def take(self, rows: list[Row]) -> None:
        """Note the segment of some rows."""
        (number,) = {int.from_bytes(key[:8], "big") for _, key, _ in rows}
        self.told.append(number)

    def drop(self) -> None:
        """Note that all is to be forgotten."""
        self.told.append(None)


def test_a_sink_gets_the_rows_of_each_segment_and_again_where_the_trace_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(settled_members, hold_bytes=10_000)
    monkeypatch.setattr(segment, "settled_members", small)
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(gzip_member(lines_of(event())) + one_member(some_lines(12_000))[:-20])
    sink = _Sink()
    parsed = _parsed(path, chunk_bytes=128 << 10, most_held=1_000, sink=sink)
    assert not parsed.rows
    begin = sink.told.index(None)
    assert begin > 1  # it was taken as closed first
    assert sink.told[begin + 1 :] == [one.segment_id for one in parsed.segments]


def test_a_member_without_seek_points_is_cut_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(library: IndexedGzipFile, offset: int) -> None:
        raise ZranError("cannot go on")

    monkeypatch.setattr(IndexedGzipFile, "seek", fail)
    text = some_lines(12_000)
    path = tmp_path / "t.pfw.gz"
    path.write_bytes(one_member(text))
    parsed = _parsed(path, chunk_bytes=128 << 10, most_held=1_000)
    assert len(parsed.segments) > 3
    chunks = chunks_of(parsed)
    assert {(chunk.c_offset, chunk.window) for chunk in chunks} == {(0, b"")}
    assert b"".join(text_of(path, chunk) for chunk in chunks) == text
    assert parsed.reason == "no more seek points in the gzip member at byte 0: cannot go on"
