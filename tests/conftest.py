"""Fixtures that every test shares: the event loops, the real traces, leak checks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from dftindexd.index.trace import kernel_cache
from tests.disk.kernel_limits import as_they_are

# Fuzz tests take their number of examples from here: `make fuzz` chooses the long profile.
settings.register_profile("short", max_examples=60, deadline=None)
settings.register_profile(
    "long",
    max_examples=int(os.environ.get("DFTINDEXD_TEST_FUZZ_EXAMPLES", "2000")),
    deadline=None,
)
settings.load_profile("short")

SHARED_TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run each asynchronous test on both event loops."""
    backend: tuple[str, dict[str, bool]] = request.param
    return backend


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernel before the first test, if this machine never did: else every engine that
    a test starts would begin to. It takes longer than a test may on a machine that is busy."""
    if not kernel_cache.is_compiled(os.environ):
        code = "import os; from dftindexd.index.trace import kernel_cache as k; "
        compile_it = "k.compile_once(os.environ, os.geteuid())"
        subprocess.run([sys.executable, "-P", "-c", code + compile_it], check=True)


@pytest.fixture(autouse=True)
def limits_of_the_machine() -> Iterator[None]:
    """No test runs while one of another process lowers what the whole machine has."""
    with as_they_are():
        yield


@pytest.fixture(autouse=True)
def logs_of_its_own() -> Iterator[None]:
    """What a test sets up of the log, as capturing it does, is no other's: which tests share a
    process is chance."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """The folder of real traces beside the project; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("DFTINDEXD_TEST_TRACES", SHARED_TRACES))
    if not folder.is_dir():
        pytest.skip(f"no real traces at {folder}: set DFTINDEXD_TEST_TRACES")
    return folder


#: Descriptors that an event loop, a thread pool or a log may keep from one test to the next.
_DESCRIPTOR_SLACK = 8


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail when a test leaves a process behind, or descriptors that it opened."""
    children, descriptors = _children(), len(os.listdir("/proc/self/fd"))
    yield
    assert not _children() - children, "processes alive after the test"
    assert len(os.listdir("/proc/self/fd")) <= descriptors + _DESCRIPTOR_SLACK


def _children() -> set[str]:
    found: set[str] = set()
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # the thread has ended
            found.update(Path(f"/proc/self/task/{thread}/children").read_text().split())
    return found
