"""Statements over made traces: what is refused, how errors are told, roots together."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dftindexd.index.errors import CoreError, QueryError, TraceChangedError
from dftindexd.views import session as sessions
from dftindexd.views.session import Session
from dftindexd.views.sets import VIEW_SETS
from tests.index.query.event_traces import write_chunks
from tests.views.made import MadeRoot, RootOf, call, metadata


def made_root(folder: Path, host: str) -> MadeRoot:
    """Return a root of one trace of one process on *host*."""
    traces = folder / host
    traces.mkdir(parents=True)
    lines = [metadata("HH", host, "aa"), call("start", 100, 0, cat="dftracer", id=1)]
    write_chunks(traces / "a.pfw.gz", [*lines, call("read", 110, 10, id=2)])
    root = MadeRoot(traces, folder / f"{host}-views")
    root.index("a.pfw.gz")
    return root


@pytest.fixture
def root(tmp_path: Path) -> MadeRoot:
    return made_root(tmp_path, "n1")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("SELECT nme FROM streams", "no column nme at Line: 1, Column: 8", "streams.thread_name"),
        ("SELECT thread_nam FROM streams", "no column thread_nam", "did you mean thread_name?"),
        (
            "SELECT * FROM view_instance('thread_span', 'x')",
            "view set thread_span not found",
            "did you mean thread_spans?",
        ),
        ("SELECT\n  s.nme\nFROM streams s", "no column s.nme at Line: 2, Column: 5", "s.tid"),
        ("SELECT * FROM strems", "no table strems at Line: 1, Column: 15", "did you mean streams?"),
        ("SELECT nofn(1)", "no function nofn at Line: 1, Column: 8", "Did you mean 'now'?"),
        ("SELECT * FROM streams WHERE", "Expected: an expression, found: EOF", "page on views"),
        ("SELECT count(* FROM streams", "Expected: ), found: FROM at Line: 1, Column: 16", "page"),
        ("SELECT 1/0 FROM streams", "Divide by zero error", "page on views"),
        ("SELECT cast('x' AS int)", "Cannot cast string 'x' to value of Int32", "page on views"),
        ("SELECT * FROM streams WHERE begin_time > '2024-13-01'", "Error parsing timestamp", ""),
        ("SELECT regexp_like('a', '(')", "regex parse error: ( ^ error: unclosed group", ""),
        ("SELECT tid FROM streams LIMIT -1", "LIMIT must be >= 0", ""),
        ("SELECT x.* FROM streams x, streams x", "Schema contains duplicate", ""),
        ("WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a", "", ""),
        ("EXPLAIN INSERT INTO streams SELECT * FROM streams", "", ""),
        ("SELECT * INTO x FROM streams", "", ""),
        (
            "SELECT * FROM '/etc/passwd'",
            "no table /etc/passwd at Line: 1, Column: 16",
            "tables are",
        ),
        ("SELECT * FROM read_csv('/etc/passwd')", "no function read_csv", ""),
    ],
)
def test_errors_have_the_place_and_what_there_is(
    root: MadeRoot, text: str, message: str, hint: str
) -> None:
    with pytest.raises(QueryError) as raised:
        root.ask(text)
    assert raised.value.message.startswith(message)
    assert raised.value.message
    assert hint in raised.value.hint


@pytest.mark.parametrize("function", ["view_instance", "VIEW_INSTANCE", '"view_instance"'])
def test_the_function_is_found_as_sql_finds_names(root: MadeRoot, function: str) -> None:
    asked = f"SELECT count(*) FROM {function}('thread_spans', 'n1:7:100:8')"
    assert root.ask(asked) == root.ask(asked.replace(function, "view_instance"))
    assert root.ask(f"{asked} UNION ALL {asked.replace(function, 'View_Instance')}") == [
        *root.ask(asked) * 2
    ]


def test_a_statement_takes_no_more_memory_than_it_may(
    root: MadeRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MEMORY_BYTES", 4 << 20)
    with pytest.raises(CoreError) as raised:
        root.ask("SELECT value FROM generate_series(1, 3000000) ORDER BY value % 1000003, value")
    assert raised.value.message == "the statement needs more than 4 MiB of memory"


def test_a_file_that_goes_away_in_the_midst_is_told_without_its_place(root: MadeRoot) -> None:
    instance = "view_instance('thread_spans', 'n1:7:100:8')"
    _, batches = Session([RootOf(root)]).run(f"SELECT * FROM {instance}")
    for file in root.folder.rglob("*.parquet"):
        file.unlink()
    with pytest.raises(TraceChangedError) as raised:
        list(batches)
    assert raised.value.message == "a view was made anew or deleted meanwhile"


def test_several_roots_are_told_apart_by_a_column(tmp_path: Path) -> None:
    roots = [made_root(tmp_path, host) for host in ("n1", "n2")]

    def ask(text: str) -> list[tuple[object, ...]]:
        schema, batches = Session([RootOf(one) for one in roots], named=True).run(text)
        rows = pa.Table.from_batches(list(batches), schema).to_pylist()
        return [tuple(row.values()) for row in rows]

    names = [root.name for root in roots]
    hosts = ask("SELECT root, computer FROM processes ORDER BY 2")
    assert hosts == list(zip(names, ("n1", "n2"), strict=True))
    for name in ("streams", "blocks", "log_stats"):
        assert sorted(ask(f"SELECT root FROM {name}")) == [(name,) for name in names]
    spans = ask(
        "SELECT root, name FROM view_instance('thread_spans', 'n2:7:100:8') "
        'ORDER BY "begin", depth'
    )
    assert spans == [(names[1], name) for name in ("thread", "start", "read")]
    assert ask("SELECT count(*) FROM log_entries") == [(4,)]


def test_filters_and_columns_are_pushed_into_the_files(root: MadeRoot) -> None:
    instance = "view_instance('thread_spans', 'n1:7:100:8')"
    plan = root.ask(f"EXPLAIN SELECT name FROM {instance} WHERE duration > 5")
    text = next(row["plan"] for row in plan if row["plan_type"] == "physical_plan")
    assert "pruning_predicate=duration_null_count" in text
    scan = next(line for line in text.splitlines() if ".parquet" in line)
    assert "projection=[duration, name]" in scan


def test_the_columns_of_every_set_are_those_of_its_schema(root: MadeRoot) -> None:
    instances = {"stream": "n1:7:100:8", "process": "n1:7:100"}
    for schema in VIEW_SETS.values():
        name = schema.name
        if not schema.table:
            name = f"view_instance('{name}', '{instances[schema.instances[0]]}')"
        found, _ = Session([RootOf(root)]).run(f"SELECT * FROM {name}")
        assert [(one.name, one.type) for one in found] == [
            (one.name, one.type) for one in schema.arrow
        ]


def test_documented_columns_are_unique_and_versions_and_columns_make_the_digest() -> None:
    digests = {schema.digest for schema in VIEW_SETS.values()}
    assert len(digests) == len(VIEW_SETS)
    for schema in VIEW_SETS.values():
        assert len({column.name for column in schema.columns}) == len(schema.columns)
        assert all(column.doc for column in schema.columns)
        assert {schema.begin, schema.end} - {None} <= {column.name for column in schema.columns}
