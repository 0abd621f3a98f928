"""Indices of columns as the rows of commits say them, against a plain recount."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dftindexd.index.errors import QueryError, StoreDamagedError
from dftindexd.index.model import TierConfig
from dftindexd.index.store.layout import CHUNK_STATS, HASH_TABLES, MANIFEST, POSTINGS
from dftindexd.views.indices import IndexBase, PartitionIndex
from dftindexd.views.indices.columns import COLUMNS, Wanted, column_of, columns_of_tiers
from dftindexd.views.indices.derived import IndexedTraces as Part
from dftindexd.views.indices.derived import index_of, partitions_of
from tests.index.query.event_traces import IndexedTraces, write_chunks

TIERS = TierConfig(aggregation=None, chunk_bytes=1, postings=("args.level",)).normal()
ALWAYS = tuple(column.name for column in COLUMNS)


def event(**fields: Any) -> bytes:
    """Return the line of an event."""
    record = {"name": "read", "cat": "POSIX", "pid": 1, "tid": 2, "ts": 7, "dur": 5, "ph": "X"}
    return json.dumps({**record, **fields}, separators=(",", ":")).encode()


def metadata(kind: str, hash_: str, name: str) -> bytes:
    """Return the line that names a hash."""
    args = {"name": name, "value": hash_}
    return event(name=kind, cat="dftracer", ph="M", pid=9, tid=9, args=args)


def index(traces: IndexedTraces, column: str, *values: Any) -> IndexBase:
    """Return the index of a column over all traces, or of some of its values."""
    names = [os.path.basename(os.fsdecode(record.path)) for record in traces.records]
    part = Part(traces.source, traces.records, names)
    wanted = Wanted(column, values or None)
    return index_of(column_of(column, traces.records[0].tiers), partitions_of(part, wanted))


def held(traces: IndexedTraces, column: str) -> dict[Any, set[str]]:
    """Return what the index of a column says."""
    return {value: set(labels) for value, labels in index(traces, column).to_dict().items()}


EVENTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["read", "write"]),
        "cat": st.sampled_from(["POSIX", "posix", "STDIO"]),
        "pid": st.integers(0, 2),
        "tid": st.integers(0, 2**64 - 1),
        "args": st.dictionaries(st.sampled_from(["hhash", "fhash"]), st.sampled_from(["aa", "bb"])),
    }
)
TRACES = st.lists(
    st.lists(st.lists(EVENTS, min_size=1, max_size=3), min_size=1, max_size=3),
    min_size=1,
    max_size=3,
)
HOSTS = {"aa": "node-a", "bb": None, None: None}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(made=TRACES)
def test_each_column_has_what_a_recount_finds(
    tmp_path: Path, made: list[list[list[dict[str, Any]]]]
) -> None:
    expected: dict[str, dict[Any, set[str]]] = {name: {} for name in ALWAYS}
    paths = []
    for number, chunks in enumerate(made):
        name = f"{number}.pfw.gz"
        lines = [[event(**one) for one in chunk] for chunk in chunks]
        lines[0].insert(0, metadata("HH", "aa", "node-a"))
        paths.append(write_chunks(tmp_path / name, *lines))
        for place, chunk in enumerate(chunks):
            for one in chunk:
                host, file = one["args"].get("hhash"), one["args"].get("fhash")
                row = {
                    "host": HOSTS[host],
                    "hhash": host,
                    "fhash": file,
                    "file_name": None,
                    "process": one["pid"],
                    "pid": one["pid"],
                    "tid": one["tid"],
                    "file": name,
                    "cat": one["cat"].lower(),
                    "name": one["name"],
                }
                for column, value in row.items():
                    expected[column].setdefault(value, set()).add(f"{name}#{place}")
    traces = IndexedTraces(*paths, tiers=TIERS)
    for column in ALWAYS:
        assert held(traces, column) == expected[column], column


@pytest.fixture
def mixed(tmp_path: Path) -> IndexedTraces:
    """A trace whose chunks have an argument of different types."""
    chunks = [
        [event(args={"level": 2, "fhash": "f1"}), metadata("FH", "f1", "/data/a")],
        [event(args={"level": "high", "fhash": "f2"})],
        [event(args={"level": 0.5}), event()],
    ]
    return IndexedTraces(write_chunks(tmp_path / "t.pfw.gz", *chunks), tiers=TIERS)


def test_an_argument_of_several_types_has_an_index_of_texts(mixed: IndexedTraces) -> None:
    found = index(mixed, "args.level")
    assert found.dtype == pa.string()
    assert found.to_dict() == {
        "0.5": ["t.pfw.gz#2"],
        "2": ["t.pfw.gz#0"],
        "high": ["t.pfw.gz#1"],
        None: ["t.pfw.gz#2"],
    }


def test_names_are_those_of_hashes_and_null_where_nobody_names_them(mixed: IndexedTraces) -> None:
    assert held(mixed, "file_name") == {
        "/data/a": {"t.pfw.gz#0"},
        None: {"t.pfw.gz#1", "t.pfw.gz#2"},
    }


def test_what_tells_partitions_apart_has_a_partition_index(mixed: IndexedTraces) -> None:
    kinds = {name for name in ALWAYS if isinstance(index(mixed, name), PartitionIndex)}
    assert kinds == {"host", "process", "file"}


def test_only_wanted_values_are_kept(mixed: IndexedTraces) -> None:
    assert index(mixed, "fhash", "f2", None).to_dict() == {
        "f2": ["t.pfw.gz#1"],
        None: ["t.pfw.gz#2"],
    }


def test_an_index_that_is_too_large_is_refused_whatever_is_left_of_it(mixed: IndexedTraces) -> None:
    part = Part(mixed.source, mixed.records, ["t"])
    assert len(partitions_of(part, Wanted("name", None, 3))) == 3
    with pytest.raises(QueryError, match="the index of name has more than"):
        partitions_of(part, Wanted("name", None, 2))


def test_more_hashes_than_are_counted_are_an_error_until_they_are_declared(tmp_path: Path) -> None:
    lines = [event(args={"fhash": f"{number:x}"}) for number in range(5000)]
    path = write_chunks(tmp_path / "t.pfw.gz", lines)
    with pytest.raises(QueryError, match="has more values of fhash") as caught:
        index(IndexedTraces(path, tiers=TIERS), "fhash")
    assert "add fhash to indexing.columns" in str(caught.value.hint)
    declared = TierConfig(aggregation=None, chunk_bytes=1, postings=("fhash",)).normal()
    assert len(held(IndexedTraces(path, tiers=declared), "fhash")) == 5000


def test_a_column_without_an_index_is_named_with_those_that_have_one() -> None:
    with pytest.raises(QueryError, match="there is no index of the column nmae") as caught:
        column_of("nmae", TIERS)
    assert "did you mean name?" in str(caught.value.hint)
    assert columns_of_tiers(TierConfig(manifest=False)) == []


@pytest.mark.parametrize(
    ("family", "column"),
    [
        (MANIFEST, "cat"),
        (CHUNK_STATS, "tid"),
        (CHUNK_STATS, "hhash"),
        (POSTINGS, "args.level"),
        (HASH_TABLES, "host"),
    ],
)
def test_a_damaged_row_is_named_with_its_trace_and_never_left_out(
    mixed: IndexedTraces, family: str, column: str
) -> None:
    for key in [key for key in mixed.source.rows if key[0] == family]:
        mixed.source.rows[key] = b"\xc1"
    with pytest.raises(StoreDamagedError, match=rf"t\.pfw\.gz: {family}"):
        index(mixed, column)
    for key in [key for key in mixed.source.rows if key[0] == family]:
        del mixed.source.rows[key]
    with pytest.raises(StoreDamagedError, match="a row is missing"):
        index(mixed, column)
