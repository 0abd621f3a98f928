"""After a time of load a daemon holds what it held before: ``make load`` takes ten minutes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import running_daemon, until
from tests.load.work import KEPT_TRACES, Load, Usage, usage_of

SECONDS = float(os.environ.get("DFTINDEXD_TEST_LOAD_SECONDS", "8"))
CLIENTS = int(os.environ.get("DFTINDEXD_TEST_LOAD_CLIENTS", "64"))
KILL_SECONDS = 2.0
pytestmark = [pytest.mark.load, pytest.mark.timeout(300 + 3 * SECONDS)]
#: Pools of threads and processes, and what the allocator keeps, are as large as was once needed.
SLACK = Usage(memory=64 << 20, descriptors=8, threads=4, tasks=4, processes=2)


def told(label: str, usage: Usage) -> str:
    rest = ", ".join(
        f"{name} {value}" for name, value in usage._asdict().items() if name != "memory"
    )
    return f"{label}: memory {usage.memory / 1e6:.0f} MB, {rest}"


def test_memory_descriptors_threads_and_tasks_end_where_they_began(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--settle", "1") as daemon:
        daemon.expected |= {"worker_died", "parse_failed", "actor_failed"}
        # What is made once and kept is made by a first short load.
        for number in range(KEPT_TRACES):
            (daemon.traces / "before").mkdir(exist_ok=True)
            write_trace(daemon.traces / "before" / f"t{number}.pfw.gz", 500)
        warm = Load(daemon, CLIENTS, kill_seconds=KILL_SECONDS)
        warm.begin()
        time.sleep(min(SECONDS / 3, 60.0))
        warm.end()
        assert warm.problems == []
        daemon.client.wait()
        before = usage_of(daemon)
        load = Load(daemon, CLIENTS, kill_seconds=KILL_SECONDS)
        load.begin()
        time.sleep(SECONDS)
        load.end()
        assert load.problems == []
        daemon.client.wait()
        until(lambda: daemon.client.ping().caught_up, "rest")

        def is_as_before() -> bool:
            now = usage_of(daemon)
            return all(new <= old + room for new, old, room in zip(now, before, SLACK, strict=True))

        try:
            until(is_as_before, "the end of what the load took")
        finally:
            after = usage_of(daemon)
            print(f"\n{told('before', before)}\n{told('after', after)}\n{dict(load.done)}")
        assert load.done["workers killed"] > 0
        assert load.done["aggregation"] > 0
