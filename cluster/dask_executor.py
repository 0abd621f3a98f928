"""Calls on the workers of a Dask cluster, what they tell while they run, and what sets them up.

A call goes to a worker of its own if there is one, and to another if that dies; Dask itself gives
up on a call that some workers died of.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from distributed import Client, Worker, as_completed, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from dftindexd.cluster.build import set_threads
from dftindexd.cluster.driver import Outcome
from dftindexd.index.trace import kernel_cache

__all__ = ("BuildPlugin", "DaskExecutor")

#: How often a call that raised is tried again; one whose worker died is tried again by Dask.
_RETRIES: Final = 1


class DaskExecutor:
    """Runs calls on the workers of *client*."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def workers(self) -> int:
        """How many workers there are now, at least one."""
        return len(self._addresses()) or 1

    def _addresses(self) -> list[str]:
        return sorted(self._client.nthreads())

    def run(
        self,
        call: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        note: Callable[[str, int], None],
    ) -> Iterator[tuple[int, Outcome]]:
        """See :class:`~dftindexd.cluster.driver.Executor`."""
        addresses = self._addresses()
        with self._told(note) as topic:
            futures = {
                self._client.submit(
                    _noting,
                    topic,
                    call,
                    those,
                    workers=addresses[number % len(addresses)] if addresses else None,
                    allow_other_workers=bool(addresses),
                    pure=False,
                    retries=_RETRIES,
                ): number
                for number, those in enumerate(arguments)
            }
            try:
                for future in as_completed(list(futures)):
                    error = future.exception()
                    result = future.result() if error is None else None
                    yield futures[future], Outcome(result, error)
            finally:
                self._client.cancel(list(futures))

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


class BuildPlugin(WorkerPlugin):  # type: ignore[misc] # distributed is not followed
    """Sets up each worker before its first task: the parse kernel is compiled, once a machine, and
    loaded, and builds have *threads* threads, 0 for as many as Dask gave the worker.

    Without it a worker whose machine has no kernel reads more slowly, with the same result.
    """

    name = "dftindexd-build"

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads

    def setup(self, worker: Worker) -> None:
        """Load the kernel and set the number of threads.

        :raises KernelCacheError: the directory of compiled code cannot be used.
        """
        set_threads(self.threads or worker.state.nthreads)
        if not kernel_cache.is_compiled(os.environ):
            kernel_cache.compile_once(os.environ, os.geteuid())
        kernel_cache.load()
