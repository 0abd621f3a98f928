"""The parser pool: worker processes that share one queue of jobs, each kept by an actor.

The actors compete for the messages of one mailbox. When a process dies, the job in its hands is
answered with :class:`WorkerDiedError`, the actor ends, and its supervisor starts another with a new
process; the other workers and the queued jobs do not notice. A process that neither reads nor
inflates anything for too long hangs, and is killed.
"""

from __future__ import annotations

from typing import ClassVar, Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.commands import ParseJob, ParseResult
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.meter import Patience
from dftindexd.actors.supervisor import RestartPolicy, Supervisor
from dftindexd.actors.timings import Timings
from dftindexd.actors.worker_process import FRAME, HELLO, ForkServer, WorkerProcess
from dftindexd.index.errors import CoreError

__all__ = ("STALL_SECONDS", "ParserPool", "ParserWorker", "WorkerDiedError")

_log = get_log(__name__)

#: After how long without any progress a worker counts as hanging.
STALL_SECONDS: Final = 60.0
_LOOKS_PER_STALL: Final = 8

#: The end of a process whose socket is closed is told within moments, but by other processes.
_BURIAL_SECONDS: Final = 120.0


class WorkerDiedError(CoreError):
    """A worker process died with a job in its hands."""


class ParserWorker(Actor):
    """One worker process, forked by *server*. Jobs are :class:`ParseJob` messages."""

    explained: ClassVar[tuple[type[Exception], ...]] = (WorkerDiedError,)

    def __init__(
        self,
        number: int,
        server: ForkServer,
        *,
        stall_seconds: float = STALL_SECONDS,
        timings: Timings | None = None,
    ) -> None:
        self.name = f"parser:{number}"
        self._timings = timings or Timings()
        self._server = server
        self._process: WorkerProcess | None = None
        self._pid: int | None = None  # known with the first job
        self._stall_seconds = stall_seconds
        self._job: ParseJob | None = None
        self._stream: anyio.abc.SocketStream | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ParseResult)
        self._jobs = 0
        self._traces = 0
        # Where others take all threads that the loop has, a dead worker would wait for one of them.
        self._burial = anyio.CapacityLimiter(1)
        self.slow = (0.0, "")
        """When the last job began, and why it was read without the kernel, ``""`` if with it."""

    async def initialize(self, context: ActorContext) -> None:
        self._process = self._server.fork()
        ours = self._process.socket.dup()  # the stream takes over what it is given
        self._stream = await anyio.abc.UNIXSocketStream.from_socket(ours)

    async def handle(self, message: ParseJob, context: ActorContext) -> ParseResult:
        self._job = message
        try:
            with context.protect(), self._timings.measured("parse"):
                return await self._run(message)
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            with context.protect(_BURIAL_SECONDS):
                raise WorkerDiedError(await self._epitaph()) from error
        except msgspec.MsgspecError as error:
            raise WorkerDiedError(f"a parser worker answered what is no result: {error}") from error
        finally:
            self._job = None

    def job_bytes(self, staging: str) -> int:
        """Return how many bytes of files the job in hand has behind it, if it is for the store that
        has this folder for *staging*."""
        if self._job is None or self._job.staging != staging:
            return 0
        return self._read_counts()[1]

    def _read_counts(self) -> tuple[int, int]:
        return (0, 0) if self._process is None else self._process.counts.read()

    async def _run(self, job: ParseJob) -> ParseResult:
        stream = self._stream
        if stream is None:
            raise anyio.BrokenResourceError
        if self._pid is None:
            (self._pid,) = HELLO.unpack(await self._receive_exactly(stream, HELLO.size))
        begun = anyio.current_time()
        data = self._encoder.encode(job)
        await stream.send(FRAME.pack(len(data)))
        await stream.send(data)
        (size,) = FRAME.unpack(await self._receive_exactly(stream, FRAME.size))
        result = self._decoder.decode(await self._receive_exactly(stream, size))
        self._jobs += 1
        self._traces += len(job.requests)
        self.slow = (begun, result.without_kernel)
        return result

    async def _receive_exactly(self, stream: anyio.abc.SocketStream, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            parts += await self._receive(stream, min(1 << 20, size - len(parts)))
        return bytes(parts)

    async def _receive(self, stream: anyio.abc.SocketStream, most: int) -> bytes:
        """Wait for bytes of the answer for as long as the process makes progress.

        :raises WorkerDiedError: it makes none.
        """
        patience = Patience(self._stall_seconds, self._read_counts()[0], anyio.current_time())
        while True:
            with anyio.move_on_after(self._stall_seconds / _LOOKS_PER_STALL):
                return await stream.receive(most)
            if patience.is_over(self._read_counts()[0], anyio.current_time()):
                raise WorkerDiedError(
                    f"parser worker {self._pid} made no progress "
                    f"for {self._stall_seconds:g} s and was killed"
                )

    async def _epitaph(self) -> str:
        if self._process is None:
            return "a parser worker never started"
        code = await anyio.to_thread.run_sync(self._process.wait, limiter=self._burial)
        return f"parser worker {self._pid or 'without a process'} {_ending(code)}"

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        if self._stream is not None:
            await self._stream.aclose()
        if self._process is not None:
            await anyio.to_thread.run_sync(self._process.kill, limiter=self._burial)
        _log.debug("worker_ended", worker=self.name, status=status.value)

    def observe(self) -> dict[str, object]:
        return {
            "pid": self._pid,
            "jobs": self._jobs,
            "traces": self._traces,
            "without_kernel": self.slow[1],
        }


def _ending(code: int | None) -> str:
    if code is None:
        return "could not be forked, or ended with the process that forks workers"
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"


#: Poisonous traces kill one worker after another; the pool outlives them.
_RESTARTS: Final = RestartPolicy(max_restarts=200, window=60.0, first_delay=0.02, longest_delay=1.0)


class ParserPool:
    """A number of workers on one mailbox, to which jobs are sent.

    They are forked by *server*, which outlives the pool.
    """

    def __init__(
        self,
        size: int,
        server: ForkServer,
        *,
        stall_seconds: float = STALL_SECONDS,
        timings: Timings | None = None,
    ) -> None:
        self.size = size
        self._timings = timings or Timings()
        self._server = server
        self._stall_seconds = stall_seconds
        self._workers: dict[int, ParserWorker] = {}
        self.mailbox = Mailbox("parsers", capacity=2 * size)
        self.supervisors = [self._supervisor(number) for number in range(size)]
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    def _supervisor(self, number: int) -> Supervisor:
        return Supervisor(
            f"parser:{number}", lambda: self._worker(number), self.mailbox, policy=_RESTARTS
        )

    def _worker(self, number: int) -> ParserWorker:
        worker = self._workers[number] = ParserWorker(
            number, self._server, stall_seconds=self._stall_seconds, timings=self._timings
        )
        return worker

    def job_bytes(self, staging: str) -> int:
        """Return how many bytes of files the jobs in hand for one store have behind them."""
        return sum(worker.job_bytes(staging) for worker in self._workers.values())

    def without_kernel(self, since: float) -> list[str]:
        """Return why the kernel was not used, of each worker whose last job began after *since* and
        was read without it."""
        last = [worker.slow for worker in self._workers.values()]
        return [reason for begun, reason in last if reason and begun > since]

    @property
    def restarts(self) -> int:
        """How many workers died so far."""
        return sum(supervisor.restarts for supervisor in self.supervisors)

    async def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Start all workers; return when each has its process."""
        await tasks.start(self._run)

    async def _run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    for supervisor in self.supervisors:
                        await tasks.start(supervisor.run)
                    task_status.started()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Kill the workers, whatever they are at; what they had in hand is answered with an
        error."""
        self._scope.cancel()
        await self._ended.wait()
