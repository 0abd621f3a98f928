"""The lag of the event loop: what is measured, and that indexing does not stall it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.engine import open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root_options import RootOptions
from dftindexd.daemon.loop_lag import INTERVAL, LagSummary, LoopLag, lags_of, summary_of
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import running_daemon

_LENIENT_MS = 1000.0


def test_a_late_wake_up_stands_for_those_that_it_kept_from_happening() -> None:
    assert lags_of(0.0, 0.02) == [0.0]
    assert lags_of(0.01, 0.02) == [0.01]
    assert lags_of(0.05, 0.02) == pytest.approx([0.05, 0.03, 0.01])


def test_percentiles_are_those_of_the_samples() -> None:
    assert summary_of([], 3.0) == LagSummary(seconds=3.0)
    lags = [number / 1000 for number in range(100, 0, -1)]
    assert summary_of(lags, 1.0) == LagSummary(50.0, 99.0, 100.0, 1.0)


def test_samples_older_than_the_window_are_forgotten() -> None:
    now = 100.0
    lag = LoopLag(10.0, clock=lambda: now)
    lag.note(1.0, now)
    assert lag.summary().max_ms == 1000.0
    now = 111.0
    lag.note(0.0, now)
    assert lag.summary() == LagSummary(0.0, 0.0, 0.0, 10.0)


@pytest.mark.anyio
async def test_a_loop_that_is_blocked_is_seen() -> None:
    lag = LoopLag()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lag.run)
        await anyio.sleep(2 * INTERVAL)
        blocked = 10 * INTERVAL
        time.sleep(blocked)  # noqa: ASYNC251 - that is what is to be seen
        while lag.summary().max_ms < 1000 * (blocked - INTERVAL):  # noqa: ASYNC110
            await anyio.sleep(INTERVAL)
        tasks.cancel_scope.cancel()
    assert lag.summary().p99_ms > 1000 * INTERVAL


def test_status_tells_the_lag_of_the_daemon(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        status = daemon.client.status()
        assert status.loop_lag_seconds > 0
        assert 0 <= status.loop_lag_p50_ms <= status.loop_lag_p99_ms <= status.loop_lag_max_ms
        assert "event loop late by" in daemon.run("status").stdout


@pytest.mark.anyio
@pytest.mark.slow
async def test_an_ingest_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    for number in range(4):
        write_trace(traces / f"{number}.pfw", 150_000)
    assert sum(one.stat().st_size for one in traces.iterdir()) > 50_000_000
    options = EngineOptions(
        state_dir=str(tmp_path / "state"),
        owner="the test",
        workers=2,
        root=RootOptions(settle_seconds=0.2, follow=False),
    )
    lag = LoopLag()
    async with open_engine(options) as engine, anyio.create_task_group() as tasks:
        root = await engine.add_root(os.fsencode(traces))
        tasks.start_soon(lag.run)
        assert await (await root.leave_ticket(root.path)).wait() == {}
        tasks.cancel_scope.cancel()
    assert lag.summary().p99_ms < _LENIENT_MS
