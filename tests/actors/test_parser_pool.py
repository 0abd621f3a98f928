"""The parser pool: real processes, one of which may die at any time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import msgspec
import psutil
import pytest
import structlog

from dftindexd.actors.commands import ParsedOutcome, ParseJob, ParseResult, TraceFailure
from dftindexd.actors.errors import ActorError
from dftindexd.actors.parser_pool import STALL_SECONDS, ParserPool, WorkerDiedError
from dftindexd.actors.worker import BACKGROUND_NICENESS, run_job
from dftindexd.actors.worker_process import ForkServer
from dftindexd.index.failpoints import VARIABLE
from dftindexd.index.model import ParseRequest, TierConfig
from dftindexd.index.store.rocks import RocksStore
from tests.end_to_end.made_traces import write_trace

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("nothing_left")]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run on the daemon's event loop; the thread and the programs below run on the other."""
    return ("asyncio", {"use_uvloop": True})


def job_for(folder: Path, *names: str, stem: str = "s") -> ParseJob:
    requests = tuple(
        ParseRequest(
            path=os.fsencode(folder / name),
            segment_id=2 * at,
            provisional_id=2 * at + 1,
            tiers=TierConfig(),
        )
        for at, name in enumerate(names, 1)
    )
    return ParseJob(requests=requests, staging=str(folder), stem=stem)


async def pids(pool: ParserPool) -> list[int]:
    """Return the numbers of the workers' processes, when each has got a job."""
    with anyio.fail_after(60):
        while True:
            found = [one.observe()["actor"]["pid"] for one in pool.supervisors]  # type: ignore[index]
            if None not in found:
                return found
            await anyio.sleep(0.01)


@asynccontextmanager
async def running(
    size: int, *, niceness: int = 0, stall_seconds: float = STALL_SECONDS
) -> AsyncIterator[ParserPool]:
    server = ForkServer(niceness)
    pool = ParserPool(size, server, stall_seconds=stall_seconds)
    async with anyio.create_task_group() as tasks:
        await pool.start(tasks)
        try:
            yield pool
        finally:
            with anyio.CancelScope(shield=True):
                await pool.stop()
            server.end()


async def test_workers_give_way_to_whoever_started_them_if_told(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.pfw", 5)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for niceness in (0, 5):
        async with running(1, niceness=niceness) as pool:
            await pool.mailbox.ask(job_for(tmp_path, "a.pfw"))  # it has begun then
            (pid,) = await pids(pool)
            assert os.getpriority(os.PRIO_PROCESS, pid) == own + niceness


async def test_a_worker_answers_what_the_same_job_gives_in_this_process(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.pfw", 50)
    write_trace(tmp_path / "b.pfw.gz", 70)
    job = job_for(tmp_path, "a.pfw", "none.pfw", "b.pfw.gz")
    async with running(1) as pool:
        answer = await pool.mailbox.ask(job)
    # A worker reads by the kernel once it has loaded it, which takes longer than to get this job.
    assert answer in [run_job(job, use_kernel=kernel) for kernel in (False, True)]
    first, missing, last = answer.outcomes
    assert isinstance(missing, TraceFailure)
    assert missing.gone
    assert isinstance(first, ParsedOutcome)
    assert isinstance(last, ParsedOutcome)
    assert first.parsed.segments[0].complete_events == 50
    assert answer.rows


def test_many_rows_go_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_trace(tmp_path / "a.pfw", 50)
    job = job_for(tmp_path, "a.pfw", stem="stem")
    monkeypatch.setattr("dftindexd.actors.worker.INLINE_BYTES", 0)
    answer = run_job(job, use_kernel=False)
    assert not answer.rows
    paths = [path for (path,) in answer.artifacts.values()]
    assert all(os.path.basename(path).startswith("stem-0.") for path in paths)
    assert all(os.path.getsize(path) for path in paths)


def test_very_many_rows_go_into_files_that_share_no_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.pfw", "b.pfw", "c.pfw"):
        write_trace(tmp_path / name, 50)
    names = ("a.pfw", "missing.pfw", "b.pfw", "c.pfw")
    inline = run_job(job_for(tmp_path, *names), use_kernel=False)
    monkeypatch.setattr("dftindexd.index.store.sst.HELD_BYTES", 0)
    answer = run_job(job_for(tmp_path, *names), use_kernel=False)
    assert answer.outcomes == inline.outcomes
    assert {len(paths) for paths in answer.artifacts.values()} == {3}
    store = RocksStore(str(tmp_path / "store"))
    store.ingest(answer.artifacts)
    found = {(family, *row) for family in answer.artifacts for row in store.scan(family)}
    store.close()
    assert found == set(inline.rows)


def test_staging_that_cannot_be_written_while_a_trace_is_read_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path / "a.pfw", 50)
    job = job_for(tmp_path, "a.pfw", "a.pfw")
    monkeypatch.setattr("dftindexd.index.store.sst.HELD_BYTES", 0)
    answer = run_job(
        ParseJob(requests=job.requests, staging=str(tmp_path / "none"), stem="s"), use_kernel=False
    )
    assert answer.staging_error
    assert len(answer.outcomes) == 2
    assert not answer.artifacts


def test_staging_that_cannot_be_written_is_not_held_against_the_traces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path / "a.pfw", 50)
    job = job_for(tmp_path, "a.pfw")
    monkeypatch.setattr("dftindexd.actors.worker.INLINE_BYTES", 0)
    answer = run_job(
        ParseJob(requests=job.requests, staging=str(tmp_path / "none"), stem="s"), use_kernel=False
    )
    assert answer.staging_error
    assert isinstance(answer.outcomes[0], ParsedOutcome)
    assert not answer.artifacts


def test_a_fault_of_the_parser_costs_one_trace_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path / "a.pfw", 5)
    write_trace(tmp_path / "b.pfw", 5)
    monkeypatch.setenv(VARIABLE, "worker:parse:before=raise:boom@a.pfw")
    bad, good = run_job(job_for(tmp_path, "a.pfw", "b.pfw"), use_kernel=False).outcomes
    assert isinstance(bad, TraceFailure)
    assert "boom" in bad.reason
    assert isinstance(good, ParsedOutcome)


async def test_a_worker_killed_with_a_job_in_hand_costs_that_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good.pfw", "poison.pfw"):
        write_trace(tmp_path / name, 10)
    monkeypatch.setenv(VARIABLE, "worker:parse:before=kill@poison")
    outcomes: dict[int, ParseResult | Exception] = {}
    async with running(2) as pool:

        async def ask(number: int, name: str) -> None:
            try:
                outcomes[number] = await pool.mailbox.ask(job_for(tmp_path, name))
            except WorkerDiedError as error:
                outcomes[number] = error

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(ask, number, "poison.pfw" if number == 2 else "good.pfw")
        assert "signal 9" in str(outcomes[2])
        assert all(isinstance(outcomes[one], ParseResult) for one in range(8) if one != 2)


async def test_an_idle_worker_that_is_killed_is_replaced_when_it_is_needed(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    async with running(1) as pool:
        await pool.mailbox.ask(job_for(tmp_path, "a.pfw"))
        os.kill((await pids(pool))[0], signal.SIGKILL)
        with pytest.raises(WorkerDiedError):
            await pool.mailbox.ask(job_for(tmp_path, "a.pfw"))
        answer = await pool.mailbox.ask(job_for(tmp_path, "a.pfw"))
        assert isinstance(answer.outcomes[0], ParsedOutcome)


async def test_stopping_kills_workers_in_the_middle_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    monkeypatch.setenv(VARIABLE, "worker:parse:before=sleep:60")
    failures: list[Exception] = []
    async with anyio.create_task_group() as asking, running(1) as pool:

        async def ask() -> None:
            try:
                await pool.mailbox.ask(job_for(tmp_path, "a.pfw"))
            except ActorError as error:
                failures.append(error)

        asking.start_soon(ask)
        (pid,) = await pids(pool)
    assert len(failures) == 1
    assert not psutil.pid_exists(pid)


async def test_a_fork_server_that_is_killed_costs_the_jobs_in_hand_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("slow.pfw", "good.pfw"):
        write_trace(tmp_path / name, 10)
    monkeypatch.setenv(VARIABLE, "worker:parse:before=sleep:60@slow")
    failures: list[str] = []
    async with anyio.create_task_group() as asking, running(1) as pool:

        async def ask() -> None:
            try:
                await pool.mailbox.ask(job_for(tmp_path, "slow.pfw"))
            except WorkerDiedError as error:
                failures.append(str(error))

        asking.start_soon(ask)
        worker = psutil.Process((await pids(pool))[0])
        server = worker.parent()
        assert server is not None
        assert server.num_threads() == 1  # else a fork could inherit a lock that nobody frees
        server.kill()
        answer = await pool.mailbox.ask(job_for(tmp_path, "good.pfw"))
        assert isinstance(answer.outcomes[0], ParsedOutcome)
        assert not psutil.wait_procs([worker], timeout=60)[1]
    assert "ended with the process that forks workers" in failures[0]


async def test_a_worker_keeps_no_descriptor_of_another(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    async with running(3) as pool, anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(pool.mailbox.ask, job_for(tmp_path, "a.pfw"))
        numbers = [len(channels_of(pid)) for pid in await pids(pool)]
        assert len(set(numbers)) == 1


def channels_of(pid: int) -> list[str]:
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # a trace that was read
            found.append(os.readlink(descriptor))
    return [name for name in found if name.startswith(("socket:", "pipe:"))]


PROGRAM = """
import sys
import anyio
from dftindexd.actors.parser_pool import ParserPool
from dftindexd.actors.worker_process import ForkServer
from tests.actors.test_parser_pool import job_for, pids
from pathlib import Path

async def main():
    pool = ParserPool(1, ForkServer())
    async with anyio.create_task_group() as tasks:
        await pool.start(tasks)
        answer = await pool.mailbox.ask(job_for(Path(sys.argv[1]), "a.pfw"))
        events = answer.outcomes[0].parsed.segments[0].complete_events
        print((await pids(pool))[0], events, flush=True)
        if "stay" in sys.argv:
            await anyio.sleep_forever()
        await pool.stop()

anyio.run(main)
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("how", ["script", "-c"])
def test_workers_run_from_an_unguarded_script_and_from_the_command_line(
    tmp_path: Path, how: str
) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    program = [str(script)] if how == "script" else ["-c", PROGRAM]
    done = subprocess.run(
        [sys.executable, *program, str(tmp_path)],
        env=environment(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[0].split()[1] == b"10"
    assert done.stderr == b""


def test_a_worker_dies_with_its_parent(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "stay"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline().split()[0]))
        parent.kill()
        parent.wait()
        _, alive = psutil.wait_procs([worker], timeout=60)
        assert not alive


def test_workers_serve_an_event_loop_in_a_thread(tmp_path: Path) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    answers: list[ParseResult] = []

    async def ask() -> None:
        async with running(1) as pool:
            answers.append(await pool.mailbox.ask(job_for(tmp_path, "a.pfw")))

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    thread.join(60)
    assert isinstance(answers[0].outcomes[0], ParsedOutcome)


async def test_a_worker_that_makes_no_progress_is_killed_and_its_job_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("good.pfw", "endless.pfw"):
        write_trace(tmp_path / name, 10)
    monkeypatch.setenv(VARIABLE, "worker:parse:before=sleep:600@endless")
    async with running(1, stall_seconds=2.0) as pool:
        await pool.mailbox.ask(job_for(tmp_path, "good.pfw"))  # by now the worker has started
        (hanging,) = await pids(pool)
        with pytest.raises(WorkerDiedError, match="made no progress for 2 s and was killed"):
            await pool.mailbox.ask(job_for(tmp_path, "endless.pfw"))
        answer = await pool.mailbox.ask(job_for(tmp_path, "good.pfw"))
        assert isinstance(answer.outcomes[0], ParsedOutcome)
        assert not psutil.pid_exists(hanging)


@pytest.mark.parametrize("urgent", [False, True])
async def test_a_worker_reads_at_a_low_priority_what_nobody_waits_for(
    tmp_path: Path, urgent: bool
) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    async with running(1) as pool:
        await pool.mailbox.ask(msgspec.structs.replace(job_for(tmp_path, "a.pfw"), urgent=urgent))
        (pid,) = await pids(pool)
        threads = [thread.id for thread in psutil.Process(pid).threads()]
        found = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
    assert found == ({ours} if urgent else {ours, min(19, ours + BACKGROUND_NICENESS)})


async def test_a_dead_worker_takes_one_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trace(tmp_path / "a.pfw", 10)
    monkeypatch.setenv(VARIABLE, "worker:parse:before=kill")
    with structlog.testing.capture_logs() as logs:
        async with running(1) as pool:
            with pytest.raises(WorkerDiedError):
                await pool.mailbox.ask(job_for(tmp_path, "a.pfw"))
    (line,) = [entry for entry in logs if entry["log_level"] not in ("debug", "info")]
    assert "was killed by signal 9" in line["reason"]
    assert "exc_info" not in line
