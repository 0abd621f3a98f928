"""Each view set against a plain reading of the same traces: real ones, and a fresh run."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dftindexd.views.sets import VIEW_SETS
from tests.end_to_end.running import Daemon
from tests.end_to_end.tracing import end_of, traced, traces_in
from tests.views.recount import Recount, recount

_MOST_BYTES = 300_000

Ask = Callable[[str], list[dict[str, Any]]]

#: Folders of real traces whose times are microseconds.
_FOLDERS = (
    *("v0", "v2/agg_sel", "v2/int_small", "v2/live_v203", "v2/v210_service", "v2/threads"),
    *("v2/mp_fork", "v2/kill9_small", "dlio-v1.0.8", "cm1-v1.0.5"),
)


def _us(time: Any) -> int:
    assert time.value % 1000 == 0
    return int(time.value) // 1000


def _check_processes(ask: Ask, plain: Recount) -> None:
    rows = ask("SELECT pid, start_ticks, start_time FROM processes")
    found = {(row["pid"], row["start_ticks"]) for row in rows}
    assert found == plain.processes
    assert all(_us(row["start_time"]) == row["start_ticks"] for row in rows)


def _check_streams(ask: Ask, plain: Recount) -> None:
    found: Counter[tuple[int, ...]] = Counter()
    query = (
        "SELECT pid, tid, nb_objects FROM streams JOIN processes "
        "ON streams.process_id = processes.process_id"
    )
    for row in ask(query):
        found[row["pid"], row["tid"]] += row["nb_objects"]
    assert found == plain.streams


def _check_blocks(ask: Ask, plain: Recount) -> None:
    found = ask(
        "SELECT file, sum(nb_calls) AS calls, sum(nb_counters) AS counters, sum(nb_logs) AS logs "
        "FROM blocks GROUP BY file"
    )
    assert {row["file"]: {name: row[name] for name in row if name != "file"} for row in found} == {
        file: {name: own[name] for name in ("calls", "counters", "logs")}
        for file, own in plain.blocks.items()
        if own
    }


def _check_logs(ask: Ask, plain: Recount) -> None:
    rows = ask("SELECT name, level, count(*) AS n FROM log_entries GROUP BY name, level")
    assert {row["name"]: row["n"] for row in rows if row["level"] == 4} == plain.logs
    assert sum(row["n"] for row in rows if row["name"] == "bad_line") == plain.bad_lines
    (stats,) = ask("SELECT sum(count) AS n FROM log_stats WHERE level = 4")
    assert (stats["n"] or 0) == plain.logs.total()
    of_processes = 0
    for row in ask("SELECT process_id FROM processes"):
        instance = f"view_instance('log_entries', '{row['process_id']}')"
        of_processes += ask(f"SELECT count(*) AS n FROM {instance} WHERE level = 4")[0]["n"]
    assert of_processes == plain.logs.total()


def _check_measures(ask: Ask, plain: Recount) -> None:
    rows = ask("SELECT name, count(*) AS n, sum(value) AS total FROM measures GROUP BY name")
    assert {row["name"]: row["n"] for row in rows} == {
        name: len(values) for name, values in plain.measures.items()
    }
    for row in rows:
        assert row["total"] == pytest.approx(sum(plain.measures[row["name"]]))


def _check_thread_spans(ask: Ask, plain: Recount) -> None:
    calls: Counter[tuple[Any, ...]] = Counter()
    times: Counter[tuple[Any, ...]] = Counter()
    query = (
        "SELECT stream_id, pid, tid FROM streams JOIN processes "
        "ON streams.process_id = processes.process_id WHERE array_has(tags, 'cpu')"
    )
    for stream in ask(query):
        instance = f"view_instance('thread_spans', '{stream['stream_id']}')"
        rows = ask(
            f"SELECT name, count(*) AS n, sum(duration) AS ns, min(depth) AS depth "
            f"FROM {instance} GROUP BY name, id < 0"
        )
        assert sum(row["depth"] == 0 for row in rows) == 1
        for row in rows:
            if row["depth"]:
                calls[stream["pid"], stream["tid"], row["name"]] += row["n"]
                times[stream["pid"], stream["tid"], row["name"]] += row["ns"] // 1000
    assert calls == plain.calls
    assert +times == +plain.durations


def _check_of_processes(ask: Ask, plain: Recount) -> None:
    """The sets that have an instance for each process."""
    times: Counter[tuple[int, int]] = Counter()
    spans: Counter[str] = Counter()
    failed = 0
    bits: Counter[tuple[Any, ...]] = Counter()
    transfers: Counter[tuple[Any, ...]] = Counter()
    for process in ask("SELECT process_id, pid FROM processes"):
        name, pid = process["process_id"], process["pid"]
        for row in ask(f"SELECT time FROM view_instance('async_events', '{name}')"):
            times[pid, _us(row["time"])] += 1
        for row in ask(
            "SELECT name, status, count(DISTINCT span_id) AS n "
            f"FROM view_instance('otel_spans', '{name}') GROUP BY name, status"
        ):
            spans[row["name"]] += row["n"]
            failed += row["n"] * (row["status"] == "Error")
        net = ask(f"SELECT * FROM view_instance('net_spans', '{name}') ORDER BY span_id")
        _check_tree(net)
        for row in net:
            if row["kind"] == "rpc":
                key = pid, int(row["stream_id"].rpartition(":")[2]), row["name"], row["is_outgoing"]
                bits[key] += row["bit_size"]
                transfers[key] += 1
    assert times == plain.times
    assert spans == plain.events
    assert failed == plain.failed
    assert (transfers, +bits) == (plain.transfers, +plain.bits)


def _check_tree(net: list[dict[str, Any]]) -> None:
    """What a span moved is what those in it moved, one after the other."""
    spans = {row["span_id"]: row for row in net}
    assert len(spans) == len(net)
    inside: Counter[int] = Counter()
    for row in net:
        assert row["end_bits"] == row["begin_bits"] + row["bit_size"]
        if row["parent_span_id"] == -1:
            assert (row["depth"], row["kind"], row["begin_bits"]) == (0, "connection", 0)
            continue
        parent = spans[row["parent_span_id"]]
        assert row["depth"] == parent["depth"] + 1
        assert row["connection_name"] == parent["connection_name"]
        assert row["is_outgoing"] is parent["is_outgoing"]
        assert parent["begin_time"] <= row["begin_time"] <= row["end_time"] <= parent["end_time"]
        assert row["begin_bits"] == inside[parent["span_id"]]
        inside[parent["span_id"]] += row["bit_size"]
    assert all(inside[one] == spans[one]["bit_size"] for one in inside)


def _check_tier(ask: Ask, plain: Recount) -> None:
    """The sets of the aggregation tier, and the list of files."""
    rows = ask("SELECT func_name, sum(count) AS n FROM events GROUP BY func_name")
    assert {row["func_name"]: row["n"] for row in rows} == plain.events
    rows = ask("SELECT func_name, sum(count) AS n FROM profiles GROUP BY func_name")
    assert {row["func_name"]: row["n"] for row in rows} == plain.profiles
    bins = ask('SELECT count(*) AS n FROM events WHERE "begin" > "end" OR time_bin > "end"')
    assert bins == [{"n": 0}]
    found = ask('SELECT DISTINCT host_hash, name, "begin" FROM system')
    samples = {(row["host_hash"], row["name"], _us(row["begin"]) // 5_000_000) for row in found}
    assert samples == plain.samples
    listed = ask("SELECT path, lines, bad_lines, events FROM files")
    counted = {row.pop("path"): tuple(row.values()) for row in listed}
    assert counted == plain.files


def _check_all(daemon: Daemon, folder: Path) -> Recount:
    assert daemon.client.sync(folder).problems == ()
    plain = recount(traces_in(folder))

    def ask(query: str) -> list[dict[str, Any]]:
        return daemon.client.sql(query, folder).to_pylist()

    for check in (
        *(_check_processes, _check_streams, _check_blocks, _check_logs, _check_measures),
        *(_check_thread_spans, _check_of_processes, _check_tier),
    ):
        check(ask, plain)
    return plain


@pytest.mark.parametrize("name", _FOLDERS)
def test_each_view_set_of_real_traces_holds_what_a_plain_reading_finds(
    module_daemon: Daemon, shared_traces: Path, name: str
) -> None:
    folder = module_daemon.traces / name.replace("/", "-")
    folder.mkdir()
    sizes = {trace: trace.stat().st_size for trace in traces_in(shared_traces / name)}
    for trace in sorted(sizes, key=lambda one: sizes[one])[:2]:
        if sizes[trace] < _MOST_BYTES:
            shutil.copy(trace, folder)
    plain = _check_all(module_daemon, folder)
    assert plain.streams.total()
    assert bool(plain.samples) == (name == "v2/v210_service")
    assert bool(plain.profiles) == (name in ("v2/agg_sel", "v2/v210_service"))


def test_each_view_set_of_a_fresh_run_holds_what_a_plain_reading_finds(
    module_daemon: Daemon, directory: Path
) -> None:
    with traced(directory, mode="fork", seconds=0.3) as program:
        end_of(program)
    plain = _check_all(module_daemon, directory)
    assert plain.transfers.total()
    assert len(plain.processes) == 3


def test_no_view_set_is_left_out_of_these() -> None:
    checked = {
        *("processes", "streams", "blocks", "log_entries", "log_stats", "measures", "files"),
        *("thread_spans", "async_events", "otel_spans", "net_spans"),
        *("events", "profiles", "system"),
    }
    assert checked == set(VIEW_SETS)
