"""The daemon allows itself more open files than it was started with."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dftindexd.daemon.open_files import MOST_OPEN_FILES
from tests.end_to_end.running import running_daemon

_FEW = 256


@pytest.fixture
def few() -> Iterator[int]:
    """Allow this process, and what it starts, few open files until they allow themselves more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_daemon_started_with_few_open_files_allows_itself_more(tmp_path: Path, few: int) -> None:
    with running_daemon(tmp_path) as daemon:
        process = psutil.Process(daemon.process.pid)
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (min(few, MOST_OPEN_FILES), few)
