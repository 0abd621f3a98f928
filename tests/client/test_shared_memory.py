"""Large answers are memory that the daemon shares: mapped, sealed, bounded, and let go."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pyarrow as pa
import pytest

from dftindexd.client import AsyncClient, Client, connect
from dftindexd.client.results import read_tables
from dftindexd.client.shared_memory import map_sealed
from dftindexd.daemon.shared_answer import SharedAnswer, shareable
from dftindexd.protocol.errors import ProtocolError
from dftindexd.protocol.requests import ListRequest
from tests.client.echo_daemon import SCHEMA, EchoService, ThreadedDaemon, rows, serving

LARGE, SMALL = 160_000, 100


def _shared_ranges() -> list[tuple[int, int]]:
    """Return the addresses at which this process has mapped a daemon's memory."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "memfd:dftindexd" in line]
    return [(int(begin, 16), int(end, 16)) for begin, end in ranges]


def _lies_in_shared_memory(table: pa.Table) -> bool:
    buffers = [
        buffer
        for column in table.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None
    ]
    ranges = _shared_ranges()
    return all(any(b <= one.address < e for b, e in ranges) for one in buffers)


def test_a_large_answer_is_mapped_without_a_copy_and_let_go_with_its_last_user(
    daemon: ThreadedDaemon,
) -> None:
    with connect(daemon.path) as client:
        answer = client.list(f"/rows-{LARGE}")
        assert _lies_in_shared_memory(answer.arrow())
        column = answer.arrow()["n"]
        del answer
        gc.collect()
        assert _shared_ranges()
        assert column.to_pylist() == list(range(LARGE))
        del column
        gc.collect()
        assert _shared_ranges() == []


def test_a_small_answer_is_sent(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client:
        answer = client.list(f"/rows-{SMALL}")
        assert not _shared_ranges()
        assert len(answer) == SMALL


def test_a_large_answer_is_read_as_a_stream_all_the_same(daemon: ThreadedDaemon) -> None:
    request = ListRequest(path=f"/rows-{LARGE}")
    with connect(daemon.path) as client, client.stream(request) as stream:
        batches = list(stream)
    assert pa.Table.from_batches(batches).schema == SCHEMA
    assert sum(batch.num_rows for batch in batches) == LARGE


def test_many_large_answers_leave_no_descriptor_behind(daemon: ThreadedDaemon) -> None:
    with connect(daemon.path) as client:
        client.list(f"/rows-{LARGE}")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            client.list(f"/rows-{LARGE}")
        assert len(os.listdir("/proc/self/fd")) <= before + 1


@pytest.mark.anyio
async def test_large_answers_that_nobody_waits_for_any_more_are_let_go(socket_path: str) -> None:
    service = EchoService()
    async with serving(socket_path, service), AsyncClient(socket_path) as client:
        await client.list(f"/rows-{LARGE}")
        before = len(os.listdir("/proc/self/fd"))
        for delay in range(12):
            with anyio.move_on_after(delay / 500):
                await client.list(f"/rows-{LARGE}")
        assert len(await client.list(f"/rows-{LARGE}")) == LARGE
        assert len(os.listdir("/proc/self/fd")) <= before + 1
    gc.collect()
    assert _shared_ranges() == []


def test_shared_memory_can_be_changed_by_nobody() -> None:
    table = pa.Table.from_batches([rows(0, 10)])
    shared = SharedAnswer(1, [table, table])
    try:
        with pytest.raises(PermissionError):
            os.pwrite(shared._descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(shared._descriptor, 0)
        first, second = read_tables(map_sealed(shared._descriptor, shared._size))
        assert first["n"] == second["n"] == table["n"]
    finally:
        shared.abandon()


def test_what_could_be_changed_is_not_mapped() -> None:
    memory = os.memfd_create("loose", os.MFD_ALLOW_SEALING)
    read, write = os.pipe()
    try:
        os.write(memory, b"abc")
        with pytest.raises(ProtocolError, match="not sealed at 3 bytes"):
            map_sealed(memory, 3)
        with pytest.raises(ProtocolError, match="no memory"):
            map_sealed(read, 3)
    finally:
        for descriptor in (memory, read, write):
            os.close(descriptor)


def test_only_what_is_large_and_whole_is_shared() -> None:
    large = pa.Table.from_batches([rows(0, LARGE)])
    small = pa.Table.from_batches([rows(0, SMALL)])
    assert shareable([large, small]) == [large, small]
    assert shareable([small]) is None
    assert shareable([large, object()]) is None


def test_a_client_that_somebody_stands_before_is_sent_its_rows(
    daemon: ThreadedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As through a forwarded socket: whoever forwards would lose the descriptor."""
    monkeypatch.setattr("dftindexd.client.connection.os.getpid", lambda: 1)
    with connect(daemon.path) as client:
        answer = client.list(f"/rows-{LARGE}")
    assert not _lies_in_shared_memory(answer.arrow())
    assert len(answer) == LARGE


def test_the_answers_of_many_threads_are_not_mixed_up(daemon: ThreadedDaemon) -> None:
    def ask(client: Client, number: int) -> bool:
        column = client.list(f"/rows-{LARGE + number}").arrow()["n"]
        return len(column) == LARGE + number and column[-1].as_py() == LARGE + number - 1

    with connect(daemon.path) as client, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: ask(client, number), range(16)))
