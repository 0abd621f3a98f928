"""What comes back for real traces, through the capsules."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from dftindexd.compat import Indexer

from .writing import count, table_of

COMPLETE_EVENTS = {"cm1-v1.0.5": 143_169, "dlio-v1.0.8": 18_039, "v0": 98_231}


@pytest.mark.parametrize("folder", COMPLETE_EVENTS)
def test_the_rows_stand_for_every_complete_event(
    folder: str, shared_traces: Path, tmp_path: Path
) -> None:
    indexer = Indexer(
        str(shared_traces / folder), index_dir=str(tmp_path), require_aggregation=True
    )
    status = indexer.ensure_indexed()
    assert status.total_files == len(status.ready) == len(os.listdir(shared_traces / folder))
    assert count(indexer.iter_aggregation("events")) == COMPLETE_EVENTS[folder]
    assert count(indexer.iter_arrow_dfanalyzer("events")) == COMPLETE_EVENTS[folder]
    grouped = indexer.iter_arrow_dfanalyzer_all(group_by=["cat"])
    assert count(grouped["events"]) == COMPLETE_EVENTS[folder]


def test_no_batch_has_more_rows_than_asked_for(cm1: Indexer) -> None:
    small = list(cm1.iter_aggregation("events", batch_size=1000))
    assert max(map(len, small)) == 1000
    assert table_of(small).equals(table_of(cm1.iter_aggregation("events", batch_size=10**6)))


def test_a_batch_size_of_zero_is_one(cm1: Indexer) -> None:
    batches = cm1.iter_arrow_dfanalyzer("events", batch_size=0, query='name == "fork"')
    assert {len(batch) for batch in batches} <= {1}


def test_a_batch_may_be_imported_twice(cm1: Indexer) -> None:
    batch = next(cm1.iter_arrow_dfanalyzer("events"))
    assert pa.record_batch(batch).equals(pa.record_batch(batch))
    assert pa.record_batch(batch).schema.names[:3] == ["cat", "func_name", "pid"]


def test_a_query_keeps_the_rows_it_names(cm1: Indexer) -> None:
    pid = min(set.union(*cm1.query_all_file_pids().values()))
    everything = table_of(cm1.iter_arrow_dfanalyzer("events"))["pid"].to_pylist()
    kept = table_of(cm1.iter_arrow_dfanalyzer("events", query=f"pid == {pid}"))["pid"].to_pylist()
    assert kept == [pid] * everything.count(pid)
    assert 0 < len(kept) < len(everything)


def test_file_ids_paths_and_pids_belong_together(cm1: Indexer, shared_traces: Path) -> None:
    paths, pids = cm1.query_file_info()
    folder = shared_traces / "cm1-v1.0.5"
    assert sorted(paths.values()) == sorted(str(path) for path in folder.iterdir())
    assert paths.keys() == pids.keys()
    assert all(pids.values())
    assert pids == cm1.query_all_file_pids()


def test_hash_tables_name_files_and_hosts(cm1: Indexer) -> None:
    assert len(cm1.get_hash_table("file")) == 1_637
    assert len(cm1.get_hash_table("host")) >= 1
    assert set(cm1.get_hash_table("proc").values()) == {"rank"}


def test_the_system_metrics_of_a_service_come_raw_in_all_and_derived_alone(
    shared_traces: Path, tmp_path: Path
) -> None:
    folder = shared_traces / "v2" / "service"
    indexer = Indexer(str(folder), index_dir=str(tmp_path), require_aggregation=True)
    indexer.ensure_indexed()
    raw = table_of(indexer.iter_arrow_dfanalyzer_all()["system"])
    assert raw.column_names[:3] == ["host_hash", "name", "time_bucket"]
    derived = table_of(indexer.iter_arrow_dfanalyzer("system"))
    assert derived.column_names[:2] == ["host_hash", "time_range"]
