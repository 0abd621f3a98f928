"""The processes that read traces which are published, where any has to be read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context

from dftindexd.actors.child_process import die_with_parent
from dftindexd.compat.published_rows import Numbered, PublishedTrace, TracePlan, published_trace
from dftindexd.index.trace import kernel_cache

__all__ = ("read_by_processes",)


@contextmanager
def read_by_processes(plans: Sequence[tuple[int, TracePlan]]) -> Iterator[Iterator[Numbered]]:
    """Give what traces become, with their places, as they are done.

    The processes are forked when the block begins, with the kernel loaded; this one must not have
    threads of its own by then.
    """
    try:
        kernel_cache.prepare(os.environ, os.getuid())
    except kernel_cache.KernelCacheError as error:
        sys.stderr.write(f"traces are read more slowly: {error}\n")
    pool = ProcessPoolExecutor(
        min(len(os.sched_getaffinity(0)), len(plans)),
        mp_context=get_context("fork"),
        initializer=die_with_parent,  # they would wait for work for ever
        initargs=(os.getpid(),),
    )
    largest_first = sorted(plans, key=lambda one: -one[1].trace.stamp.size)
    with pool:
        jobs = {pool.submit(published_trace, plan): place for place, plan in largest_first}
        try:
            yield _results(jobs)
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure nobody wants the rest


def _results(jobs: dict[Future[PublishedTrace], int]) -> Iterator[Numbered]:
    for job in as_completed(jobs):
        yield jobs.pop(job), job.result()  # nothing keeps the rows any longer
