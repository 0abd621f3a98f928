"""The parser pool: worker processes that share one queue of jobs, each kept by an actor.

The actors compete for the messages of one mailbox. When a process dies, the job in its hands is
answered with :class:`WorkerDiedError`, the actor ends, and its supervisor starts another with a new
process; the other workers and the queued jobs do not notice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.commands import ParseJob, ParseResult
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.supervisor import RestartPolicy, Supervisor
from dftindexd.actors.worker_process import FRAME, WorkerProcess
from dftindexd.index.errors import CoreError

__all__ = ("ParserPool", "ParserWorker", "WorkerDiedError")

_log = get_log(__name__)


class WorkerDiedError(CoreError):
    """A worker process died with a job in its hands."""


class ParserWorker(Actor):
    """One worker process, a new one of *niceness* or *process*. Jobs are :class:`ParseJob`
    messages."""

    def __init__(
        self, number: int, process: WorkerProcess | None = None, niceness: int = 0
    ) -> None:
        self.name = f"parser:{number}"
        self._process = process
        self._niceness = niceness
        self._stream: anyio.abc.SocketStream | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ParseResult)
        self._jobs = 0
        self._traces = 0

    async def initialize(self, context: ActorContext) -> None:
        if self._process is None:
            self._process = WorkerProcess(self._niceness)
        ours = self._process.socket.dup()  # the stream takes over what it is given
        self._stream = await anyio.abc.UNIXSocketStream.from_socket(ours)

    async def handle(self, message: ParseJob, context: ActorContext) -> ParseResult:
        try:
            with context.protect():
                return await self._run(message)
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise WorkerDiedError(await self._epitaph()) from error
        except msgspec.MsgspecError as error:
            raise WorkerDiedError(f"a parser worker answered what is no result: {error}") from error

    async def _run(self, job: ParseJob) -> ParseResult:
        stream = self._stream
        if stream is None:
            raise anyio.BrokenResourceError
        data = self._encoder.encode(job)
        await stream.send(FRAME.pack(len(data)))
        await stream.send(data)
        (size,) = FRAME.unpack(await self._receive_exactly(stream, FRAME.size))
        result = self._decoder.decode(await self._receive_exactly(stream, size))
        self._jobs += 1
        self._traces += len(job.requests)
        return result

    async def _receive_exactly(self, stream: anyio.abc.SocketStream, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            parts += await stream.receive(min(1 << 20, size - len(parts)))
        return bytes(parts)

    async def _epitaph(self) -> str:
        if self._process is None:
            return "a parser worker never started"
        code = await anyio.to_thread.run_sync(self._process.wait)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        return f"parser worker {self._process.pid} {how}"

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        if self._stream is not None:
            await self._stream.aclose()
        if self._process is not None:
            self._process.kill()
        _log.debug("worker_ended", worker=self.name, status=status.value)

    def observe(self) -> dict[str, object]:
        return {
            "pid": self._process.pid if self._process is not None else None,
            "jobs": self._jobs,
            "traces": self._traces,
        }


#: Poisonous traces kill one worker after another; the pool outlives them.
_RESTARTS: Final = RestartPolicy(max_restarts=200, window=60.0, first_delay=0.02, longest_delay=1.0)


class ParserPool:
    """A number of workers on one mailbox, to which jobs are sent.

    Processes that are *started* already are taken first; the pool ends them as its own. Others
    give way by *niceness*.
    """

    def __init__(self, size: int, started: Iterable[WorkerProcess] = (), niceness: int = 0) -> None:
        self.size = size
        self._niceness = niceness
        self._started = list(started)
        self.mailbox = Mailbox("parsers", capacity=2 * size)
        self.supervisors = [self._supervisor(number) for number in range(size)]
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    def _supervisor(self, number: int) -> Supervisor:
        return Supervisor(
            f"parser:{number}", lambda: self._worker(number), self.mailbox, policy=_RESTARTS
        )

    def _worker(self, number: int) -> ParserWorker:
        started = self._started.pop() if self._started else None
        return ParserWorker(number, started, self._niceness)

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
