"""What is refused, with which error and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from dftindexd import compat
from dftindexd.actors.engine import open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.compat import AggregationConfig, DFTUtilsError, Indexer
from dftindexd.index.store.writer import StoreWriter

from .writing import write_trace


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A directory with one trace."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_trace(folder / "a.pfw", 10)
    return folder


@pytest.fixture
def indexed(traces: Path) -> Iterator[Indexer]:
    """An indexer with its aggregation built."""
    with Indexer(str(traces), require_aggregation=True, parallelism=1) as indexer:
        indexer.ensure_indexed()
        yield indexer


@pytest.mark.parametrize("arguments", [{}, {"files": []}, {"files": ("a.pfw",)}])
def test_something_to_index_must_be_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="At least one of 'directory' or 'files' must be provided"):
        Indexer(**arguments)


def test_a_runtime_of_another_kind_is_refused(traces: Path) -> None:
    with pytest.raises(TypeError, match="runtime must be a Runtime instance or None"):
        Indexer(str(traces), runtime=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [Indexer.resolve, Indexer.build, Indexer.ensure_indexed])
def test_a_directory_must_exist_and_be_one(call: Callable[[Indexer], object], traces: Path) -> None:
    with pytest.raises(DFTUtilsError, match="Directory does not exist"):
        call(Indexer(str(traces / "gone")))
    with pytest.raises(DFTUtilsError, match="Path is not a directory"):
        call(Indexer(str(traces / "a.pfw")))


def test_an_unknown_type_is_refused_with_those_there_are(indexed: Indexer) -> None:
    message = "type must be 'events', 'profiles', or 'system'"
    with pytest.raises(ValueError, match=message):
        indexed.iter_aggregation("event")
    with pytest.raises(ValueError, match=message):
        indexed.iter_arrow_dfanalyzer("")
    with pytest.raises(ValueError, match="type must be 'file', 'host', 'string', or 'proc'"):
        indexed.get_hash_table("files")


@pytest.mark.parametrize(
    ("group_by", "error"), [(["nonsense"], ValueError), ("cat", ValueError), (3, TypeError),
                            ([3], TypeError)]
)  # fmt: skip
def test_a_grouping_that_is_none_is_refused(
    group_by: Any, error: type[Exception], indexed: Indexer
) -> None:
    with pytest.raises(error):
        indexed.iter_arrow_dfanalyzer_all(group_by=group_by)


@pytest.mark.parametrize("query", ["pid ==", "  ", "pid = 3"])
def test_a_query_that_does_not_parse_is_a_value_error(query: str, indexed: Indexer) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        indexed.iter_arrow_dfanalyzer(query=query)


def test_a_negative_batch_size_is_refused(indexed: Indexer) -> None:
    with pytest.raises(RuntimeError, match="batch_size must be at least 0"):
        indexed.iter_aggregation(batch_size=-1)


def test_without_an_aggregation_its_rows_are_refused(traces: Path) -> None:
    indexer = Indexer(str(traces), parallelism=1)
    with pytest.raises(RuntimeError, match="No aggregation config found"):
        indexer.iter_aggregation()
    indexer.ensure_indexed()
    for read in (indexer.iter_aggregation, indexer.iter_arrow_dfanalyzer_all):
        with pytest.raises(RuntimeError, match="No aggregation config found"):
            read()
    assert indexer.get_hash_table("file") == {"f1": "/data/1"}


def test_before_anything_is_indexed_the_tables_are_empty(traces: Path) -> None:
    indexer = Indexer(str(traces))
    assert indexer.get_hash_table("file") == {}
    assert indexer.query_all_file_pids() == {}
    assert indexer.query_file_info() == ({}, {})


def test_reading_where_there_are_no_traces_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    indexer = Indexer(str(tmp_path / "empty"), require_aggregation=True)
    for read in (indexer.iter_aggregation, indexer.query_file_info):
        with pytest.raises(RuntimeError, match="No index path available"):
            read()


def test_what_cannot_be_aggregated_is_refused_before_any_work(traces: Path) -> None:
    config = AggregationConfig(time_interval_ms=-1.0)
    indexer = Indexer(str(traces), require_aggregation=config)
    with pytest.raises(DFTUtilsError, match="interval is negative"):
        indexer.ensure_indexed()


def test_a_state_directory_in_use_is_refused_and_its_user_named(
    traces: Path, tmp_path: Path
) -> None:
    options = EngineOptions(
        state_dir=str(tmp_path / "state"), owner="dftindexd pid 12, socket S", workers=1
    )

    async def build_beside_an_engine() -> None:
        async with open_engine(options):
            with pytest.raises(compat.DFTUtilsIndexerError, match="by dftindexd pid 12, socket S"):
                await anyio.to_thread.run_sync(Indexer(str(traces)).build)

    anyio.run(build_beside_an_engine)


def test_a_store_in_use_is_refused_and_its_user_named(indexed: Indexer) -> None:
    path = indexed.resolve().index_path
    writer = StoreWriter(path, root="", owner="dftindexd pid 12, socket S")
    try:
        with pytest.raises(compat.DFTUtilsIndexerError, match="in use by dftindexd pid 12"):
            indexed.iter_aggregation()
    finally:
        writer.close()


def test_every_error_is_a_runtime_error_of_one_tree() -> None:
    errors = [getattr(compat, name) for name in compat.__all__ if name.endswith("Error")]
    assert len(errors) == 11
    assert all(issubclass(error, DFTUtilsError) for error in errors)
    assert issubclass(DFTUtilsError, RuntimeError)
