"""Statements that are garbage, write, look for files, or never end: a clear error, and no more."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dftindexd.protocol.errors import BusyError, DftIndexError, QueryError, RequestTimeoutError
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon

_ENDLESS = {
    "cross joins": "SELECT count(*) FROM {s} a, {s} b, {s} c".format(
        s="generate_series(1, 1000000)"
    ),
    "recursion": (
        "WITH RECURSIVE a AS (SELECT 1 AS x UNION ALL SELECT (x + 1) % 7 FROM a) "
        "SELECT count(*) FROM a"
    ),
    "a long series": "SELECT sum(value) FROM generate_series(1, 1000000000000)",
    "a long series, sorted": (
        "SELECT value FROM generate_series(1, 1000000000000) ORDER BY -value LIMIT 1"
    ),
}
_HUGE = {
    "one text": "SELECT length(repeat('x', 2000000000))",
    "many texts": "SELECT count(DISTINCT repeat(CAST(value AS VARCHAR), 100000)) "
    "FROM generate_series(1, 1000000)",
    "a list": "SELECT array_length(range(1, 2000000000))",
    "a sort": "SELECT value FROM generate_series(1, 100000000) ORDER BY value % 1000003, value",
    "a join": "SELECT count(*) FROM generate_series(1, 50000000) a JOIN "
    "generate_series(1, 50000000) b ON a.value = b.value",
    "the answer": "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 1000000)",
}
_WRITES = (
    "INSERT INTO streams SELECT * FROM streams",
    "DROP TABLE streams",
    "SET datafusion.execution.target_partitions = 100",
    "COPY (SELECT 1) TO '{file}'",
    "COPY streams TO '{file}' STORED AS PARQUET",
    "CREATE TABLE a AS SELECT 1",
    "CREATE VIEW a AS SELECT 1",
    "CREATE EXTERNAL TABLE a STORED AS CSV LOCATION '/etc/passwd'",
    "UPDATE streams SET tid = 1",
    "DELETE FROM streams",
    "EXPLAIN ANALYZE INSERT INTO streams SELECT * FROM streams",
    "EXPLAIN COPY (SELECT 1) TO '{file}'",
    "WITH a AS (SELECT 1) INSERT INTO streams SELECT * FROM a",
    "SELECT 1; DROP TABLE streams",
    "SELECT * INTO a FROM streams",
)
_FILES = (
    "SELECT * FROM '/etc/passwd'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM 'file:///etc/passwd'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_parquet('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM view_instance('../../etc', 'passwd')",
    "SELECT * FROM view_instance('thread_spans', '../../../../etc/passwd')",
)


_WORDS = (
    *("SELECT", "FROM", "WHERE", "GROUP", "BY", "ORDER", "LIMIT", "JOIN", "ON", "UNION", "WITH"),
    *("AS", "EXPLAIN", "AND", "OR", "NULL", "count(*)", "1", "0.5", "(", ")", ",", "*", "'", '"'),
    *("=", "<", "-", ";", "streams", "blocks", "name", "view_instance", "'thread_spans'"),
)


def error_of(daemon: Daemon, text: str, traces: Path) -> DftIndexError | None:
    """Run a statement; return what it is told, if that is an error."""
    try:
        daemon.client.sql(text, traces, seconds=20.0)
    except DftIndexError as error:
        return error
    return None


@pytest.fixture(scope="module")
def traces(module_daemon: Daemon) -> Path:
    """A directory with one trace."""
    folder = module_daemon.traces / "one"
    folder.mkdir()
    write_trace(folder / "a.pfw.gz", 100)
    module_daemon.client.sync(folder)
    return folder


@pytest.fixture(autouse=True)
def unharmed(module_daemon: Daemon, traces: Path) -> Iterator[None]:
    """After each test the daemon is the same, and answers."""
    before = module_daemon.process.pid
    yield
    assert module_daemon.process.poll() is None
    assert module_daemon.process.pid == before
    (row,) = module_daemon.client.sql("SELECT sum(nb_calls) AS n FROM blocks", traces).to_pylist()
    assert row["n"] == 100


@pytest.mark.parametrize("name", _ENDLESS)
def test_an_endless_statement_ends_in_time(module_daemon: Daemon, traces: Path, name: str) -> None:
    with pytest.raises((RequestTimeoutError, DftIndexError), match="more than"):
        module_daemon.client.sql(_ENDLESS[name], traces, seconds=1.0)


@pytest.mark.parametrize("name", _HUGE)
def test_a_huge_statement_is_bounded(module_daemon: Daemon, traces: Path, name: str) -> None:
    with pytest.raises(DftIndexError) as raised:
        module_daemon.client.sql(_HUGE[name], traces, seconds=20.0, rows=1000)
    assert raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize("text", _WRITES)
def test_a_statement_that_writes_is_refused(
    module_daemon: Daemon, traces: Path, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "written"
    with pytest.raises(QueryError):
        module_daemon.client.sql(text.format(file=file), traces)
    assert not file.exists()


@pytest.mark.parametrize("text", _FILES)
def test_a_statement_finds_no_files(module_daemon: Daemon, traces: Path, text: str) -> None:
    with pytest.raises(DftIndexError) as raised:
        module_daemon.client.sql(text, traces)
    assert "root:" not in str(raised.value)
    assert str(module_daemon.state) not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + "(" * 50_000 + "1" + ")" * 50_000,
        "SELECT " + "- " * 40_000 + "1",
        "SELECT " + "NOT " * 20_000 + "true",
        "SELECT " + "1+" * 40_000 + "1",
        "SELECT 1 WHERE " + " OR ".join(["1=2"] * 3_000),
        "SELECT " + "CASE WHEN true THEN " * 4_000 + "1" + " END" * 4_000,
        "SELECT " + "[" * 40_000 + "]" * 40_000,
        "SELECT 1" + " UNION ALL SELECT 1" * 5_000,
        "SELECT * FROM " + "(SELECT * FROM " * 99 + "streams" + ")" * 99,
        "SELECT " + "x." * 20_000 + "y",
        "SELECT 'x" + "y" * 1_000_000 + "'",
        "SELECT 'never ends",
        'SELECT "never ends',
        "/* never ends",
        "SELECT \0 FROM streams",
        "SELECT \ud83d\ude00",
        "",
        ";;;",
        "((((",
    ],
    ids=range(19),
)
def test_garbage_and_deep_nesting_get_an_answer_or_an_error(
    module_daemon: Daemon, traces: Path, text: str
) -> None:
    told = error_of(module_daemon, text, traces)
    assert told is None or (told.message and told.hint)


def test_a_thousand_columns_are_answered(module_daemon: Daemon, traces: Path) -> None:
    columns = ", ".join(f"tid + {number} AS c{number}" for number in range(1000))
    (row,) = module_daemon.client.sql(f"SELECT {columns} FROM streams", traces).to_pylist()
    assert len(row) == 1000


def test_random_words_never_harm_the_daemon(module_daemon: Daemon, traces: Path) -> None:
    chance = random.Random(3)
    for _ in range(40):
        text = " ".join(chance.choices(_WORDS, k=chance.randint(1, 30)))
        noise = "".join(chance.choices(string.printable, k=20))
        for statement in (f"SELECT {text}", noise):
            told = error_of(module_daemon, statement, traces)
            assert told is None or (told.message and told.hint), statement


def test_twenty_clients_at_once_are_all_answered_or_told_that_it_is_busy(
    module_daemon: Daemon, traces: Path
) -> None:
    query = "SELECT sum(nb_calls) AS n FROM blocks"

    def ask(_: int) -> object:
        try:
            return module_daemon.client.sql(query, traces).to_pylist()
        except BusyError as error:
            return error.code

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(100)))
    assert {str(answer) for answer in answers} <= {"[{'n': 100}]", "busy"}
    assert [{"n": 100}] in answers
