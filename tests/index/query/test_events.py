"""A query finds the events that reading every line finds, and reads only what can hold them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import QueryError, StoreDamagedError, TraceChangedError
from dftindexd.index.model import TierConfig
from dftindexd.index.query.event_plan import TraceChunks
from dftindexd.index.query.events import read_events
from dftindexd.index.store.layout import CHECKPOINTS, CHUNK_BLOOM, MANIFEST
from tests.index.trace.parsing import event, lines_of

from .event_traces import IndexedTraces, write_chunks

_HASH = "00000000000000aa"


def _line(name: str, ts: int = 1000, **fields: object) -> bytes:
    args = fields.pop("args", {"fhash": f"f-{name}"})
    record = {"name": name, "cat": "POSIX", "pid": 1, "tid": 2, "ts": ts, "dur": 5, "ph": "X"}
    return json.dumps({**record, **fields, "args": args}, separators=(",", ":")).encode()


def _metadata(kind: str, name: str) -> bytes:
    args = {"hhash": _HASH, "name": name, "value": "bb"}
    record = {"name": kind, "cat": "dftracer", "pid": 1, "tid": 2, "ph": "M", "args": args}
    return json.dumps(record, separators=(",", ":")).encode()


@pytest.fixture
def three(tmp_path: Path) -> IndexedTraces:
    """A trace of three chunks that differ in everything."""
    return IndexedTraces(
        write_chunks(
            tmp_path / "t.pfw.gz",
            [_metadata("HH", "node"), _line("open", 100, pid=9)],
            [_line("read", 200, dur=50, args={"ret": 9, "step": 1}), _line("read", 300)],
            [_line("write", 1000, cat="STDIO", args={"ret": 10, "step": 2, "hhash": _HASH})],
        )
    )


@pytest.mark.parametrize(
    ("query", "lines", "skipped"),
    [
        ("", [0, 1, 2, 3, 4], {}),
        ("name == 'read'", [2, 3], {"bloom name": 2}),
        ("cat == 'stdio'", [4], {"bloom cat": 2}),
        ("cat == 'x' or name == 'read'", [2, 3], {"bloom cat and bloom name": 2}),
        ("ts > 250 and ts < 900", [3], {"bounds ts": 2}),
        ("dur >= 50", [2], {"bounds dur": 2}),
        ("pid == 9", [1], {"manifest pid": 2}),
        ("ret == 10", [4], {"bounds ret": 2}),
        ("args.ret < 10", [2], {"bounds ret": 2}),
        ("args.step == 2", [4], {}),
        ("name != 'read' and cat == 'POSIX'", [1], {"manifest name": 1, "bloom cat": 1}),
        ("not (name == 'read' or ph == 'M')", [1, 4], {"manifest name": 1}),
        ("name > 'p' and name < 's'", [2, 3], {"manifest name": 2}),
        ("name in ['write', 'open']", [1, 4], {"bloom name": 1}),
        ("name not in ['read', 'HH', 'open']", [4], {"manifest name": 2}),
        ("ph == 'M'", [0], {"phase": 2}),
        ("ph == 4", [0], None),
        ("name == 5", [], {"type name": 3}),
        ("dur in []", [], {"no value": 3}),
        ("name == 'nothing'", [], {"bloom name": 3}),
    ],
)
def test_chunks_that_cannot_match_are_passed_over(
    three: IndexedTraces, query: str, lines: list[int], skipped: dict[str, int] | None
) -> None:
    rows, explanation = three.ask(query)
    assert [row[0] for row in rows] == lines
    assert rows == three.brute_force(query)
    if skipped is not None:
        assert explanation.skipped == skipped
    assert explanation.chunks == 3 == explanation.read + sum(explanation.skipped.values())
    assert [trace.events for trace in explanation.traces] == [len(lines)]


class TestWhatTheReferenceLoses:
    """The cases in which dftracer-utils 0.0.12 passes over chunks that match."""

    def test_a_negation_keeps_the_chunks_that_have_anything_else(
        self, three: IndexedTraces
    ) -> None:
        rows, _ = three.ask("not (name == 'read')")
        assert [row[0] for row in rows] == [0, 1, 4]

    def test_the_last_chunk_is_read_though_another_was_passed_over(
        self, three: IndexedTraces
    ) -> None:
        rows, explanation = three.ask("name in ['open', 'write']")
        assert [row[1] for row in rows] == ["open", "write"]
        assert explanation.read == 2

    def test_metadata_lines_are_found(self, three: IndexedTraces) -> None:
        rows, explanation = three.ask("name == 'HH'", columns=("line", "args.name"))
        assert rows == [(0, "node")]
        assert explanation.read == 1

    def test_an_argument_that_has_a_filter_is_found_by_its_path(self, three: IndexedTraces) -> None:
        for field in ("args.fhash", "fhash"):
            rows, explanation = three.ask(f"{field} == 'f-open'")
            assert rows == [(1, "open")]
            assert explanation.skipped == {"bloom fhash": 2}

    def test_a_trace_without_rows_is_an_error_and_never_empty(self, three: IndexedTraces) -> None:
        for family in (MANIFEST, CHUNK_BLOOM, CHECKPOINTS):
            for row in [row for row in three.source.rows if row[0] == family]:
                del three.source.rows[row]
            with pytest.raises(StoreDamagedError, match=rf"t\.pfw\.gz: {family}"):
                three.ask("name == 'read'")

    @pytest.mark.parametrize("chunk_bytes", [1, 150, 10_000])
    def test_the_size_of_chunks_changes_no_answer(
        self, three: IndexedTraces, chunk_bytes: int
    ) -> None:
        tiers = TierConfig(aggregation=None, chunk_bytes=chunk_bytes)
        again = IndexedTraces(*three.paths.values(), tiers=tiers)
        assert again.ask("dur == 5")[0] == three.ask("dur == 5")[0]

    def test_bounds_are_numbers_and_not_texts(self, tmp_path: Path) -> None:
        path = write_chunks(tmp_path / "t.pfw.gz", [_line("a", 9), _line("b", 10)])
        assert IndexedTraces(path).ask("ts >= 9 and ts <= 10")[0] == [(0, "a"), (1, "b")]


def test_a_filter_of_the_whole_trace_passes_over_all_its_chunks(three: IndexedTraces) -> None:
    three.source.rows = {
        row: value for row, value in three.source.rows.items() if row[0] != CHUNK_BLOOM
    }
    rows, explanation = three.ask("fhash == 'nobody'")
    assert (rows, explanation.read) == ([], 0)
    assert explanation.skipped == {"bloom fhash": 3}


def test_a_trace_is_opened_only_to_be_read(three: IndexedTraces) -> None:
    def opened(record: TraceChunks) -> Any:
        raise AssertionError(f"{record.path!r} was opened")

    assert three.ask("name == 'nothing'", opener=opened)[0] == []


def test_named_arguments_have_filters(three: IndexedTraces) -> None:
    tiers = TierConfig(aggregation=None, chunk_bytes=1, arguments=("step",))
    named = IndexedTraces(*three.paths.values(), tiers=tiers)
    rows, explanation = named.ask("args.step == 2 and ph == 'X'")
    assert rows == [(4, "write")]
    assert explanation.skipped == {"bloom args.step": 2}


@pytest.mark.parametrize(("bloom", "manifest"), [(False, True), (True, False), (False, False)])
def test_without_a_tier_answers_are_the_same(
    three: IndexedTraces, bloom: bool, manifest: bool
) -> None:
    tiers = TierConfig(aggregation=None, chunk_bytes=1, bloom=bloom, manifest=manifest)
    bare = IndexedTraces(*three.paths.values(), tiers=tiers)
    for query in ("name == 'read'", "not (pid == 9)", "ts > 250", "cat == 'STDIO' and dur > 1"):
        assert bare.ask(query)[0] == three.ask(query)[0]
    assert bare.ask("ts > 250 and ph == 'X'")[1].skipped == {"bounds ts": 1}


def test_ranges_of_lines_and_bytes_are_kept_to(three: IndexedTraces) -> None:
    rows, explanation = three.ask(line_range=(1, 3))
    assert [row[0] for row in rows] == [1, 2]
    assert explanation.skipped == {"lines": 1}
    everything, _ = three.ask(columns=("line", "uc_offset"))
    offsets = [offset for _, offset in everything]
    for begin, end in ((0, 1), (offsets[1], offsets[3]), (offsets[1] + 1, offsets[4] + 1)):
        rows, _ = three.ask(byte_range=(begin, end), columns=("uc_offset",))
        assert [row[0] for row in rows] == [offset for offset in offsets if begin <= offset < end]


def test_columns_have_the_values_that_the_tiers_see(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(
        lines_of(
            b'{"name":"a","cat":"C","pid":"7","tid":"8","ts":"5","dur":"2","ph":"X","id":"3",'
            b'"args":{"hostname":"node","fname":"/f","ret":"12"}}',
            b'{"name":"b","ph":2,"ts":9,"args":{"fhash":33084,"x":{"y":[1]},"on":true,"z":1.5}}',
            b'{"name":"c"}',
        )
    )
    columns = ("name", "ph", "pid", "ts", "dur", "id", "fhash", "ret", "args.on", "args.z")
    rows, _ = IndexedTraces(path).ask(columns=columns)
    assert rows[0][:6] == ("a", "X", 7, 5, 2, 3)
    assert (len(str(rows[0][6])), rows[0][7:]) == (16, (12, None, None))
    assert rows[1:] == [
        ("b", "C", 0, 9, 0, None, "33084", None, "true", "1.5"),
        ("c", None, 0, None, None, None, None, None, None, None),
    ]
    assert IndexedTraces(path).ask("fhash == 33084", columns=("name",))[0] == [("b",)]


def test_times_are_microseconds_whatever_the_trace_has(tmp_path: Path) -> None:
    metric = b'{"name":"CM","cat":"dftracer","ph":4,"args":{"name":"time_metric","value":"NS"}}'
    path = write_chunks(
        tmp_path / "t.pfw.gz", [metric, _line("a", 5_000)], [_line("b", 9_000, dur=3000)]
    )
    traces = IndexedTraces(path)
    rows, explanation = traces.ask("ts == 9", columns=("name", "ts", "dur"))
    assert rows == [("b", 9, 3)]
    assert traces.ask("ts == 5")[0] == [(1, "a")]
    assert traces.ask("ts == 5")[1].skipped == {"bounds ts": 1}
    assert explanation.chunks == 2


def test_a_trace_that_grew_is_read_and_one_that_changed_is_not(three: IndexedTraces) -> None:
    (path,) = three.paths.values()
    whole = path.read_bytes()
    path.write_bytes(whole + b"\x1f\x8b")
    assert len(three.ask()[0]) == 5
    path.write_bytes(b"\x1f\x8b" + whole[:-40])
    with pytest.raises(TraceChangedError, match="changed since it was indexed"):
        three.ask()


@pytest.mark.parametrize(
    ("query", "columns", "message"),
    [
        ("nmae == 'x'", ("name",), "did you mean name"),
        ("name == 'x' and not (args. == 1)", ("name",), "args.NAME"),
        ("", ("name", "file"), "no field file.*uc_offset"),
        ("name = 1", ("name",), "a single ="),
    ],
)
def test_what_is_no_query_is_refused_at_once(
    query: str, columns: tuple[str, ...], message: str
) -> None:
    traces = IndexedTraces()
    with pytest.raises(QueryError, match=f"(?s){message}"):
        read_events(traces.source, [], traces.open, query, columns=columns)


_times = st.one_of(st.integers(-5, 60), st.sampled_from(["12", 3.7, None, 2**64 - 1, True]))
_args = st.fixed_dictionaries(
    {},
    optional={
        "fhash": st.sampled_from(["a", "b", 7, "", None]),
        "cmd_hash": st.sampled_from(["c", 0, 7]),
        "exec_hash": st.sampled_from(["c", "d", "7"]),
        "hostname": st.just("node"),
        "ret": st.one_of(st.integers(-3, 12), st.sampled_from(["5", 2.5, "x", 2**70])),
        "step": st.sampled_from([1, 2, 2.0, "2", True, 2**53 + 1, -0.0, None, [1], {"y": 1}]),
        "dur": st.sampled_from([1, 2000]),
    },
)
_records = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["read", "write", "HH", "", 5]),
        "cat": st.sampled_from(["POSIX", "posix", "APP"]),
        "ph": st.sampled_from(["X", 1, "C", 2, "A", "M", 4, "B", None, 7]),
        "pid": st.sampled_from([0, 1, "1", -4, 2**64]),
        "ts": _times,
        "dur": _times,
        "args": _args,
    },
)
_METRIC = '{"name":"CM","ph":4,"args":{"name":"time_metric","value":"%s"}}'
_lines = st.one_of(
    _records.map(json.dumps),
    st.sampled_from(["[", "", "garbage", _METRIC % "NS", _METRIC % "US", '{"ph":1,"ph":4}']),
)
_values = st.one_of(
    st.sampled_from(["'read'", "'POSIX'", "'posix'", "'a'", "'7'", "'2'", "'M'", "''", "true"]),
    st.integers(-5, 60).map(str),
    st.sampled_from(["7", "2.0", "2.5", "9007199254740993", "9007199254740992.0", "4", "12"]),
)
_fields = st.sampled_from(
    [
        *("name", "cat", "ph", "pid", "tid", "ts", "dur", "fhash", "hhash", "shash", "cmd_hash"),
        *("args.exec_hash", "ret", "args.step", "args.dur", "args.step.y"),
    ]
)
_comparisons = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_atoms = st.one_of(
    st.tuples(_fields, _comparisons, _values).map(" ".join),
    st.tuples(_fields, st.sampled_from(["in", "not in"]), st.lists(_values, max_size=3)).map(
        lambda parts: f"{parts[0]} {parts[1]} [{', '.join(parts[2])}]"
    ),
)
_queries = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        inner.map(lambda query: f"not ({query})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
    ),
    max_leaves=4,
)


@given(
    chunks=st.lists(st.lists(_lines, max_size=4), max_size=4),
    queries=st.lists(_queries, min_size=1, max_size=12),
    arguments=st.sampled_from([(), ("step", "dur", "fhash")]),
    use_kernel=st.booleans(),
)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_query_finds_what_reading_all_lines_finds(
    tmp_path: Path,
    chunks: list[list[str]],
    queries: list[str],
    arguments: tuple[str, ...],
    use_kernel: bool,
) -> None:
    path = write_chunks(
        tmp_path / "t.pfw.gz", *([line.encode() for line in chunk] for chunk in chunks)
    )
    tiers = TierConfig(aggregation=None, chunk_bytes=1, arguments=arguments)
    traces = IndexedTraces(path, tiers=tiers, use_kernel=use_kernel)
    for query in queries:
        assert traces.ask(query)[0] == traces.brute_force(query), query


def test_shared_traces_give_what_reading_all_lines_gives(shared_traces: Path) -> None:
    paths = [path for path in sorted(shared_traces.rglob("*")) if ".pfw" in path.suffixes]
    small = [path for path in paths if os.path.getsize(path) < 100_000][:30]
    traces = IndexedTraces(*small, tiers=TierConfig(aggregation=None, chunk_bytes=20_000))
    for query in ("name == 'read'", "cat == 'posix' and dur > 100", "not (ph == 'M')", "ret < 0"):
        rows, explanation = traces.ask(query)
        assert rows == traces.brute_force(query)
        assert explanation.read + sum(explanation.skipped.values()) == explanation.chunks
    assert traces.ask("name == 'no such name'")[1].read == 0


def test_batches_are_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "t.pfw"
    path.write_bytes(lines_of(*[event()] * 20_000))
    traces = IndexedTraces(path, tiers=TierConfig(aggregation=None))
    sizes = [batch.num_rows for batch in read_events(traces.source, traces.records, traces.open)]
    assert sum(sizes) == 20_000
    assert max(sizes) <= 8192
