"""What an indexer does to its store as the traces change, and where the store lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dftindexd.compat import AggregationConfig, Indexer

from .writing import count, write_trace


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A directory with two traces, one below it, and a file that is none."""
    folder = tmp_path / "run.1"
    (folder / "below").mkdir(parents=True)
    write_trace(folder / "a.pfw", 10, pid=1)
    write_trace(folder / "b.pfw.gz", 20, pid=2)
    write_trace(folder / "below" / "c.pfw", 40, pid=3)
    (folder / "notes.txt").write_text("none")
    return folder


def _indexer(traces: Path, **options: object) -> Indexer:
    options = {"require_aggregation": True, "parallelism": 1} | options
    return Indexer(str(traces), **options)  # type: ignore[arg-type]


def _generation_files(index_path: str) -> dict[str, int]:
    return {
        entry.name: entry.stat().st_mtime_ns
        for entry in os.scandir(index_path)
        if entry.name.endswith(".sst")
    }


def test_before_the_first_build_everything_needs_work(traces: Path) -> None:
    indexer = _indexer(traces)
    status = indexer.resolve()
    assert (status.total_files, status.ready) == (2, [])
    assert status.needs_work == [str(traces / "a.pfw"), str(traces / "b.pfw.gz")]
    assert not os.path.exists(status.index_path)


def test_after_it_the_traces_of_the_directory_are_ready_and_those_below_are_not_in_it(
    traces: Path,
) -> None:
    indexer = _indexer(traces)
    status = indexer.ensure_indexed()
    assert status.ready == [str(traces / "a.pfw"), str(traces / "b.pfw.gz")]
    assert status.needs_work == []
    assert status.aggregation_interval_us == 5_000_000
    assert count(indexer.iter_aggregation()) == 30


def test_a_second_indexer_parses_nothing(traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _indexer(traces).ensure_indexed()

    def refuse(indexer: Indexer) -> None:
        raise AssertionError("built although all was ready")

    monkeypatch.setattr(Indexer, "build", refuse)
    assert _indexer(traces).ensure_indexed() == first


def test_a_changed_a_new_and_a_deleted_trace_are_followed(traces: Path) -> None:
    indexer = _indexer(traces)
    indexer.ensure_indexed()
    ids = {path: number for number, path in indexer.query_file_info()[0].items()}
    write_trace(traces / "a.pfw", 11, pid=1)
    write_trace(traces / "d.pfw", 5, pid=4)
    (traces / "b.pfw.gz").unlink()
    assert indexer.resolve().needs_work == [str(traces / "a.pfw"), str(traces / "d.pfw")]
    assert indexer.ensure_indexed().needs_work == []
    assert count(indexer.iter_aggregation()) == 16
    after = {path: number for number, path in indexer.query_file_info()[0].items()}
    assert after.keys() == {str(traces / "a.pfw"), str(traces / "d.pfw")}
    assert after[str(traces / "a.pfw")] == ids[str(traces / "a.pfw")]


def test_a_forced_rebuild_counts_nothing_twice(traces: Path) -> None:
    indexer = _indexer(traces, force_rebuild=True)
    indexer.ensure_indexed()
    indexer.build()
    indexer.ensure_indexed()
    assert count(indexer.iter_aggregation()) == 30


def test_another_configuration_of_the_aggregation_is_built_when_asked_for(traces: Path) -> None:
    coarse = _indexer(traces)
    coarse.ensure_indexed()
    fine = _indexer(traces, require_aggregation=AggregationConfig(time_interval_ms=1000.0))
    assert len(fine.resolve().needs_work) == 2
    assert fine.ensure_indexed().aggregation_interval_us == 1_000_000
    assert len(list(fine.iter_aggregation(batch_size=1))) == 30
    assert count(fine.iter_aggregation()) == 30


def test_whoever_needs_no_aggregation_neither_builds_it_nor_takes_it_from_those_who_do(
    traces: Path,
) -> None:
    aggregated = _indexer(traces)
    aggregated.ensure_indexed()
    plain = _indexer(traces, require_aggregation=None)
    assert plain.resolve().needs_work == []
    write_trace(traces / "d.pfw", 5, pid=4)
    assert plain.ensure_indexed().needs_work == []
    assert aggregated.resolve().missing == {str(traces / "d.pfw"): ["aggregation"]}
    with pytest.warns(RuntimeWarning, match=r"1 of 3 traces are not in the answer.*d\.pfw"):
        assert count(plain.iter_aggregation()) == 30
    assert aggregated.ensure_indexed().needs_work == []
    assert count(plain.iter_aggregation()) == 35


def test_a_list_of_files_is_indexed_and_nothing_beside_it(traces: Path) -> None:
    files = [str(traces / "b.pfw.gz"), str(traces / "below" / "c.pfw")]
    indexer = Indexer(files=files, require_aggregation=True)
    status = indexer.ensure_indexed()
    assert status.ready == files
    assert count(indexer.iter_aggregation()) == 60
    assert sorted(indexer.query_file_info()[0].values()) == files


def test_a_file_that_is_missing_is_named_and_does_not_hold_up_the_others(traces: Path) -> None:
    files = [str(traces / "a.pfw"), str(traces / "gone.pfw")]
    indexer = Indexer(files=files, require_aggregation=True)
    status = indexer.ensure_indexed()
    assert (status.ready, status.needs_work) == (files[:1], files[1:])
    with pytest.warns(RuntimeWarning, match=r"1 of 2 traces .*gone\.pfw"):
        assert count(indexer.iter_aggregation()) == 10


def test_the_store_lies_in_the_index_dir_or_the_state_directory_never_beside_the_traces(
    traces: Path, tmp_path: Path
) -> None:
    before = sorted(os.listdir(traces))
    in_state = _indexer(traces).ensure_indexed().index_path
    assert Path(in_state).parent == tmp_path / "state" / "stores"
    named = _indexer(traces, index_dir=str(tmp_path / "mine")).ensure_indexed().index_path
    assert Path(named).parent == tmp_path / "mine"
    assert Path(named).name == Path(in_state).name
    assert Path(named).suffix == ".dftindex"
    assert sorted(os.listdir(traces)) == before


def test_an_empty_directory_has_no_index(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status = _indexer(tmp_path / "empty").ensure_indexed()
    assert (status.total_files, status.ready, status.index_path) == (0, [], "")
