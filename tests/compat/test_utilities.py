"""The aggregator of dftracer-utils, its tables, and filters put together in Python."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dftindexd.compat import AggregatorUtility, ArrowTable, Expr, Field, Indexer, Runtime

from .writing import count, table_of, write_trace


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A directory with two traces."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_trace(folder / "a.pfw", 10, pid=1)
    write_trace(folder / "b.pfw.gz", 20, pid=2)
    return folder


def test_a_directory_is_indexed_and_its_events_returned(traces: Path) -> None:
    aggregate = AggregatorUtility(Runtime(threads=1))
    table = aggregate.process(str(traces), event_batch_size=3)
    assert isinstance(table, ArrowTable)
    rows = pa.table(table)
    with Indexer(str(traces), require_aggregation=True) as indexer:
        assert rows == table_of(indexer.iter_aggregation())
    assert table.num_rows == rows.num_rows > 3
    assert table.num_batches == -(-table.num_rows // 3) == len(list(table.batches()))
    assert table.batch(0).num_rows == 3
    assert table.batch(0).num_columns == rows.num_columns
    assert table.to_pandas()["count"].sum() == table.to_polars()["count"].sum() == 30
    assert list(table.batch(0).to_pandas()["cat"]) == list(table.batch(0).to_polars()["cat"])
    assert pa.table(aggregate(str(traces))) == rows


def test_categories_and_names_are_kept_alone(traces: Path) -> None:
    aggregate = AggregatorUtility()
    some = aggregate.iter_arrow(
        str(traces), categories=["POSIX"], names=["read"], parallelism=1, buffer_size=2
    )
    assert count(some) == 30
    assert aggregate.process(str(traces), names=["write"]).empty
    assert aggregate.process(str(traces), categories=["stdio"]).num_rows == 0


def test_a_directory_without_traces_gives_an_empty_table(tmp_path: Path) -> None:
    table = AggregatorUtility().process(str(tmp_path))
    assert (table.empty, table.num_rows, pa.table(table).num_columns) == (True, 0, 0)


@pytest.mark.parametrize(
    ("filter_", "text"),
    [
        (Field("cat") == "POSIX", 'cat == "POSIX"'),
        (Field("args.x") != 'a"b', 'args.x != "a\\"b"'),
        ((Field("dur") > 10) & (Field("dur") <= 2.5), "(dur > 10 and dur <= 2.5)"),
        ((Field("pid") < 3) | ~(Field("ok") >= True), "(pid < 3 or not (ok >= true))"),
        (Field("name").is_in(["a", "b"]), 'name in ["a", "b"]'),
        (Field("pid").not_in([1, 2]), "pid not in [1, 2]"),
    ],
)
def test_a_filter_is_written_as_queries_are(filter_: Expr, text: str) -> None:
    assert str(filter_) == text


def test_a_filter_put_together_is_taken_as_a_query(traces: Path) -> None:
    with Indexer(str(traces), require_aggregation=True) as indexer:
        indexer.ensure_indexed()
        wanted = (Field("cat") == "posix") & Field("pid").is_in([2])
        assert count(indexer.iter_arrow_dfanalyzer(query=str(wanted))) == 20
