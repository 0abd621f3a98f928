"""The processes that run SQL statements: started when one is needed, one for each statement.

One that was left in the midst of a statement is killed, since nothing else ends what the engine is
at; one that finished is kept for the next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import pyarrow as pa
import structlog

from dftindexd.actors.framed_process import FramedProcess
from dftindexd.actors.read_order import BATCH, END, ERROR, ORDER, ReadFailure
from dftindexd.daemon.sql_order import GIVEN, MADE, NEED, SCHEMA, SqlNeed, SqlOrder
from dftindexd.index.errors import (
    BusyReadersError,
    CoreError,
    NotWatchedError,
    QueryError,
    StoreDamagedError,
    TraceChangedError,
    TraceGoneError,
)
from dftindexd.protocol.errors import RequestTimeoutError
from dftindexd.views.source import Made

__all__ = ("MOST_STATEMENTS", "SqlRun", "SqlWorkers")

T = TypeVar("T")

_log = structlog.get_logger(__name__)

#: How many statements run at once: each takes a process and its memory.
MOST_STATEMENTS: Final = 2
#: How many of them may be of guests, together.
_OF_GUESTS: Final = MOST_STATEMENTS - 1
_PATIENCE_SECONDS: Final = 10.0
_KINDS: Final[dict[str, type[CoreError]]] = {
    kind.__name__: kind
    for kind in (
        *(NotWatchedError, QueryError, StoreDamagedError),
        *(TraceChangedError, TraceGoneError),
    )
}

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_need: Final = msgspec.msgpack.Decoder(SqlNeed).decode
_decode_made: Final = msgspec.msgpack.Decoder(Made).decode
_decode_failure: Final = msgspec.msgpack.Decoder(ReadFailure).decode


class SqlWorkers:
    """At most *most* processes at once, for which a statement waits as long as it has *patience*,
    in seconds. :meth:`close` ends those that are kept."""

    def __init__(self, most: int = MOST_STATEMENTS, patience: float = _PATIENCE_SECONDS) -> None:
        self._limit = anyio.CapacityLimiter(most)
        self._guests = anyio.CapacityLimiter(_OF_GUESTS)
        self._patience = patience
        self._idle: list[FramedProcess] = []

    async def begin(self, seconds: float, *, guest: bool = False) -> SqlRun:
        """Return a process for one statement, which may take so many *seconds* from now on; those
        of guests leave one place to the owner.

        :raises BusyReadersError: all processes are taken, and stay so.
        """
        limits = (self._guests, self._limit) if guest else (self._limit,)
        run = SqlRun(self, seconds)
        with anyio.move_on_after(self._patience):
            try:
                for limit in limits:
                    await limit.acquire_on_behalf_of(run)
                    run.held.append(limit)
                run.process = await self._idle_process() or FramedProcess(
                    "dftindexd.daemon.sql_worker"
                )
            except BaseException:
                run.let_go()
                raise
            return run
        raise BusyReadersError(
            f"{self._limit.borrowed_tokens} statements run already",
            "try again when one of them is done",
        )

    async def _idle_process(self) -> FramedProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            await process.kill()
        return None

    async def take_back(self, run: SqlRun, process: FramedProcess, *, whole: bool) -> None:
        """Keep the process of a statement that came to its end, and end any other."""
        try:
            if whole:
                self._idle.append(process)
            else:
                await process.kill()
        finally:
            run.let_go()

    async def close(self) -> None:
        """End the processes that are kept; nobody asks any more."""
        while self._idle:
            await self._idle.pop().kill()


class SqlRun:
    """One statement and its process. It has to be left, and may be more than once. ``made`` is how
    far the view is that is made for it, or was last."""

    def __init__(self, workers: SqlWorkers, seconds: float) -> None:
        self.process: FramedProcess | None = None
        self.made: Made | None = None
        self.held: list[anyio.CapacityLimiter] = []
        self._workers = workers
        self._seconds = seconds
        self._deadline = anyio.current_time() + seconds
        self._whole = False

    async def order(self, order: SqlOrder) -> None:
        """Begin the statement."""
        await self._in_time(lambda: self._taken.send(ORDER, _encode(order)))

    async def give(self, given: bytes) -> None:
        """Give what was needed."""
        await self._in_time(lambda: self._taken.send(GIVEN, given))

    async def next(self) -> SqlNeed | pa.Schema:
        """Return what the statement needs next, or the schema of its answer.

        :raises CoreError: it failed.
        :raises RequestTimeoutError: it ran too long.
        """
        kind, payload = await self._receive()
        while kind == MADE:
            self.made = _decode_made(payload)
            kind, payload = await self._receive()
        if kind == NEED:
            return _decode_need(payload)
        if kind == SCHEMA:
            return pa.ipc.read_schema(pa.py_buffer(payload))
        raise CoreError(f"a process for SQL sent a frame of kind {kind!r}")

    async def next_batch(self) -> bytes | None:
        """Return the next batch of the answer as an Arrow IPC message, None at its end.

        :raises CoreError: it failed.
        :raises RequestTimeoutError: it ran too long.
        """
        kind, payload = await self._receive()
        if kind == BATCH:
            return payload
        if kind == END:
            self._whole = True
            return None
        raise CoreError(f"a process for SQL sent a frame of kind {kind!r}")

    def let_go(self) -> None:
        """Give up the places that are held for it."""
        while self.held:
            self.held.pop().release_on_behalf_of(self)

    async def leave(self) -> None:
        """Give the process back."""
        process, self.process = self.process, None
        if process is not None:
            await self._workers.take_back(self, process, whole=self._whole)

    @property
    def _taken(self) -> FramedProcess:
        if self.process is None:
            raise AssertionError("the statement was left")
        return self.process

    async def _receive(self) -> tuple[bytes, bytes]:
        kind, payload = await self._in_time(self._taken.receive)
        if kind == ERROR:
            self._whole = True  # it is ready for the next
            failure = _decode_failure(payload)
            raise _KINDS.get(failure.kind, CoreError)(failure.message, failure.hint)
        return kind, payload

    async def _in_time(self, call: Callable[[], Awaitable[T]]) -> T:
        with anyio.CancelScope(deadline=self._deadline):
            # What comes without waiting would never be late.
            await anyio.lowlevel.checkpoint()
            try:
                return await call()
            except ConnectionError as error:
                how = await self._taken.epitaph()
                _log.warning("sql_process_died", how=how)
                raise CoreError(
                    f"the process that ran the statement {how}", "ask for less at once"
                ) from error
        raise RequestTimeoutError(
            f"the statement ran for more than {self._seconds:g} s",
            "select less, or allow it more seconds",
        )
