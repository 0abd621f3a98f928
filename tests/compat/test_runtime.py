"""The runtime runs what it is given, tells what failed, and chooses the workers of a build."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dftindexd import compat
from dftindexd.compat import Indexer, Runtime, TaskHandle


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A runtime of two threads."""
    with Runtime(threads=2) as made:
        yield made


def _fail() -> None:
    raise LookupError("nothing there")


def test_a_call_is_run_and_its_result_handed_over(runtime: Runtime) -> None:
    handle = runtime.submit(lambda x, y: x * y, 6, y=7, name="product")
    assert (handle.get(), handle.name, handle.task_id, handle.done()) == (42, "product", 0, True)
    assert runtime.submit(max, 1, 2).name == "builtins.max"
    with pytest.raises(TypeError, match="Expected callable or TaskHandle, got int"):
        runtime.submit(3)  # type: ignore[arg-type]


def test_a_call_that_fails_is_told_by_its_handle_and_all_together(runtime: Runtime) -> None:
    told: list[tuple[TaskHandle[object], BaseException]] = []
    runtime.set_error_callback(lambda handle, error: told.append((handle, error)))
    handle = runtime.submit(_fail, name="lookup")
    with pytest.raises(LookupError, match="nothing there"):
        handle.wait()
    with pytest.raises(RuntimeError, match=r"1 task\(s\) failed:\nlookup: nothing there"):
        runtime.wait_all(raise_on_error=True)
    assert runtime.get_failed() == [handle]
    assert told == [(handle, handle.exception)]
    runtime.clear_failed()
    assert runtime.get_failed() == []


def test_the_progress_counts_what_runs_and_what_waits(runtime: Runtime) -> None:
    assert runtime.python_threads == 0
    go = threading.Event()
    handles = [runtime.submit(go.wait, 20.0) for _ in range(5)]
    progress = runtime.get_progress()
    assert (progress["total"], progress["running"], progress["queued"]) == (5, 2, 3)
    go.set()
    runtime.wait_all()
    assert all(handle.get() for handle in handles)
    progress = runtime.get_progress()
    assert (progress["completed"], progress["running"], progress["tasks"]) == (5, 0, [])
    assert [worker["idle"] for worker in progress["workers"]] == [True, True]


def test_after_its_end_it_takes_nothing(runtime: Runtime) -> None:
    assert runtime.is_responsive()
    runtime.shutdown()
    runtime.shutdown()
    assert not runtime.is_responsive()
    with pytest.raises(RuntimeError, match="shut down"):
        runtime.submit(max, 1, 2)
    with pytest.raises(ValueError, match="threads must be >= 0"):
        Runtime(threads=-1)


def test_it_is_the_number_of_workers_unless_that_is_given(runtime: Runtime) -> None:
    assert Indexer("/traces", runtime=runtime).parallelism == 2
    assert Indexer("/traces", runtime=runtime, parallelism=5).parallelism == 5


def test_the_process_has_one_by_default() -> None:
    first = compat.get_default_runtime()
    assert compat.get_default_runtime() is first
    other = Runtime(threads=4)
    compat.set_default_runtime(other)
    try:
        assert compat.get_default_runtime() is other
    finally:
        compat.set_default_runtime(None)
    assert compat.get_default_runtime() is not other
    with pytest.raises(TypeError, match="runtime must be a Runtime instance or None"):
        compat.set_default_runtime(3)  # type: ignore[arg-type]
