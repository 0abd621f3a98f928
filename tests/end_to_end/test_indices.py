"""Inverted indices of a daemon's traces against a recount of their lines."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dftindexd.client import Client
from dftindexd.client.indices import GivenPredicates
from dftindexd.index.query.event_fields import event_field, is_row
from dftindexd.index.query.event_lines import events_of_line, lines_of_text
from dftindexd.index.trace.facts import TIME_SCALES
from dftindexd.protocol.errors import InvalidArgumentError, NotFoundError, QueryError
from dftindexd.views.indices import ExplicitSecondaryIndex
from tests.end_to_end.made_traces import event_lines, write_trace
from tests.end_to_end.running import Daemon, rows_of, running_daemon, text_of
from tests.end_to_end.tracing import end_of, traced, traces_in

DECLARED = ("ret", "args.level", "fhash", "offset", "dur")
_UNIT = re.compile(rb'"name":"time_metric","value":"(\w+)"')
FIELDS = (*DECLARED, "cat", "name", "pid", "tid", "hhash")


@pytest.fixture(scope="module")
def indexing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that keeps indices of some further columns."""
    options = [text for column in DECLARED for text in ("--index-column", column)]
    with running_daemon(tmp_path_factory.mktemp("daemon"), *options) as running:
        yield running


def recounted(client: Client, directory: Path, column: str) -> dict[Any, set[str]]:
    """Return which chunks hold each value of a field, by reading all lines of all traces."""
    field = event_field(column)
    assert field is not None
    found: dict[Any, set[str]] = defaultdict(set)
    for chunk in client.partitions(directory).to_pylist():
        text = text_of(directory / chunk["trace"])
        unit = _UNIT.search(text)
        scale = TIME_SCALES["US" if unit is None else unit[1].decode()]
        part = text[chunk["uc_offset"] : chunk["uc_offset"] + chunk["uc_size"]]
        for line in lines_of_text([part], 0, 0):
            for event in events_of_line(line, scale):
                if is_row(event):
                    value = field.read(event)
                    value = value.lower() if column == "cat" else value
                    found[value].add(chunk["partition"])
    return found


def held(client: Client, directory: Path, column: str) -> dict[Any, set[str]]:
    """Return what the index of a column says."""
    answer = client.indices(directory, column)
    index = ExplicitSecondaryIndex.from_table(column, answer.arrow())
    return {value: set(labels) for value, labels in index.to_dict().items()}


def agree(client: Client, directory: Path, *columns: str) -> None:
    """Compare the indices of *columns* with a recount."""
    for column in columns:
        assert held(client, directory, column) == recounted(client, directory, column), column


@pytest.mark.parametrize("name", ["v2", "dlio-v1.0.8"])
def test_indices_of_real_traces_are_what_their_lines_say(
    indexing: Daemon, shared_traces: Path, name: str
) -> None:
    target = indexing.traces / name
    shutil.copytree(shared_traces / name, target)
    indexing.client.sync(target)
    agree(indexing.client, target, *FIELDS)


def test_indices_of_a_run_of_the_tracer_are_what_plain_json_says(indexing: Daemon) -> None:
    client, directory = indexing.client, indexing.traces / "traced"
    directory.mkdir()
    with traced(directory, mode="fork", seconds=0.5) as program:
        end_of(program)
    client.sync(directory)
    agree(client, directory, *FIELDS)
    by_name: dict[str, set[str]] = defaultdict(set)
    for trace in traces_in(directory):
        for text in text_of(trace).splitlines():
            line = json.loads(text) if text.startswith(b"{") else {}
            if line.get("ph") == 1:
                by_name[line["name"]].add(str(trace.relative_to(directory)))
    names = held(client, directory, "name")
    traces = {name: {label.rpartition("#")[0] for label in names[name]} for name in names}
    assert traces == by_name
    hosts = client.indices(directory, "host").to_pylist()
    assert {row["host"] for row in hosts} <= {None, *_hosts(directory)}
    assert len(client.indices(directory, "process")) == 3


def _hosts(directory: Path) -> set[str]:
    """Return the hosts that the metadata of traces names."""
    lines = (text for trace in traces_in(directory) for text in text_of(trace).splitlines())
    named = [json.loads(text) for text in lines if b'"name":"HH"' in text]
    return {line["args"]["name"] for line in named}


def test_an_index_follows_traces_that_grow_are_replaced_and_go(indexing: Daemon) -> None:
    client, directory = indexing.client, indexing.traces / "changing"
    directory.mkdir()
    plain, packed = directory / "a.pfw", directory / "b.pfw.gz"
    for change in (
        lambda: write_trace(plain, 3),
        lambda: write_trace(packed, 2, first=50),
        lambda: plain.write_bytes(plain.read_bytes() + event_lines(2, pid=99)),
        lambda: write_trace(packed, 4, first=90, append=True),
        lambda: packed.write_bytes(gzip.compress(event_lines(1, pid=5))),
        lambda: shutil.copy(packed, directory / "c.pfw.gz"),
        lambda: plain.unlink(),
    ):
        change()
        client.sync(directory)
        agree(client, directory, "pid", "ret", "fhash", "offset")
        files: dict[str, set[str]] = defaultdict(set)
        for chunk in client.partitions(directory).to_pylist():
            files[chunk["trace"]].add(chunk["partition"])
        assert held(client, directory, "file") == files
        assert set(files) == {trace.name for trace in traces_in(directory)}
    assert set(held(client, directory, "pid")) == {5}


def test_a_lookup_of_values_and_of_null_finds_their_chunks_alone(indexing: Daemon) -> None:
    client, directory = indexing.client, indexing.traces / "lookup"
    directory.mkdir()
    for number in range(3):
        (directory / f"{number}.pfw").write_bytes(event_lines(2, pid=number))
    client.sync(directory)
    found = client.indices(directory, "pid", values=["1", 2.0, 77]).to_pylist()
    assert found == [{"pid": 1, "partition": ["1.pfw#0"]}, {"pid": 2, "partition": ["2.pfw#0"]}]
    (null,) = client.indices(directory, "offset", values=[None]).to_pylist()
    assert null == {"offset": None, "partition": [f"{number}.pfw#0" for number in range(3)]}
    with pytest.raises(QueryError, match="'x' is no value of pid"):
        client.indices(directory, "pid", values=["x"])
    one = client.indices(directory / "1.pfw", "ret").to_pylist()
    assert one == [{"ret": 4096, "partition": ["1.pfw#0"]}]


def test_predicates_read_only_the_chunks_that_the_indices_name(indexing: Daemon) -> None:
    client, directory = indexing.client, indexing.traces / "predicates"
    directory.mkdir()
    for number in range(4):
        lines = event_lines(5, pid=number).replace(b"4096", str(number * 10).encode())
        (directory / f"{number}.pfw").write_bytes(lines + lines.replace(b'"ret":', b'"level":'))
    client.sync(directory)
    predicates: GivenPredicates = [
        [("pid", "==", 1), ("cat", "in", ["posix", "x"])],
        [("args.level", "==", 30)],
    ]
    parts = client.partitions(directory, predicates=predicates).to_pylist()
    pids = ExplicitSecondaryIndex.from_table("pid", client.indices(directory, "pid").arrow())
    levels = client.indices(directory, "args.level", values=[30]).to_pylist()[0]["partition"]
    assert [row["partition"] for row in parts] == [*pids.query(1), *levels]
    explained = client.explain(directory, predicates=predicates)
    assert (explained.chunks, explained.read) == (4, 2)
    with client.read(directory, predicates=predicates, columns=["pid"]) as batches:
        read = [row["pid"] for batch in batches for row in batch.to_pylist()]
    assert read == [1] * 10 + [3] * 5
    text = client.explain(directory, query="args.level == 30 or ret == 15")
    assert (text.read, text.tiers) == (1, {"postings": 3})
    with client.read(directory, query="pid > 2", predicates=[[("ret", "==", None)]]) as batches:
        assert sum(batch.num_rows for batch in batches) == 5


def test_the_command_shows_indices_lookups_and_chunks(indexing: Daemon) -> None:
    directory = indexing.traces / "command"
    directory.mkdir()
    write_trace(directory / "t.pfw.gz", 2)
    indexing.client.sync(directory)
    columns = rows_of(indexing.run("indices", "--root", directory, "--json"))
    kinds = {row["column"]: (row["kind"], row["type"]) for row in columns}
    assert kinds["host"] == kinds["file"] == ("partition", "string")
    assert kinds["pid"] == ("secondary", "uint64")
    assert kinds["args.level"] == ("secondary", "")
    arguments = ("indices", "--root", directory, "--column", "pid", "--json", "--value")
    assert rows_of(indexing.run(*arguments, "77")) == [{"pid": 77, "partition": ["t.pfw.gz#0"]}]
    assert rows_of(indexing.run(*arguments, "78")) == []
    chunks = rows_of(indexing.run("indices", "--root", directory, "--query", "pid == 77", "--json"))
    assert [(row["partition"], row["num_lines"]) for row in chunks] == [("t.pfw.gz#0", 2)]
    every = rows_of(indexing.run("indices", "--column", "file", "--json"))
    assert f"{directory}/t.pfw.gz" in {row["file"] for row in every}
    assert indexing.run("indices", "--column", "pid", "--query", "x").returncode == 2


def test_a_column_that_is_declared_later_is_indexed_for_all_traces(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        for number in range(2):
            write_trace(daemon.traces / f"{number}.pfw.gz", 3, first=number)
        daemon.client.sync()
        with pytest.raises(QueryError, match="there is no index of the column ret"):
            daemon.client.indices(daemon.traces, "ret")
        with pytest.raises(NotFoundError):
            daemon.client.indices("/nowhere", "pid")
    with running_daemon(tmp_path, "--index-column", "ret") as daemon:
        write_trace(daemon.traces / "2.pfw.gz", 3)
        daemon.client.sync()
        agree(daemon.client, daemon.traces, "ret", "pid")
        assert daemon.client.explain(daemon.traces, query="ret == 4095 or ret == 4097").read == 0
        assert daemon.client.verify(daemon.traces).problems == ()
        assert daemon.events() == 9


def test_a_request_declares_columns_of_a_directory_and_they_are_remembered(
    tmp_path: Path,
) -> None:
    with running_daemon(tmp_path) as daemon:
        own = daemon.traces / "own"
        own.mkdir()
        write_trace(own / "t.pfw.gz", 3)
        daemon.client.sync()
        with pytest.raises(InvalidArgumentError, match="postings must be"):
            daemon.client.watch(own, columns=["nonsense"])
        rows_of(daemon.run("watch", own, "--index-column", "ret", "--json"))
        daemon.client.sync()
        agree(daemon.client, own, "ret")
    with running_daemon(tmp_path) as daemon:
        write_trace(own / "u.pfw.gz", 2)
        daemon.client.sync()
        agree(daemon.client, own, "ret", "pid")
        every = daemon.client.indices(column="ret")
        assert set(every.to_pylist()[0]["partition"]) == {f"{own}/{name}.pfw.gz#0" for name in "tu"}
        assert every.warnings == (f"{daemon.traces} is not in the answer: it has no index of ret",)
