"""Exports by the daemon's real answers, held against a plain reading of the traces."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from click.testing import CliRunner, Result

from dftindexd.client.cli import cli
from dftindexd.client.exports.source import Source
from dftindexd.client.exports.statements import Choice
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, command, until, wait_for_exit
from tests.end_to_end.tracing import end_of, traced, traces_in
from tests.views.made import lines_in

_Call = tuple[str, str, int, int, int, int]


@pytest.fixture(scope="module")
def run(module_daemon: Daemon) -> Path:
    """The traces of a program and of the children that it forked."""
    folder = module_daemon.traces / "run"
    with traced(folder, mode="fork", seconds=0.3) as program:
        end_of(program)
    module_daemon.client.sync(folder)
    return folder


@pytest.fixture(scope="module")
def real(module_daemon: Daemon, shared_traces: Path) -> Path:
    """Traces of a real application, whose calls lie in each other."""
    folder = module_daemon.traces / "real"
    shutil.copytree(shared_traces / "dlio-v1.0.8", folder)
    module_daemon.client.sync(folder)
    return folder


def _calls_in(folder: Path) -> list[dict[str, Any]]:
    lines = (line for trace in traces_in(folder) for line in lines_in(trace))
    return [line for line in lines if line.get("ph") in (1, "X")]


def _run(daemon: Daemon, *arguments: str | Path) -> Result:
    """Run the verb in this process, which takes less time than one of its own."""
    words = ["--socket", str(daemon.socket), "export", *map(str, arguments)]
    return CliRunner().invoke(cli, words)


def _export(daemon: Daemon, folder: Path, out: Path, *options: str) -> dict[str, Any]:
    done = _run(daemon, folder, out, "--json", *options)
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["path"] == str(out)
    files = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
    assert told["files"] == len(files)
    assert told["bytes"] == sum(path.stat().st_size for path in files)
    return told


def _plain(calls: list[dict[str, Any]]) -> Counter[_Call]:
    return Counter(
        (one["name"], one["cat"], int(one["ts"]), int(one["dur"]), one["pid"], one["tid"])
        for one in calls
    )


@pytest.mark.parametrize("folder", ["run", "real"])
def test_trace_events_are_the_calls_of_the_traces(
    module_daemon: Daemon, folder: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    traces: Path = request.getfixturevalue(folder)
    told = _export(module_daemon, traces, tmp_path / "run.json.gz")
    document = json.loads(gzip.decompress((tmp_path / "run.json.gz").read_bytes()))
    events = document["traceEvents"]
    calls = [event for event in events if event["ph"] == "X"]
    plain = _calls_in(traces)
    assert told["rows"] == len(calls) + sum(event["ph"] == "C" for event in events)
    assert _plain(calls) == _plain(plain)
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert named == {(one["pid"], one["tid"]) for one in plain}
    processes = {event["pid"] for event in events if event["name"] == "process_name"}
    assert processes == {one["pid"] for one in plain}
    _check_form(events)
    _check_nesting(calls)
    # Indexed as a trace of the tracer's, the document has the same calls again.
    again = module_daemon.traces / f"again-{folder}"
    again.mkdir()
    (again / "t.pfw").write_text("".join(json.dumps(call) + "\n" for call in calls))
    module_daemon.client.sync(again)
    assert module_daemon.events(again) == len(plain)


def test_counters_are_every_number_of_every_counter(
    module_daemon: Daemon, shared_traces: Path, tmp_path: Path
) -> None:
    folder = module_daemon.traces / "counted"
    for name in ("service", "v203_agg"):
        shutil.copytree(shared_traces / "v2" / name, folder / name)
    module_daemon.client.sync(folder)
    _export(module_daemon, folder, tmp_path / "counted.json")
    events = json.loads((tmp_path / "counted.json").read_text())["traceEvents"]
    _check_form(events)
    lines = (line for trace in traces_in(folder) for line in lines_in(trace))
    expected = Counter(
        (f"{line['name']}.{key}", int(line["ts"]), float(value))
        for line in lines
        if line.get("ph") in (2, "C")
        for key, value in line["args"].items()
        if isinstance(value, int | float)
    )
    assert expected
    assert expected == Counter(
        (event["name"], event["ts"], float(value))
        for event in events
        if event["ph"] == "C"
        for value in event["args"].values()
    )


#: What an event of each phase has, by the description of the format, and metadata's own arguments.
_FORM = {
    "X": {"name": str, "cat": str, "ts": int, "dur": int, "pid": int, "tid": int, "args": dict},
    "C": {"name": str, "ts": int, "pid": int, "args": dict},
    "M": {"name": str, "ts": int, "pid": int, "tid": int, "args": dict},
}
_METADATA = {
    "process_name": ("name", str),
    "process_labels": ("labels", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
}


def _check_form(events: list[dict[str, Any]]) -> None:
    for event in events:
        form = _FORM[event["ph"]]
        assert event.keys() == form.keys() | {"ph"}
        assert all(isinstance(event[key], kind) for key, kind in form.items()), event
        assert min(event["ts"], event.get("dur", 0)) >= 0 < event["pid"]
        if event["ph"] == "M":
            key, kind = _METADATA[event["name"]]
            assert isinstance(event["args"][key], kind)
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())


def _check_nesting(calls: list[dict[str, Any]]) -> None:
    """Each slice lies in, or after, the one before it: what a track can show."""
    threads: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for call in calls:
        threads[call["pid"], call["tid"]].append((call["ts"], call["ts"] + call["dur"]))
    for slices in threads.values():
        open_ends: list[int] = []
        for begin, end in sorted(slices, key=lambda one: (one[0], -one[1])):
            while open_ends and open_ends[-1] <= begin:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1]
            open_ends.append(end)


@pytest.mark.parametrize("folder", ["run", "real"])
def test_folded_stacks_add_up_to_the_time_in_calls(
    module_daemon: Daemon, folder: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    traces: Path = request.getfixturevalue(folder)
    _export(module_daemon, traces, tmp_path / "run.folded")
    lines = (tmp_path / "run.folded").read_text().splitlines()
    sums: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        sums[stack.split(";")[1].split()[-1]] += int(number)
    assert sums == Counter({tid: busy for tid, busy in _busy(traces) if busy})


def _busy(traces: Path) -> Iterator[tuple[str, int]]:
    """Yield each thread with the microseconds in which it was in any call."""
    threads: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for call in _calls_in(traces):
        threads[call["tid"]].append((int(call["ts"]), int(call["ts"]) + int(call["dur"])))
    for tid, calls in threads.items():
        busy = covered = 0
        for begin, end in sorted(calls):
            busy += max(0, end - max(begin, covered))
            covered = max(covered, end)
        yield str(tid), busy


def test_spans_of_opentelemetry_are_the_calls(
    module_daemon: Daemon, real: Path, tmp_path: Path
) -> None:
    told = _export(module_daemon, real, tmp_path / "run.jsonl")
    spans = [
        span
        for line in (tmp_path / "run.jsonl").read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    plain = _calls_in(real)
    assert told["rows"] == len(spans) == len(plain)
    times = Counter(
        (span["name"], int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]))
        for span in spans
    )
    assert times == Counter(
        (one["name"], int(one["ts"]) * 1000, (int(one["ts"]) + int(one["dur"])) * 1000)
        for one in plain
    )
    ids = {span["spanId"] for span in spans}
    assert len(ids) == len(spans)
    assert {span["parentSpanId"] for span in spans if "parentSpanId" in span} <= ids


def test_a_page_has_the_calls_of_the_run(module_daemon: Daemon, run: Path, tmp_path: Path) -> None:
    told = _export(module_daemon, run, tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text()
    assert f'"title":"{run.name}"' in page
    assert told["rows"] == len(_calls_in(run))
    assert f"[0,-1,{told['rows']}," in page


def test_tables_have_the_rows_of_their_view_sets(
    module_daemon: Daemon, run: Path, tmp_path: Path
) -> None:
    plain = _calls_in(run)
    _export(module_daemon, run, tmp_path / "calls.parquet", "--set", "thread_spans")
    calls = ds.dataset(tmp_path / "calls.parquet", partitioning="hive").to_table().to_pylist()
    assert Counter(row["name"] for row in calls if row["id"] != -1) == Counter(
        one["name"] for one in plain
    )
    assert len({row["stream_id"] for row in calls}) == sum(row["id"] == -1 for row in calls) == 3
    options = ("--partition-by", "cat,func_name", "--columns", "cat,func_name,count")
    _export(module_daemon, run, tmp_path / "events.parquet", *options)
    table = ds.dataset(tmp_path / "events.parquet", partitioning="hive").to_table()
    assert set(table.column_names) == {"cat", "func_name", "count"}
    counts: Counter[str] = Counter()
    for row in table.to_pylist():
        counts[row["func_name"]] += row["count"]
    assert counts == Counter(one["name"] for one in plain)
    told = _export(module_daemon, run, tmp_path / "s.arrow", "--set", "otel_spans", "--limit", "9")
    spans = pa.ipc.open_file((tmp_path / "s.arrow").read_bytes()).read_all()
    assert (told["rows"], spans.num_rows, spans.column_names[0]) == (9, 9, "process_id")
    _export(module_daemon, run, tmp_path / "files.arrow", "--set", "files", "--filter", "false")
    none = pa.ipc.open_file((tmp_path / "files.arrow").read_bytes()).read_all()
    assert (none.num_rows, none.column_names[0]) == (0, "path")


def test_a_choice_is_of_processes_threads_times_and_values(
    module_daemon: Daemon, run: Path, tmp_path: Path
) -> None:
    plain = _calls_in(run)
    streams = module_daemon.client.sql("SELECT * FROM streams", run).to_pylist()
    one = streams[0]
    begin, end = sorted(one_["ts"] for one_ in plain if one_["tid"] == one["tid"])[1:9:7]

    def exported(*options: str) -> list[dict[str, Any]]:
        _export(module_daemon, run, tmp_path / "one.json", "--force", *options)
        events = json.loads((tmp_path / "one.json").read_text())["traceEvents"]
        return [event for event in events if event["ph"] == "X"]

    of_thread = [call for call in plain if call["tid"] == one["tid"]]
    assert _plain(exported("--stream", one["stream_id"])) == _plain(of_thread)
    assert _plain(exported("--process", one["process_id"])) == _plain(of_thread)
    times = ("--begin", str(begin * 1000), "--end", str(end * 1000))
    touching = [c for c in plain if c["ts"] <= end and c["ts"] + c["dur"] >= begin]
    assert _plain(exported(*times)) == _plain(touching)
    kept = exported("--filter", "name = 'write' -- only these")
    assert _plain(kept) == _plain([call for call in plain if call["name"] == "write"])
    assert len(exported("--limit", "5")) == 5


def test_standard_output_takes_what_is_one_stream(module_daemon: Daemon, run: Path) -> None:
    done = module_daemon.run("export", run, "-", "--format", "folded")
    assert (done.returncode, len(done.stdout.splitlines()) > 3) == (0, True)
    assert f"{len(_calls_in(run)):,} rows" in done.stderr
    arrow = _run(module_daemon, run, "-", "--format", "arrow")
    assert pa.ipc.open_stream(arrow.stdout_bytes).read_all().num_rows > 3


def test_what_cannot_be_exported_is_told_and_leaves_nothing(
    module_daemon: Daemon, run: Path, tmp_path: Path
) -> None:
    def told(*arguments: str) -> tuple[int, str]:
        done = _run(module_daemon, *arguments)
        assert isinstance(done.exception, SystemExit | NoneType), done.exception
        return done.exit_code, done.stderr

    out, where = str(tmp_path / "x.folded"), str(run)
    assert told(where, out, "--filter", "nme = 1")[1].startswith(
        "error: no column nme at Line: 2, Column: 1; did you mean name? the columns are"
    )
    for options, text in (
        (("--process", "x"), "no process 'x'"),
        (("--stream", "x"), "no stream 'x'"),
        (("--end", "1999-01-01"), "no event of the chosen processes and time"),
    ):
        code, error = told(where, out, *options)
        assert (code, text in error) == (5, True), error
    assert "no table nix" in told(where, str(tmp_path / "x.arrow"), "--set", "nix")[1]
    assert "names no format; give --format" in told(where, str(tmp_path / "x.docx"))[1]
    assert told("/", out)[0] == 5
    assert told(where, str(tmp_path / "nowhere" / "x.html"))[1].endswith("make it first\n")
    for usage in (
        ("-", "--format", "parquet"),
        ("-", "--format", "otlp", "--json"),
        (out, "--set", "files"),
        (out, "--partition-by", "cat"),
        (str(tmp_path / "x.html.gz"),),
    ):
        assert told(where, *usage)[0] == 2, usage
    assert list(tmp_path.iterdir()) == []
    assert told(where, out)[0] == 0
    assert "exists already; name another, or give --force" in told(where, out)[1]


def test_what_changes_in_the_midst_of_an_export_is_told_if_it_was_chosen(
    module_daemon: Daemon, directory: Path
) -> None:
    chosen, other = directory / "chosen", directory / "other"
    for folder in (chosen, other):
        folder.mkdir()
        write_trace(folder / "a.pfw", 10)
    module_daemon.client.sync(directory)

    def warnings(grown: Path) -> list[str]:
        choice = Choice(directory=str(chosen))
        source = Source(module_daemon.client, choice, lambda _done, _total: None)
        streams = source.streams()
        write_trace(grown / "a.pfw", 10, first=11, append=True)
        module_daemon.client.sync(directory)
        assert sum(batch.num_rows for _, batch in source.spans(streams, ["name"])) == source.rows
        source.finish()
        return source.warnings

    assert warnings(other) == []
    (warning,) = warnings(chosen)
    assert warning.startswith("traces changed meanwhile: rows are of generations")


def test_an_interrupted_export_leaves_nothing(daemon: Daemon, tmp_path: Path) -> None:
    write_trace(daemon.traces / "a.pfw.gz", 200_000)
    daemon.client.sync()
    out = tmp_path / "out"
    out.mkdir()
    arguments = ("export", daemon.traces, out / "a.json", "--socket", daemon.socket)
    with subprocess.Popen(command("client", *arguments), stderr=subprocess.DEVNULL) as process:
        until(lambda: bool(os.listdir(out)), "the file that is written beside its place")
        process.send_signal(signal.SIGINT)
        assert wait_for_exit(process) == 1
    assert os.listdir(out) == []
