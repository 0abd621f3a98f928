"""The processes for statements: how many, what becomes of them, and statements that are late."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from dftindexd.daemon.sql_order import SqlNeed, SqlOrder, SqlRoot
from dftindexd.daemon.sql_workers import SqlRun, SqlWorkers
from dftindexd.index.errors import BusyReadersError, CoreError, QueryError
from dftindexd.protocol.errors import RequestTimeoutError
from dftindexd.views.source import Selection

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]


def order(query: str, folder: Path = Path("/")) -> SqlOrder:
    """Return an order about one root without traces."""
    selection = Selection(root=b"/", folder=str(folder), whole=True, traces=())
    root = SqlRoot(name="/", selection=selection)
    return SqlOrder(query=query, roots=(root,), named=False, begin=None, end=None, rows=10)


async def rows_of(run: SqlRun, query: str) -> int:
    """Run a statement that needs nothing to its end; return how many batches came."""
    await run.order(order(query))
    assert isinstance(await run.next(), pa.Schema)
    batches = 0
    while await run.next_batch() is not None:
        batches += 1
    await run.leave()
    return batches


async def test_a_process_is_kept_for_the_next_statement() -> None:
    workers = SqlWorkers()
    run = await workers.begin(60.0)
    first = run.process
    assert await rows_of(run, "SELECT 1") == 1
    again = await workers.begin(60.0)
    assert again.process is first
    await again.order(order("SELECT nofn(1)"))
    with pytest.raises(QueryError, match="no function nofn"):
        await again.next()
    await again.leave()
    assert first is not None
    assert first.is_alive
    await workers.close()
    assert not first.is_alive


async def test_more_statements_than_processes_wait_and_are_then_told() -> None:
    workers = SqlWorkers(most=1, patience=0.05)
    run = await workers.begin(60.0)
    with pytest.raises(BusyReadersError, match="1 statements run already"):
        await workers.begin(60.0)
    await run.leave()
    await run.leave()
    await (await workers.begin(60.0)).leave()
    await workers.close()


async def test_a_statement_that_was_left_midway_ends_with_its_process() -> None:
    workers = SqlWorkers()
    run = await workers.begin(60.0)
    process = run.process
    await run.order(order("SELECT * FROM files"))
    assert await run.next() == SqlNeed(root=0, table="files")
    await run.leave()
    assert process is not None
    assert not process.is_alive
    await workers.close()


async def test_a_late_statement_is_told_even_where_its_rows_are_there() -> None:
    workers = SqlWorkers()
    run = await workers.begin(0.0)
    with pytest.raises(RequestTimeoutError, match="ran for more than 0 s"):
        await run.order(order("SELECT 1"))
    await run.leave()
    await workers.close()


async def test_the_death_of_a_process_is_told() -> None:
    workers = SqlWorkers()
    run = await workers.begin(60.0)
    assert run.process is not None
    await run.order(order("SELECT * FROM files"))
    assert isinstance(await run.next(), SqlNeed)
    await run.process.send(b"G", b"no Arrow stream")
    with pytest.raises(CoreError, match="ArrowInvalid"):
        await run.next()
    await run.leave()
    run = await workers.begin(60.0)
    assert run.process is not None
    os.kill(run.process.pid, signal.SIGKILL)
    with pytest.raises(CoreError, match="was killed by signal 9"):
        await run.next()
    await run.leave()
    await workers.close()
