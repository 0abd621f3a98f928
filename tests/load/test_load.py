"""After a time of load a daemon holds what it held before: ``make load`` takes ten minutes."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon, running_daemon, until
from tests.load.work import KEPT_TRACES, Load, Usage, usage_of

SECONDS = float(os.environ.get("DFTINDEXD_TEST_LOAD_SECONDS", "8"))
CLIENTS = int(os.environ.get("DFTINDEXD_TEST_LOAD_CLIENTS", "64"))
KILL_SECONDS = 2.0
pytestmark = [pytest.mark.load, pytest.mark.timeout(300 + 3 * SECONDS)]
#: For so long a store knows what was removed and dropped: else that would grow for an hour.
RETENTION_SECONDS = 20
#: Pools of threads and processes, and what the allocator keeps, are as large as was once needed;
#: what is kept on purpose is at most 16 MiB of a store's rows and 16 MiB of its blocks, and a store
#: has at most 256 tables open.
SLACK = Usage(
    memory=32 << 20, kept=32 << 20, descriptors=4, tables=256, threads=4, tasks=4, processes=2
)


def told(label: str, usage: Usage) -> str:
    sizes = ", ".join(f"{name} {getattr(usage, name) / 1e6:.0f} MB" for name in ("memory", "kept"))
    rest = ", ".join(f"{name} {value}" for name, value in list(usage._asdict().items())[2:])
    return f"{label}: {sizes}, {rest}"


def loaded(daemon: Daemon, seconds: float) -> Counter[str]:
    """Load *daemon* for so many *seconds*, and wait until it is at rest."""
    load = Load(daemon, CLIENTS, kill_seconds=KILL_SECONDS)
    load.begin()
    time.sleep(seconds)
    load.end()
    assert load.problems == []
    daemon.client.wait()
    until(lambda: daemon.client.ping().caught_up, "rest")
    return load.done


def require_no_growth(daemon: Daemon, before: Usage, label: str) -> Usage:
    """Wait until *daemon* holds no more than *before*; return what it holds."""
    now = before

    def is_as_before() -> bool:
        nonlocal now
        now = usage_of(daemon)
        return all(new <= old + room for new, old, room in zip(now, before, SLACK, strict=True))

    try:
        until(is_as_before, "the end of what the load took")
    finally:
        print(f"\n{told('before', before)}\n{told(label, now)}")
    return now


def test_memory_descriptors_threads_and_tasks_end_where_they_began(tmp_path: Path) -> None:
    options = ("--settle", "1", "--retention", str(RETENTION_SECONDS))
    with running_daemon(tmp_path, *options) as daemon:
        daemon.expected |= {"worker_died", "parse_failed", "actor_failed"}
        (daemon.traces / "before").mkdir()
        for number in range(KEPT_TRACES):
            write_trace(daemon.traces / "before" / f"t{number}.pfw.gz", 500)
        # What is made once and kept is made by a first short load.
        loaded(daemon, min(SECONDS / 3, 60.0))
        before = usage_of(daemon)
        done = loaded(daemon, SECONDS / 2)
        middle = require_no_growth(daemon, before, "after half of it")
        done += loaded(daemon, SECONDS / 2)
        require_no_growth(daemon, middle, "after all of it")
        print(dict(done))
        assert done["workers killed"] > 0
        assert done["aggregation"] > 0
