"""The processes that publish beside the one that asks: they read traces, where any has to be read,
and write the tables of the aggregation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final

from dftindexd.actors.child_process import die_with_parent
from dftindexd.compat.published_rows import Numbered, PublishedTrace, TracePlan, published_trace
from dftindexd.index.model import AggregationTier
from dftindexd.index.publish.aggregation import AggregatedTrace, published_aggregation
from dftindexd.index.publish.database import write_tables

__all__ = ("PublishingPool", "publishing_pool")

#: Each part begins with merging all rows, which is a fifth of what it does where there are few.
_PART_BYTES: Final = 4 << 20
_MOST_PARTS: Final = 4


class PublishingPool:
    """What processes do, beside the one that asks."""

    def __init__(
        self,
        pool: ProcessPoolExecutor,
        processes: int,
        folder: str,
        to_read: Iterable[tuple[int, TracePlan]],
    ) -> None:
        """Begin to read traces; each has a place."""
        self._pool = pool
        self._processes = processes
        self._folder = folder
        largest_first = sorted(to_read, key=lambda one: -one[1].trace.stamp.size)
        self._reading: dict[Future[PublishedTrace], int] = {
            pool.submit(published_trace, plan): place for place, plan in largest_first
        }

    def read(self) -> Iterator[Numbered]:
        """Give what the traces that are read become, with their places, as they are done."""
        for job in as_completed(self._reading):
            yield self._reading.pop(job), job.result()  # nothing keeps the rows any longer

    def start_aggregation(
        self, traces: Sequence[AggregatedTrace], tier: AggregationTier
    ) -> list[Future[dict[str, str]]]:
        """Begin to write the tables of the aggregation of *traces*; each result is the path of each
        family of a part."""
        parts = min(self._processes, _parts(traces))
        return [
            self._pool.submit(_write_aggregation, traces, tier, part, parts, self._folder)
            for part in range(parts)
        ]


@contextmanager
def publishing_pool(plans: Sequence[TracePlan], folder: str) -> Iterator[PublishingPool]:
    """Give processes that write into *folder*, and that read the traces which *plans* say.

    They are forked when the block begins: this one must not have threads of its own by then.
    """
    to_read = [(place, plan) for place, plan in enumerate(plans) if plan.is_read]
    if to_read:
        _prepare_kernel()
    wanted = max(len(to_read), _parts([plan.trace.aggregated for plan in plans]))
    processes = min(len(os.sched_getaffinity(0)), wanted)
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("fork"),
        initializer=die_with_parent,  # they would wait for work for ever
        initargs=(os.getpid(),),
    )
    with pool:
        pool.submit(os.getpid).result()
        try:
            yield PublishingPool(pool, processes, folder, to_read)
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure nobody wants the rest


def _prepare_kernel() -> None:
    from dftindexd.index.trace import kernel_cache  # late: most traces are not read again

    try:
        kernel_cache.prepare(os.environ, os.getuid())
    except kernel_cache.KernelCacheError as error:
        sys.stderr.write(f"traces are read more slowly: {error}\n")


def _parts(traces: Sequence[AggregatedTrace]) -> int:
    """Return in how many parts their aggregation is worth being made."""
    size = sum(len(value) for trace in traces for value in trace.aggregation)
    return min(1 + size // _PART_BYTES, _MOST_PARTS)


def _write_aggregation(
    traces: Sequence[AggregatedTrace], tier: AggregationTier, part: int, parts: int, folder: str
) -> dict[str, str]:
    rows = published_aggregation(traces, tier, part, parts)
    return write_tables(rows, folder, f"aggregation-{part}")
