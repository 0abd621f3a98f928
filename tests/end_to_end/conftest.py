"""Fixtures of the end-to-end tests: a real daemon for one test, or for all of a module."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, running_daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon of this test alone."""
    with running_daemon(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def module_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for tests that each have a directory of their own below its root.

    It has read a trace already, so that no worker has to get ready in the midst of a test.
    """
    with running_daemon(tmp_path_factory.mktemp("daemon"), "--settle", "1") as running:
        for number in range(8):
            write_trace(running.traces / f"warm-{number}.pfw.gz", 1)
        running.client.sync()
        yield running


@pytest.fixture
def directory(module_daemon: Daemon) -> Path:
    """A directory below the root of the module's daemon, of this test alone."""
    return Path(tempfile.mkdtemp(prefix="run-", dir=module_daemon.traces))
