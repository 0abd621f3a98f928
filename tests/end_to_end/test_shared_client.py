"""One client of the real daemon: shared by many, across its death and restart, and cancelled."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from dftindexd.client import AsyncClient, Client, connect
from dftindexd.protocol.errors import (
    ConnectionLostError,
    DaemonUnreachableError,
    RequestTimeoutError,
)
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import (
    COMMAND_SECONDS,
    Daemon,
    command,
    counted,
    running_daemon,
    until,
    wait_for_exit,
)

SHARED = 64
_RUNS = 8


def _make_runs(daemon: Daemon) -> None:
    """Make runs of different sizes, so that no answer fits another question."""
    for number in range(_RUNS):
        run = daemon.traces / f"run{number}"
        run.mkdir()
        write_trace(run / "a.pfw.gz", 100 * (number + 1))
    daemon.client.sync()


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that takes no trace for finished because nobody writes it."""
    with running_daemon(tmp_path, "--settle", "3600") as running:
        yield running


def test_sixty_four_threads_share_one_client_without_a_wrong_answer(daemon: Daemon) -> None:
    def ask(number: int) -> list[int]:
        run = daemon.traces / f"run{number % _RUNS}"
        return [counted(daemon.client.aggregation(run)) for _ in range(4)]

    _make_runs(daemon)
    with ThreadPoolExecutor(SHARED) as pool:
        answers = list(pool.map(ask, range(SHARED)))
    assert answers == [[100 * (number % _RUNS + 1)] * 4 for number in range(SHARED)]


def test_sixty_four_tasks_share_one_client_without_a_wrong_answer(daemon: Daemon) -> None:
    _make_runs(daemon)
    found: dict[int, int] = {}

    async def ask_all() -> None:
        async with AsyncClient(daemon.socket) as client, anyio.create_task_group() as tasks:
            for number in range(SHARED):
                tasks.start_soon(ask, client, number)

    async def ask(client: AsyncClient, number: int) -> None:
        run = daemon.traces / f"run{number % _RUNS}"
        found[number] = counted(await client.aggregation(run))

    anyio.run(ask_all)
    assert found == {number: 100 * (number % _RUNS + 1) for number in range(SHARED)}


def test_no_answer_waits_for_the_import_of_pandas(daemon: Daemon) -> None:
    _make_runs(daemon)
    assert counted(daemon.client.aggregation(daemon.traces)) == 100 * sum(range(_RUNS + 1))
    mapped = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "pyarrow" in mapped
    assert "pandas" not in mapped


def test_a_killed_daemon_is_told_to_who_waits_and_a_restart_survived(patient: Daemon) -> None:
    write_trace(patient.traces / "growing.pfw", 10)
    patient.client.sync()
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(_wait_until_lost, patient.client)
        until(lambda: patient.waiters() == 1, "a request that waits")
        patient.process.send_signal(signal.SIGKILL)
        assert lost.result(COMMAND_SECONDS).code == "connection-lost"
    patient.process.wait()
    options = ("--state-dir", patient.state, "--socket", patient.socket)
    again = subprocess.Popen(command("daemon", "run", *options), stderr=subprocess.DEVNULL)
    try:
        until(lambda: _answers(patient.client), "the daemon's next life")
        assert patient.client.ping().pid == again.pid
        assert patient.events() == 10
    finally:
        again.terminate()
        assert wait_for_exit(again) == 0


def test_a_request_that_nobody_waits_for_any_more_ends_at_the_daemon(patient: Daemon) -> None:
    write_trace(patient.traces / "growing.pfw", 10)
    patient.client.sync()
    with ThreadPoolExecutor(1) as pool, connect(patient.socket) as other:
        lost = pool.submit(_wait_until_lost, other)
        until(lambda: patient.waiters() == 1, "a request that waits")
        with pytest.raises(RequestTimeoutError):
            patient.client.wait(timeout=0.1)
        other.close()
        lost.result(COMMAND_SECONDS)
    until(lambda: patient.waiters() == 0, "the end of the daemon's waiting")


def _wait_until_lost(client: Client) -> ConnectionLostError:
    with pytest.raises(ConnectionLostError) as caught:
        client.wait()
    return caught.value


def _answers(client: Client) -> bool:
    try:
        return client.ping().ready
    except DaemonUnreachableError:
        return False
