"""Readers of events: what they read, how they end, and that nobody waits for one for ever."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import anyio
import pyarrow as pa
import pytest

from dftindexd.actors.read_order import ReadOrder
from dftindexd.actors.reader_pool import MOST_OF_A_GUEST, ReaderPool
from dftindexd.index.errors import BusyReadersError, CoreError, TraceChangedError, TraceGoneError
from dftindexd.index.query.event_plan import TraceChunks
from dftindexd.index.query.event_scan import LINE_SCHEMA
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.index.trace.trace_file import open_trace
from tests.end_to_end.made_traces import event_lines, write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]

_BEAT = 60.0


def _order(trace: Path, count: int) -> ReadOrder:
    """Return the order for all lines of a plain trace of *count* events."""
    size = len(event_lines(count))
    whole = Checkpoint(
        uc_offset=0, uc_size=size, c_offset=0, c_size=size, first_line=0, num_lines=count
    )
    with open_trace(os.fsencode(trace)) as file:
        stamp = file.stamp
    chunks = TraceChunks(
        path=os.fsencode(trace.name), stamp=stamp, resume=None, unit="US", chunks=(whole,)
    )
    return ReadOrder(root=os.fsencode(trace.parent), traces=(chunks,))


async def _lines(pool: ReaderPool, order: ReadOrder) -> int:
    async with aclosing(pool.read(order, _BEAT)) as messages:
        return sum(
            [
                pa.ipc.read_record_batch(pa.py_buffer(each), LINE_SCHEMA).num_rows
                async for each in messages
            ]
        )


def _readers() -> set[int]:
    children = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in children for pid in task.read_text().split()}


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def test_a_reader_that_finished_is_used_again_and_one_that_died_is_not(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "t.pfw"
    write_trace(trace, 20_000)
    order = _order(trace, 20_000)
    before = _readers()
    pool = ReaderPool()
    assert await _lines(pool, order) == 20_000
    (first,) = _readers() - before
    assert await _lines(pool, order) == 20_000
    assert _readers() - before == {first}
    _kill(first)
    assert await _lines(pool, order) == 20_000
    await pool.close()
    assert _readers() == before


async def test_what_is_left_in_the_middle_is_killed(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw"
    write_trace(trace, 100_000)
    before = _readers()
    pool = ReaderPool()
    async with aclosing(pool.read(_order(trace, 100_000), _BEAT)) as messages:
        assert await anext(messages)
        assert len(_readers() - before) == 1
    assert _readers() == before


async def test_a_trace_that_went_or_changed_is_an_error_of_its_kind(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw"
    write_trace(trace, 10)
    order = _order(trace, 10)
    pool = ReaderPool()
    write_trace(trace, 3)
    with pytest.raises(TraceChangedError, match=r"t\.pfw changed since it was indexed"):
        await _lines(pool, order)
    trace.unlink()
    with pytest.raises(TraceGoneError, match=r"t\.pfw is gone"):
        await _lines(pool, order)
    trace.mkdir()
    with pytest.raises(CoreError, match=r"t\.pfw cannot be read: not a regular file"):
        await _lines(pool, order)
    await pool.close()


async def test_an_answer_that_finds_no_reader_is_told_so(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw"
    write_trace(trace, 100_000)
    order = _order(trace, 100_000)
    pool = ReaderPool(most=1, patience=0.01)
    async with aclosing(pool.read(order, _BEAT)) as messages:
        await anext(messages)
        with pytest.raises(BusyReadersError, match="1 answers read events already"):
            await _lines(pool, order)
    assert await _lines(pool, order) == 100_000
    await pool.close()


async def test_whoever_waits_is_told_that_it_goes_on(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw"
    write_trace(trace, 10)
    pool = ReaderPool()
    async with aclosing(pool.read(_order(trace, 10), 0.001)) as messages:
        # A process takes longer to start than the time between two beats.
        assert await anext(messages) == b""
        rows = 0
        with anyio.fail_after(60):
            async for each in messages:
                if each:
                    batch = pa.ipc.read_record_batch(pa.py_buffer(each), LINE_SCHEMA)
                    rows += batch.num_rows
    assert rows == 10
    await pool.close()


async def test_a_guest_who_takes_nothing_holds_its_own_readers_and_nobody_else_s(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "t.pfw"
    write_trace(trace, 20_000)
    order = _order(trace, 20_000)
    pool = ReaderPool(patience=0.05)
    async with AsyncExitStack() as held:
        for _ in range(MOST_OF_A_GUEST):
            mine = await held.enter_async_context(aclosing(pool.read(order, _BEAT, guest=1)))
            await anext(mine)
        with pytest.raises(BusyReadersError, match="2 answers read events already"):
            await anext(pool.read(order, _BEAT, guest=1))
        for other in (2, None):
            async with aclosing(pool.read(order, _BEAT, guest=other)) as messages:
                assert await anext(messages)
    async with aclosing(pool.read(order, _BEAT, guest=1)) as again:
        assert await anext(again)
    await pool.close()
