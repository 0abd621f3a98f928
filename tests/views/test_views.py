"""The view sets against a plain reading of the same traces, and when they write what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dftindexd.index.errors import NotWatchedError, QueryError
from dftindexd.views.problems import Problem, problems_of
from dftindexd.views.source import Made
from tests.index.query.event_traces import write_chunks
from tests.index.trace.parsing import gzip_member, lines_of
from tests.views.made import MadeRoot, call, lines_in, metadata

STREAM = "node1:7:100:8"
#: Calls after those that they lie in, and after their thread.
ORDER = 'ORDER BY "begin", depth'
_COMPLETE = ("X", 1)


@pytest.fixture
def root(tmp_path: Path) -> MadeRoot:
    """Two traces of two chunks each: of a process, and of the child that it forked."""
    traces = tmp_path / "traces"
    traces.mkdir()
    write_chunks(
        traces / "a.pfw.gz",
        [
            metadata("HH", "node1", "aa"),
            metadata("SH", "python;run.py", "c1"),
            metadata("FH", "/data/one", "f1"),
            metadata("thread_name", "main", "thread_name"),
            metadata("PR", "rank", "3"),
            call("start", 100, 0, id=1, cat="dftracer", args={"ppid": 1, "cmd_hash": "c1"}),
            call("read", 110, 10, id=2, args={"fhash": "f1", "ret": 5, "offset": 64}),
        ],
        [
            call("step", 105, 50, id=3, cat="app"),
            call("late", 400, 1, id=4, tid=9),
            call("cpu", 300, 0, ph=2, cat="sys", args={"user_pct": 1.5, "name": "x"}),
        ],
    )
    write_chunks(
        traces / "b.pfw.gz",
        [
            call("start", 200, 0, pid=11, cat="dftracer", args={"ppid": 7, "version": 20003}),
            call("write", 210, 5, pid=11, args={"fhash": "f1", "ret": -1}),
        ],
    )
    made = MadeRoot(traces, tmp_path / "views")
    made.index("a.pfw.gz", "b.pfw.gz")
    return made


def ns(time: Any) -> int:
    """Return a time of an answer in nanoseconds."""
    return int(time.value)


def test_processes_are_a_host_a_number_and_a_start_with_what_the_trace_says(root: MadeRoot) -> None:
    first, second = root.ask("SELECT * FROM processes ORDER BY start_ticks")
    assert first["process_id"] == "node1:7:100"
    assert (first["cmd"], first["computer"], first["pid"]) == ("python;run.py", "node1", 7)
    assert (first["properties"], first["parent_process_id"]) == ('{"rank":"3"}', "")
    assert ns(first["start_time"]) == 100_000
    # The child's trace has no name of its host: its parent's does.
    assert second["process_id"] == "node1:11:200"
    assert (second["parent_process_id"], second["version"]) == ("node1:7:100", "20003")


def test_streams_are_threads_tagged_by_what_they_hold(root: MadeRoot) -> None:
    rows = root.ask("SELECT * FROM streams ORDER BY stream_id")
    assert [(row["stream_id"], row["tags"], row["nb_objects"]) for row in rows] == [
        ("node1:11:200:8", ["cpu", "log"], 2),
        (STREAM, ["cpu", "log", "metrics"], 4),
        ("node1:7:100:9", ["cpu"], 1),
    ]
    assert (rows[1]["thread_name"], ns(rows[1]["begin_time"])) == ("main", 100_000)
    assert ns(rows[1]["end_time"]) == 300_000


def test_blocks_are_the_chunks_of_each_stream_in_order(root: MadeRoot) -> None:
    rows = root.ask("SELECT * FROM blocks ORDER BY block_id")
    told = [(row["block_id"], row["nb_objects"], row["object_offset"]) for row in rows]
    assert told == [("1:0:7:8", 2, 0), ("1:1:7:8", 2, 2), ("1:1:7:9", 1, 0), ("2:0:11:8", 2, 0)]
    assert [ns(row["begin_time"]) for row in rows] == [100_000, 105_000, 400_000, 200_000]
    assert rows[0]["file"] == str(root.path / "a.pfw.gz")


def test_spans_of_a_thread_nest_over_chunks_after_the_row_of_the_thread(root: MadeRoot) -> None:
    rows = root.ask(f"SELECT * FROM view_instance('thread_spans', '{STREAM}') {ORDER}")
    assert [(row["id"], row["parent"], row["depth"], row["name"]) for row in rows] == [
        (-1, 0, 0, "main"),
        (1, -1, 1, "start"),
        (3, -1, 1, "step"),
        (2, 3, 2, "read"),
    ]
    read = rows[-1]
    assert (ns(read["begin"]), ns(read["end"]), read["duration"]) == (110_000, 120_000, 10_000)
    assert (read["filename"], read["size"], read["offset"]) == ("/data/one", 5, 64)
    assert (ns(rows[0]["begin"]), ns(rows[0]["end"])) == (100_000, 300_000)


def test_spans_of_a_range_are_those_that_touch_it(root: MadeRoot) -> None:
    query = f"SELECT name FROM view_instance('thread_spans', '{STREAM}') {ORDER}"
    assert [row["name"] for row in root.ask(query, begin=121_000)] == ["main", "step"]
    assert [row["name"] for row in root.ask(query, end=104_000)] == ["main", "start"]


def test_what_another_trace_names_is_resolved_until_the_selection_changes(root: MadeRoot) -> None:
    query = f"SELECT name, filename FROM view_instance('thread_spans', 'node1:11:200:8') {ORDER}"
    (_, start, write) = root.ask(query)
    assert (start["filename"], write["filename"]) == ("", "/data/one")
    assert root.views("b.pfw.gz").blocks()["process_id"].to_pylist() == ["aa:11:200"]
    files, _ = root.views("b.pfw.gz").instance("thread_spans", "aa:11:200:8")
    assert len(files) == 1
    assert root.ask(query)[2]["filename"] == "/data/one"


def test_async_events_are_the_ends_of_spans_in_the_order_of_time(root: MadeRoot) -> None:
    rows = root.ask("SELECT * FROM view_instance('async_events', 'node1:7:100') ORDER BY time")
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert Counter(row["event_type"] for row in rows) == {"begin": 4, "end": 4}
    step = [row for row in rows if row["name"] == "step"]
    assert [(row["block_id"], row["span_id"], row["depth"]) for row in step] == [
        ("1:1:7:8", 3, 1)
    ] * 2


def test_otel_spans_are_linked_by_their_ids_and_tell_of_errors(root: MadeRoot) -> None:
    rows = root.ask("SELECT * FROM view_instance('otel_spans', 'node1:7:100')")
    by_name = {row["name"]: row for row in rows}
    assert by_name["read"]["parent_span_id"] == by_name["step"]["span_id"]
    assert by_name["step"]["parent_span_id"] is None
    assert len({row["span_id"] for row in rows}) == len({row["trace_id"] for row in rows}) * 4
    (failed,) = root.ask(
        "SELECT status FROM view_instance('otel_spans', 'node1:11:200') WHERE name = 'write'"
    )
    assert failed == {"status": "Error"}


def test_net_spans_are_files_by_direction_their_threads_and_transfers(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    moved = [
        call("read", 10, 2, id=1, args={"fhash": "f1", "ret": 3}),
        call("write", 20, 2, id=2, args={"fhash": "f1", "ret": 5}),
        call("read", 30, 4, id=3, args={"fhash": "f1", "ret": 7}),
        call("read", 15, 1, id=4, tid=9, args={"fhash": "f1", "ret": 2}),
        call("read", 40, 1, id=5, args={"fhash": "f2", "ret": 0}),
        call("read", 50, 1, id=6, args={"fhash": "f1", "ret": -1}),
        call("open64", 60, 1, id=7, args={"fhash": "f1", "ret": 4}),
        call("read", 70, 1, id=8, cat="app", args={"fhash": "f1", "ret": 4}),
    ]
    named = [metadata("HH", "node1", "aa"), metadata("FH", "/data/one", "f1")]
    write_chunks(traces / "a.pfw.gz", [*named, *moved[:3]], moved[3:])
    root = MadeRoot(traces, tmp_path / "views")
    root.index("a.pfw.gz")
    rows = root.ask("SELECT * FROM view_instance('net_spans', 'node1:7:10') ORDER BY span_id")
    told = [(row["kind"], row["name"], row["parent_span_id"], row["begin_bits"]) for row in rows]
    thread, other = "node1:7:10:8", "node1:7:10:9"
    assert told == [
        ("connection", "/data/one", -1, 0),
        ("object", thread, 1, 0),
        ("rpc", "read", 2, 0),
        ("rpc", "read", 2, 24),
        ("object", other, 1, 80),
        ("rpc", "read", 5, 0),
        ("connection", "/data/one", -1, 0),
        ("object", thread, 7, 0),
        ("rpc", "write", 8, 0),
        ("connection", "f2", -1, 0),
        ("object", thread, 10, 0),
        ("rpc", "read", 11, 0),
    ]
    assert [row["bit_size"] for row in rows] == [96, 80, 24, 56, 16, 16, 40, 40, 40, 0, 0, 0]
    assert [row["is_outgoing"] for row in rows] == [False] * 6 + [True] * 3 + [False] * 3
    assert (ns(rows[0]["begin_time"]), ns(rows[0]["end_time"])) == (10_000, 34_000)


def test_what_cannot_be_read_is_a_log_entry_of_level_2(root: MadeRoot) -> None:
    (root.path / "c.pfw").write_bytes(
        call("start", 300, 0, pid=12, cat="dftracer") + b"\n{garbage\n" + b"\x00\x00\n"
    )
    (root.path / "d.pfw").write_bytes(b"nothing else\n")
    root.index("c.pfw", "d.pfw")
    query = "SELECT process_id, block_id, line_number, name, msg FROM {} WHERE level = 2"
    rows = root.ask(query.format("log_entries") + " ORDER BY process_id, line_number")
    told = [(row["process_id"], row["line_number"], row["msg"]) for row in rows]
    assert (
        told
        == [
            ("", 0, "cannot be read: nothing else"),
            ("aa:12:300", 1, "cannot be read: {garbage"),
            ("aa:12:300", 2, "cannot be read: \x00\x00"),
        ]
        or told[1][0] == "node1:12:300"
    )
    instance = f"view_instance('log_entries', '{told[1][0]}')"
    assert root.ask(query.format(instance) + " ORDER BY line_number") == rows[1:]
    assert root.ask(query.format("view_instance('log_entries', 'node1:7:100')")) == []
    assert root.ask("SELECT count FROM log_stats WHERE level = 2 ORDER BY 1") == [
        {"count": 1},
        {"count": 2},
    ]


def test_of_many_bad_lines_the_first_are_told_and_how_many_more(root: MadeRoot) -> None:
    (root.path / "c.pfw").write_bytes(b"bad\n" * 250)
    root.index("c.pfw")
    record = root.records[b"c.pfw"]
    found = problems_of(record)
    assert [one.line for one in found[:-1]] == list(range(len(found) - 1))
    assert found[-1] == Problem(250, "bad_lines", f"{251 - len(found)} more lines cannot be read")
    cut = msgspec.structs.replace(record, ending="cut", reason="the last line is unfinished")
    assert problems_of(cut)[-1].text == "the trace is cut off: the last line is unfinished"
    corrupt = msgspec.structs.replace(record, reason="corrupt at byte 7")
    assert problems_of(corrupt)[-1] == Problem(250, "corrupt", "corrupt at byte 7")


def test_log_entries_are_metadata_starts_and_ends(root: MadeRoot) -> None:
    rows = root.ask("SELECT * FROM log_entries ORDER BY process_id, line_number")
    assert [row["name"] for row in rows] == [
        "start",
        "HH",
        "SH",
        "FH",
        "thread_name",
        "PR",
        "start",
    ]
    assert rows[1]["msg"] == 'HH {"hhash":"aa","name":"node1","value":"aa"}'
    own = root.ask("SELECT count(*) AS n FROM view_instance('log_entries', 'node1:7:100')")
    assert own == [{"n": 6}]
    stats = root.ask("SELECT process_id, count FROM log_stats ORDER BY 1")
    assert [tuple(row.values()) for row in stats] == [("node1:11:200", 1), ("node1:7:100", 6)]


def test_measures_are_the_numbers_of_counters(root: MadeRoot) -> None:
    (row,) = root.ask("SELECT * FROM measures")
    assert (row["name"], row["value"], row["unit"]) == ("cpu.user_pct", 1.5, "percent")
    assert (row["stream_id"], ns(row["time"])) == (STREAM, 300_000)


def test_asking_twice_reads_no_trace_and_writes_nothing(root: MadeRoot) -> None:
    query = f"SELECT count(*) AS n FROM view_instance('thread_spans', '{STREAM}'), log_entries"
    first = root.ask(query)
    files = root.files()
    root.scanned.clear()
    assert root.ask(query) == first
    assert (root.files(), root.scanned) == (files, [])


def test_how_far_the_making_of_a_view_is_is_told_chunk_by_chunk(root: MadeRoot) -> None:
    root.ask(f"SELECT * FROM view_instance('thread_spans', '{STREAM}')")
    facts = [Made("facts", done, 3) for done in range(4)]
    assert root.made == [*facts, *(Made("thread_spans", done, 2) for done in range(3))]


def test_a_grown_trace_has_only_its_own_partitions_rebuilt(root: MadeRoot) -> None:
    named = metadata("FH", "/data/one", "f1", pid=11)
    write_chunks(
        root.path / "b.pfw.gz",
        [call("start", 200, 0, pid=11), named, call("w", 210, 5, pid=11, args={"fhash": "f1"})],
    )
    root.index("b.pfw.gz")
    other = f"SELECT name FROM view_instance('thread_spans', 'node1:11:200:8') {ORDER}"
    own = f"SELECT name FROM view_instance('thread_spans', '{STREAM}') {ORDER}"
    root.ask(other)
    assert len(root.ask(own)) == 4
    before = root.files()
    trace = root.path / "a.pfw.gz"
    with trace.open("ab") as file:
        file.write(gzip_member(lines_of(call("more", 250, 10, id=9))))
    root.index("a.pfw.gz")
    root.scanned.clear()
    assert [row["name"] for row in root.ask(own)] == ["main", "start", "step", "read", "more"]
    newest = root.records[b"a.pfw.gz"].segments[-1].segment_id
    # The directory reads what came; the tree, which it may change as a whole, all of the stream.
    assert root.scanned[0] == newest
    root.scanned.clear()
    assert len(root.ask(other)) == 3
    assert root.scanned == []
    kept = [name for name in before if name in root.files()]
    assert len(kept) == 1
    assert kept[0].startswith("thread_spans/")


def test_a_replaced_trace_leaves_nothing_of_the_old(root: MadeRoot) -> None:
    root.ask("SELECT * FROM log_entries")
    write_chunks(root.path / "b.pfw.gz", [call("start", 900, 0, pid=11, cat="dftracer")])
    root.index("b.pfw.gz")
    rows = root.ask("SELECT process_id FROM processes ORDER BY 1")
    assert [row["process_id"] for row in rows] == ["node1:11:900", "node1:7:100"]
    assert {row["process_id"] for row in root.ask("SELECT * FROM log_entries")} == {
        "node1:11:900",
        "node1:7:100",
    }


def test_a_removed_trace_is_gone_without_reading_any(root: MadeRoot) -> None:
    root.ask("SELECT * FROM processes")
    root.scanned.clear()
    root.forget("b.pfw.gz")
    assert [row["pid"] for row in root.ask("SELECT pid FROM processes")] == [7]
    assert root.scanned == []


def test_a_selection_of_some_traces_is_answered_as_if_there_were_no_others(root: MadeRoot) -> None:
    assert len(root.views().blocks()) == 4
    root.scanned.clear()
    blocks = root.views("a.pfw.gz").blocks()
    assert blocks["block_id"].to_pylist() == ["1:0:7:8", "1:1:7:8", "1:1:7:9"]
    assert root.scanned == []
    assert len(root.views().blocks()) == 4


def test_a_root_without_traces_has_views_without_rows(tmp_path: Path) -> None:
    root = MadeRoot(tmp_path, tmp_path / "views")
    for name in ("processes", "streams", "blocks", "log_entries", "log_stats", "measures"):
        assert root.ask(f"SELECT * FROM {name}") == []
    assert root.scanned == []


@pytest.mark.parametrize(
    ("view_set", "instance", "message"),
    [
        ("spans", "x", "view set spans not found"),
        ("thread_spans", "x", "no stream 'x'"),
        ("async_events", "x", "no process 'x'"),
        ("thread_spans", "global", "thread_spans has no global instance"),
        ("processes", "x", "processes has no instances"),
    ],
)
def test_what_is_no_instance_is_told(
    root: MadeRoot, view_set: str, instance: str, message: str
) -> None:
    with pytest.raises((QueryError, NotWatchedError)) as raised:
        root.ask(f"SELECT * FROM view_instance('{view_set}', '{instance}')")
    assert raised.value.message == message
    assert raised.value.hint


def _threads(traces: list[Path]) -> Iterator[tuple[tuple[str, int, int], dict[str, Any]]]:
    """Yield the complete events of traces, each with its trace, process and thread."""
    for trace in traces:
        for event in lines_in(trace):
            if event.get("ph") in _COMPLETE:
                yield (trace.name, int(event["pid"]), int(event["tid"])), event


@pytest.mark.parametrize(
    "folder", ["v2/int_small", "v2/live_v210", "v2/live_v203", "v2/agg_sel", "v0", "dlio-v1.0.8"]
)
def test_views_of_real_traces_have_what_a_plain_reading_of_them_finds(
    shared_traces: Path, tmp_path: Path, folder: str
) -> None:
    traces = sorted((shared_traces / folder).glob("*.pfw*"), key=lambda one: one.stat().st_size)[:2]
    root = MadeRoot(shared_traces / folder, tmp_path / "views")
    root.index(*(trace.name for trace in traces))
    calls = Counter(key for key, _ in _threads(traces))
    rows = root.ask(
        'SELECT file, "processes.pid" AS pid, "streams.tid" AS tid, nb_calls FROM blocks'
    )
    found: Counter[tuple[str, int, int]] = Counter()
    for row in rows:
        found[Path(row["file"]).name, row["pid"], row["tid"]] += row["nb_calls"]
    assert +found == calls
    ((busiest, count),) = calls.most_common(1)
    (stream,) = root.ask(
        "SELECT DISTINCT stream_id FROM blocks "
        f'WHERE "processes.pid" = {busiest[1]} AND "streams.tid" = {busiest[2]}'
        f" AND file LIKE '%{busiest[0]}' AND nb_calls > 0"
    )
    instance = f"view_instance('thread_spans', '{stream['stream_id']}')"
    spans = root.ask(f"SELECT * FROM {instance} {ORDER}")
    events = [event for key, event in _threads(traces) if key == busiest]
    assert len(spans) == count + 1
    assert Counter(row["name"] for row in spans[1:]) == Counter(one["name"] for one in events)
    assert sum(row["duration"] for row in spans[1:]) == 1000 * sum(int(e["dur"]) for e in events)
    begins = [ns(row["begin"]) for row in spans]
    assert begins == sorted(begins)
    assert begins[0] == 1000 * min(int(event["ts"]) for event in events)
    ends = {row["id"]: (ns(row["begin"]), ns(row["end"])) for row in spans}
    assert len(ends) == len(spans)
    for row in spans[1:]:
        begin, end = ends[row["parent"]]
        assert begin <= ns(row["begin"]) <= ns(row["end"]) <= end
