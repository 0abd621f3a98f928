"""Percentiles through the indexer of dftracer-utils' API."""

from __future__ import annotations

from pathlib import Path

from dftindexd.compat import AggregationConfig, Indexer

from .writing import table_of, write_trace


def test_percentiles_are_columns_of_every_table_of_events(tmp_path: Path) -> None:
    for number in (1, 2):
        write_trace(tmp_path / f"{number}.pfw.gz", 10, pid=number)
    config = AggregationConfig(compute_percentiles=True)
    with Indexer(str(tmp_path), require_aggregation=config, parallelism=1) as indexer:
        assert indexer.ensure_indexed().needs_work == []
        for batches in (
            indexer.iter_aggregation(),
            indexer.iter_arrow_dfanalyzer_all(group_by=["cat"])["events"],
            indexer.iter_arrow_dfanalyzer("events", query="size_p90 == 4096"),
        ):
            table = table_of(batches)
            assert set(table["dur_p50"].to_pylist()) == {10.0}
            assert set(table["size_p90"].to_pylist()) == {4096.0}
            assert set(table["offset_p25"].to_pylist()) == {None}
