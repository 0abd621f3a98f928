"""The ``AggregatorUtility`` of dftracer-utils: a directory, indexed, as its aggregated events."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from dftindexd.compat.capsule import ArrowBatch, ArrowTable, batches_of
from dftindexd.compat.config import AggregationConfig
from dftindexd.compat.indexer import Indexer
from dftindexd.compat.runtime import Runtime, checked_runtime

__all__ = ("AggregatorUtility",)


class AggregatorUtility:
    """Aggregates the events of the traces in a directory.

    The arguments of its calls are those of :class:`Indexer`; *categories* (in any case) and *names*
    keep the events with one of them. *event_batch_size* is the rows of a batch. *buffer_size* is
    kept for the signature: the rows are there at once.
    """

    def __init__(self, runtime: Runtime | None = None) -> None:
        self._runtime = checked_runtime(runtime)

    def process(
        self,
        directory: str,
        time_interval_ms: float = 5000.0,
        group_keys: list[str] | None = None,
        categories: list[str] | None = None,
        names: list[str] | None = None,
        index_dir: str = "",
        checkpoint_size: int = 33554432,
        force_rebuild: bool = False,
        parallelism: int = 0,
        event_batch_size: int = 10000,
        custom_metric_fields: list[str] | None = None,
        compute_percentiles: bool = False,
    ) -> ArrowTable:
        """Index what is not indexed, and return the events as :meth:`Indexer.iter_aggregation`."""
        indexer = Indexer(
            directory,
            index_dir=index_dir,
            require_aggregation=AggregationConfig(
                time_interval_ms, group_keys, custom_metric_fields, compute_percentiles
            ),
            checkpoint_size=checkpoint_size,
            parallelism=parallelism,
            force_rebuild=force_rebuild,
            runtime=self._runtime,
        )
        if not indexer.ensure_indexed().total_files:
            return ArrowTable([])
        batches = [pa.record_batch(batch) for batch in indexer.iter_aggregation("events", 1 << 30)]
        if not batches:
            return ArrowTable([])
        table = _only(pa.Table.from_batches(batches), "name", names)
        lower = None if categories is None else [category.lower() for category in categories]
        return ArrowTable(list(batches_of(_only(table, "cat", lower), event_batch_size)))

    __call__ = process

    def iter_arrow(
        self,
        directory: str,
        time_interval_ms: float = 5000.0,
        group_keys: list[str] | None = None,
        categories: list[str] | None = None,
        names: list[str] | None = None,
        index_dir: str = "",
        checkpoint_size: int = 33554432,
        force_rebuild: bool = False,
        parallelism: int = 0,
        event_batch_size: int = 10000,
        custom_metric_fields: list[str] | None = None,
        compute_percentiles: bool = False,
        buffer_size: int = 8,
    ) -> Iterator[ArrowBatch]:
        """Return the batches of :meth:`process`."""
        return self.process(
            directory,
            time_interval_ms,
            group_keys,
            categories,
            names,
            index_dir,
            checkpoint_size,
            force_rebuild,
            parallelism,
            event_batch_size,
            custom_metric_fields,
            compute_percentiles,
        ).batches()


def _only(table: pa.Table, column: str, wanted: list[str] | None) -> pa.Table:
    if not wanted:
        return table
    import pyarrow.compute as pc

    texts = table[column].cast(pa.utf8())
    return table.filter(pc.is_in(texts, value_set=pa.array(wanted, pa.utf8())))
