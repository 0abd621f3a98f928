"""Calls on the workers of a Dask cluster, what they tell while they run, and what sets them up.

There are no more calls at once than workers: Dask deals them to those that have nothing to do, and
gives up on all that several workers had in hand when they died, which is one call. None is bound to
a worker: one that is, and becomes due while no worker is there, is never run, whoever comes then.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from distributed import Client, Future, Worker, as_completed, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from dftindexd.cluster.build import set_threads
from dftindexd.cluster.driver import Outcome
from dftindexd.index.trace import kernel_cache

__all__ = ("BuildPlugin", "DaskExecutor")

#: How often a call that raised is tried again; one whose worker died is tried again by Dask.
_RETRIES: Final = 1

# The parameters of glibc's mallopt, and the most that it takes for the second.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 32 << 20


class DaskExecutor:
    """Runs calls on the workers of *client*."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def workers(self) -> int:
        """How many workers there are now, at least one."""
        return len(self._client.nthreads()) or 1

    def run(
        self,
        call: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        note: Callable[[str, int], None],
    ) -> Iterator[tuple[int, Outcome]]:
        """See :class:`~dftindexd.cluster.driver.Executor`."""
        running: dict[Future, int] = {}

        def submit(number: int) -> Future:
            future = self._client.submit(
                _noting, topic, call, arguments[number], pure=False, retries=_RETRIES
            )
            running[future] = number
            return future

        with self._told(note) as topic:
            numbers = iter(range(len(arguments)))
            finished = as_completed(list(map(submit, islice(numbers, self.workers))))
            try:
                for future in finished:
                    number = running.pop(future)
                    error = future.exception()
                    outcome = Outcome(future.result() if error is None else None, error)
                    future.release()  # else a worker's death has it computed once more
                    for following in islice(numbers, 1):
                        finished.add(submit(following))
                    yield number, outcome
            finally:
                self._client.cancel(list(running))

    @contextmanager
    def _told(self, note: Callable[[str, int], None]) -> Iterator[str]:
        """Have *note* told what workers log under the topic that is yielded, one at a time."""
        topic = f"dftindexd-{os.urandom(6).hex()}"
        lock = threading.Lock()

        def tell(event: tuple[float, tuple[str, int]]) -> None:
            with lock:
                note(*event[1])

        self._client.subscribe_topic(topic, tell)
        try:
            yield topic
        finally:
            self._client.unsubscribe_topic(topic)


def _noting(topic: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Run *call* on a worker; what it notes is logged under *topic*."""
    worker = get_worker()
    set_threads(worker.state.nthreads, by_default=True)

    def note(name: str, size: int) -> None:
        # From whatever thread: the worker's own loop sends it.
        worker.loop.add_callback(worker.log_event, topic, (name, size))

    return call(*arguments, note)


def _keep_freed_memory() -> None:
    """Let this process and its children keep what they free: Dask has its workers hand every large
    block back at once, and reading, which takes the same ones again and again, then takes 1.7 times
    as long."""
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)


class BuildPlugin(WorkerPlugin):  # type: ignore[misc] # distributed is not followed
    """Sets up each worker before its first task: the parse kernel is compiled, once a machine, and
    loaded, builds have *threads* threads, 0 for as many as Dask gave the worker, and what memory is
    freed is kept.

    Without it a worker whose machine has no kernel reads more slowly, with the same result.
    """

    name = "dftindexd-build"

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads

    def setup(self, worker: Worker) -> None:
        """Load the kernel and set the number of threads.

        :raises KernelCacheError: the directory of compiled code cannot be used.
        """
        _keep_freed_memory()
        set_threads(self.threads or worker.state.nthreads)
        if not kernel_cache.is_compiled(os.environ):
            kernel_cache.compile_once(os.environ, os.geteuid())
        kernel_cache.load()
