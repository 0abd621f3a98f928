"""The processes that publish beside the one that asks: they read traces, where any has to be read,
and write the tables of the aggregation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context

from dftindexd.actors.child_process import die_with_parent
from dftindexd.compat.published_rows import Numbered, PublishedTrace, TracePlan, published_trace
from dftindexd.index.model import AggregationTier
from dftindexd.index.publish.aggregation import AggregatedTrace, published_aggregation
from dftindexd.index.publish.database import write_tables

__all__ = ("PublishingPool", "publishing_pool")


class PublishingPool:
    """What processes do, beside the one that asks."""

    def __init__(self, pool: ProcessPoolExecutor, folder: str) -> None:
        self._pool = pool
        self._folder = folder
        self._reading: dict[Future[PublishedTrace], int] = {}

    def start_reading(self, plans: Iterable[tuple[int, TracePlan]]) -> None:
        """Begin to read traces; each has a place."""
        largest_first = sorted(plans, key=lambda one: -one[1].trace.stamp.size)
        self._reading = {
            self._pool.submit(published_trace, plan): place for place, plan in largest_first
        }

    def read(self) -> Iterator[Numbered]:
        """Give what the traces that are read become, with their places, as they are done."""
        for job in as_completed(self._reading):
            yield self._reading.pop(job), job.result()  # nothing keeps the rows any longer

    def start_aggregation(
        self, traces: Sequence[AggregatedTrace], tier: AggregationTier
    ) -> Future[dict[str, str]]:
        """Begin to write the tables of the aggregation of *traces*; the result is the path of each
        family."""
        return self._pool.submit(_write_aggregation, traces, tier, self._folder)


@contextmanager
def publishing_pool(folder: str, *, traces_to_read: int) -> Iterator[PublishingPool]:
    """Give processes that write into *folder*.

    They are forked when the block begins: this one must not have threads of its own by then.
    """
    if traces_to_read:
        _prepare_kernel()
    pool = ProcessPoolExecutor(
        max(1, min(len(os.sched_getaffinity(0)), traces_to_read)),
        mp_context=get_context("fork"),
        initializer=die_with_parent,  # they would wait for work for ever
        initargs=(os.getpid(),),
    )
    with pool:
        pool.submit(os.getpid).result()
        try:
            yield PublishingPool(pool, folder)
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure nobody wants the rest


def _prepare_kernel() -> None:
    from dftindexd.index.trace import kernel_cache  # late: most traces are not read again

    try:
        kernel_cache.prepare(os.environ, os.getuid())
    except kernel_cache.KernelCacheError as error:
        sys.stderr.write(f"traces are read more slowly: {error}\n")


def _write_aggregation(
    traces: Sequence[AggregatedTrace], tier: AggregationTier, folder: str
) -> dict[str, str]:
    return write_tables(published_aggregation(traces, tier), folder, "aggregation")
