"""The ``Runtime`` of dftracer-utils: how many workers builds have, and a pool for one's own calls.

Parsing is done by processes of the engine's, so that nothing native runs in a :class:`Runtime`: its
threads run what :meth:`Runtime.submit` is given, and :attr:`Runtime.threads` is the number of
parser processes of the builds that it is given to.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

__all__ = ("Runtime", "TaskHandle", "checked_runtime", "get_default_runtime", "set_default_runtime")

T = TypeVar("T")

_MOST_THREADS: Final = 32


class TaskHandle(Generic[T]):
    """A call that was submitted."""

    def __init__(self, name: str, task_id: int) -> None:
        self.name = name
        self.task_id = task_id
        self.exception: BaseException | None = None
        """What the call raised."""
        self._future: Future[T] = Future()

    def get(self) -> T:
        """Wait for the end; return the result, or raise what the call raised."""
        return self._future.result()

    def wait(self) -> None:
        """Wait for the end; raise what the call raised."""
        self._future.result()

    def done(self) -> bool:
        """Return whether the call has ended, well or not."""
        return self._future.done()


class Runtime:
    """Worker processes for builds, and threads for Python calls.

    :param threads: parser processes of a build, 0 for one a processor.
    :param io_threads: kept for the signature; nothing waits for files in threads.
    :param python_threads: threads for :meth:`submit`, 0 for as many as *threads*, at most 32.
    :raises ValueError: a number is less than 0.
    """

    def __init__(self, threads: int = 0, io_threads: int = 0, python_threads: int = 0) -> None:
        for name, value in (("threads", threads), ("io_threads", io_threads)):
            if value < 0:
                raise ValueError(f"{name} must be >= 0")
        processors = len(os.sched_getaffinity(0))
        self.threads = threads or processors
        self.io_threads = io_threads or processors
        self._python_threads = python_threads or min(_MOST_THREADS, self.threads)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._handles: list[TaskHandle[Any]] = []
        self._failed: list[TaskHandle[Any]] = []
        self._submitted = 0
        self._completed = 0
        self._is_shut_down = False
        self._on_error: Callable[[TaskHandle[Any], BaseException], None] | None = None

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    @property
    def python_threads(self) -> int:
        """How many threads :meth:`submit` has, 0 before it was first called."""
        return 0 if self._pool is None else self._python_threads

    def submit(
        self, task_or_fn: Callable[..., T], *args: Any, name: str | None = None, **kwargs: Any
    ) -> TaskHandle[T]:
        """Run a call in a thread.

        :raises TypeError: *task_or_fn* cannot be called.
        :raises RuntimeError: the runtime is shut down.
        """
        if not callable(task_or_fn):
            raise TypeError(f"Expected callable or TaskHandle, got {type(task_or_fn).__name__}")
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the runtime is shut down; make another")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._python_threads, "dftindexd-runtime")
            handle = TaskHandle[T](name or _name_of(task_or_fn), self._submitted)
            self._submitted += 1
            self._handles.append(handle)
            self._pool.submit(self._run, handle, lambda: task_or_fn(*args, **kwargs))
        return handle

    def _run(self, handle: TaskHandle[T], call: Callable[[], T]) -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the handle gets it
            self._fail(handle, error)
            return
        with self._lock:
            self._completed += 1
        handle._future.set_result(result)

    def _fail(self, handle: TaskHandle[Any], error: BaseException) -> None:
        handle.exception = error
        with self._lock:
            self._failed.append(handle)
        try:
            if self._on_error is not None:
                self._on_error(handle, error)
        finally:
            handle._future.set_exception(error)

    def wait(self, handle: TaskHandle[Any]) -> None:
        """Wait for the end of one call; raise what it raised."""
        handle.wait()

    def wait_all(self, raise_on_error: bool = False) -> None:
        """Wait for the end of all calls.

        :raises RuntimeError: *raise_on_error*, and some failed; the message names them.
        """
        with self._lock:
            handles, self._handles = self._handles, []
        for handle in handles:
            # Those that failed are told below, or by their handles.
            with suppress(BaseException):
                handle.wait()
        failed = [one for one in handles if one.exception is not None]
        if raise_on_error and failed:
            lines = "\n".join(f"{one.name}: {one.exception}" for one in failed)
            raise RuntimeError(f"{len(failed)} task(s) failed:\n{lines}")

    def get_failed(self) -> list[TaskHandle[Any]]:
        """Return the calls that failed since the last :meth:`clear_failed`."""
        with self._lock:
            return list(self._failed)

    def clear_failed(self) -> None:
        """Forget the calls that failed."""
        with self._lock:
            self._failed.clear()

    def set_error_callback(
        self, callback: Callable[[TaskHandle[Any], BaseException], None] | None
    ) -> None:
        """Have *callback* called, in the thread of the call, for each that fails."""
        self._on_error = callback

    def shutdown(self, wait: bool = True) -> None:
        """End the threads, after all calls if *wait*. May be repeated."""
        with self._lock:
            self._is_shut_down = True
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=wait)

    def is_responsive(self) -> bool:
        """Return whether it takes calls."""
        return not self._is_shut_down

    def get_progress(self) -> dict[str, Any]:
        """Return how many calls were submitted, run, wait, ended well and failed."""
        with self._lock:
            open_calls = [one for one in self._handles if not one.done()]
            running = min(len(open_calls), self._python_threads)
            return {
                "total": self._submitted,
                "completed": self._completed,
                "running": running,
                "queued": len(open_calls) - running,
                "failed": len(self._failed),
                "workers": [
                    {"id": number, "idle": number >= running, "task": "", "queue_depth": 0}
                    for number in range(self.threads)
                ],
                "tasks": [{"name": one.name, "task_id": one.task_id} for one in open_calls],
                "errors": [f"{one.name}: {one.exception}" for one in self._failed],
            }


def _name_of(call: object) -> str:
    name = getattr(call, "__qualname__", None) or type(call).__name__
    module = getattr(call, "__module__", None)
    return f"{module}.{name}" if module and module != "__main__" else str(name)


def checked_runtime(runtime: object) -> Runtime | None:
    """Return *runtime*.

    :raises TypeError: it is neither a :class:`Runtime` nor ``None``.
    """
    if runtime is not None and not isinstance(runtime, Runtime):
        raise TypeError("runtime must be a Runtime instance or None")
    return runtime


_default: Runtime | None = None


def get_default_runtime() -> Runtime:
    """Return the runtime of the process, made when it is first asked for."""
    global _default
    if _default is None:
        _default = Runtime()
    return _default


def set_default_runtime(runtime: Runtime | None) -> None:
    """Choose the runtime of the process; ``None`` for a new one at the next demand."""
    global _default
    _default = checked_runtime(runtime)
