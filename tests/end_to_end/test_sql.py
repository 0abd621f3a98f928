"""SQL over traces of the real tracer, by the daemon, from both clients and the command line."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from dftindexd.client import AsyncClient
from dftindexd.protocol.errors import (
    DftIndexError,
    InvalidArgumentError,
    NotFoundError,
    QueryError,
    RequestTimeoutError,
)
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, rows_of, until
from tests.end_to_end.tracing import FOR_LONG, end_now, end_of, traced, traces_in
from tests.views.made import lines_in

#: Goes on for ever, and takes little memory.
_ENDLESS = (
    "WITH RECURSIVE a AS (SELECT 1 AS x UNION ALL SELECT (x + 1) % 7 FROM a) SELECT count(*) FROM a"
)


@pytest.fixture
def traces(module_daemon: Daemon, directory: Path) -> Path:
    """A directory with the traces of a program and of the children that it forked."""
    with traced(directory, mode="fork", seconds=0.5) as program:
        end_of(program)
    module_daemon.client.sync(directory)
    return directory


def test_views_of_a_run_have_what_a_plain_reading_of_its_traces_finds(
    module_daemon: Daemon, traces: Path
) -> None:
    client = module_daemon.client
    lines = [line for trace in traces_in(traces) for line in lines_in(trace)]
    calls = [line for line in lines if line["ph"] == 1]
    processes = client.sql("SELECT * FROM processes", traces).to_pylist()
    starts = {(line["pid"], line["ts"]) for line in calls if line["name"] == "start"}
    assert {(row["pid"], row["start_ticks"]) for row in processes} == starts
    assert len(processes) == 3
    known = {row["process_id"] for row in processes}
    assert sum(row["parent_process_id"] in known for row in processes) == 2
    (entries,) = client.sql("SELECT count(*) AS n FROM log_entries", traces).to_pylist()
    ends = sum(line["name"] in ("start", "end") for line in calls)
    assert entries["n"] == sum(line["ph"] == 4 for line in lines) + ends
    found: Counter[str] = Counter()
    for row in client.sql("SELECT stream_id FROM streams", traces).to_pylist():
        query = f"SELECT name, id FROM view_instance('thread_spans', '{row['stream_id']}')"
        spans = client.sql(query, traces).to_pylist()
        found.update(span["name"] for span in spans if span["id"] != -1)
    assert found == Counter(line["name"] for line in calls)
    counted = client.sql('SELECT sum(count) AS n, min("begin") AS t FROM events', traces)
    (row,) = counted.to_pylist()
    assert row["n"] == len(calls)
    assert row["t"].value == 1000 * min(line["ts"] for line in calls)
    files = client.sql("SELECT path, state FROM files ORDER BY path", traces).to_pylist()
    assert [row["path"] for row in files] == [str(trace) for trace in traces_in(traces)]


def test_asking_twice_writes_nothing(module_daemon: Daemon, traces: Path) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        found = module_daemon.state.glob("stores/*/views/**/*")
        return {path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in found}

    streams = module_daemon.client.sql("SELECT stream_id FROM streams", traces).to_pylist()
    spans = f"view_instance('thread_spans', '{streams[0]['stream_id']}')"
    queries = (
        f"SELECT name, count(*) AS n, sum(duration) AS took FROM {spans} GROUP BY name ORDER BY 1",
        "SELECT func_name, sum(size) AS bytes FROM events GROUP BY func_name ORDER BY 1",
        "SELECT name, count(*) AS n FROM log_entries GROUP BY name ORDER BY name",
    )
    first = [module_daemon.client.sql(query, traces).to_pylist() for query in queries]
    written = files()
    assert written
    assert [module_daemon.client.sql(query, traces).to_pylist() for query in queries] == first
    assert files() == written


def test_what_a_trace_grew_by_is_in_the_next_answer(module_daemon: Daemon, directory: Path) -> None:
    with traced(directory, seconds=FOR_LONG) as program:
        until(lambda: module_daemon.events(directory) > 200, "events of a running program")
        query = "SELECT sum(nb_calls) AS n, (SELECT sum(count) FROM events) AS m FROM blocks"
        (first,) = module_daemon.client.sql(query, directory).to_pylist()
        end_now(program, directory)
    module_daemon.client.sync(directory)
    (last,) = module_daemon.client.sql(query, directory).to_pylist()
    assert 200 < first["n"] < last["n"] == module_daemon.events(directory)
    assert first["n"] == first["m"]
    assert last["n"] == last["m"]


def test_without_a_root_rows_of_all_roots_have_its_name(
    module_daemon: Daemon, traces: Path
) -> None:
    rows = rows_of(module_daemon.run("sql", "SELECT DISTINCT root FROM streams", "--json"))
    assert rows == [{"root": os.path.realpath(module_daemon.traces)}]


def test_the_command_prints_tables_json_and_csv(module_daemon: Daemon, traces: Path) -> None:
    query = "SELECT pid, start_time FROM processes ORDER BY pid"
    shown = module_daemon.run("sql", query, "--root", traces)
    assert (shown.returncode, "3 rows" in shown.stderr) == (0, True)
    rows = rows_of(module_daemon.run("sql", query, "--root", traces, "--json"))
    done = module_daemon.run("sql", query, "--root", traces, "--format", "csv")
    written = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [int(row["pid"]) for row in written] == [row["pid"] for row in rows]
    none = module_daemon.run("sql", f"{query} LIMIT 0", "--root", traces, "--format", "csv")
    assert (none.returncode, none.stdout) == (0, '"pid","start_time"\n')
    begin = rows[-1]["start_time"].removesuffix("Z")[:26]
    assert rows[0]["start_time"].endswith("000Z")
    early = module_daemon.run("sql", query, "--root", traces, "--end", "1999-01-01", "--json")
    assert rows_of(early) == []
    some = module_daemon.run("sql", query, "--root", traces, "--begin", begin, "--json")
    assert rows_of(some)
    wrong = module_daemon.run("sql", "SELECT nme FROM streams", "--root", traces)
    assert wrong.returncode == 1
    assert "no column nme at Line: 1, Column: 8; the columns are" in wrong.stderr
    assert module_daemon.run("sql", "SELECT 1", "--begin", "noon").returncode == 2


def test_what_goes_wrong_is_told_and_the_next_statement_runs(
    module_daemon: Daemon, traces: Path
) -> None:
    client = module_daemon.client
    with pytest.raises(QueryError, match="begins no SELECT"):
        client.sql("DROP TABLE streams", traces)
    with pytest.raises(NotFoundError, match="no stream 'x'"):
        client.sql("SELECT * FROM view_instance('thread_spans', 'x')", traces)
    with pytest.raises(NotFoundError, match="no watched root holds"):
        client.sql("SELECT 1", "/")
    with pytest.raises(DftIndexError, match="more than 3 rows; add a LIMIT"):
        client.sql("SELECT value FROM generate_series(1, 4)", traces, rows=3)
    with pytest.raises(InvalidArgumentError, match="seconds is 0"):
        client.sql("SELECT 1", traces, seconds=0)
    assert client.sql("SELECT 1 AS one", traces).to_pylist() == [{"one": 1}]


def test_an_endless_statement_ends_in_time_with_its_process(module_daemon: Daemon) -> None:
    with pytest.raises(RequestTimeoutError, match=r"the statement ran for more than 0.5 s"):
        module_daemon.client.sql(_ENDLESS, seconds=0.5)
    assert module_daemon.client.sql("SELECT 1 AS one").to_pylist() == [{"one": 1}]


@pytest.mark.anyio
async def test_a_client_that_goes_away_ends_its_statement(module_daemon: Daemon) -> None:
    async def endless() -> None:
        async with AsyncClient(module_daemon.socket) as client:
            await client.sql(_ENDLESS, seconds=600.0)

    async with AsyncClient(module_daemon.socket) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endless)
            tasks.start_soon(endless)
            both = partial(until, lambda: len(_statements(module_daemon)) == 2, "two statements")
            await anyio.to_thread.run_sync(both)
            tasks.cancel_scope.cancel()
        # Both places are free again, or this would be told that two statements run.
        answer = await client.sql("SELECT 1 AS one")
        assert answer.to_pylist() == [{"one": 1}]
    assert len(_statements(module_daemon)) <= 1


def _statements(daemon: Daemon) -> list[int]:
    """Return the processes that run, or may run, statements."""
    return daemon.running("dftindexd.daemon.sql_worker")


def test_a_purged_root_takes_its_views_with_it(daemon: Daemon) -> None:
    write_trace(daemon.traces / "a.pfw.gz", 3)
    daemon.client.sync()
    assert daemon.client.sql("SELECT * FROM streams").to_pylist()
    assert list(daemon.state.glob("stores/*/views"))
    daemon.client.unwatch(daemon.traces, purge=True)
    assert not list(daemon.state.glob("stores/*/views"))
    assert daemon.client.sql("SELECT * FROM streams").to_pylist() == []
