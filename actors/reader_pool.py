"""Readers of events for the daemon's answers: processes, started when one is needed.

A reader serves one answer at a time, and no more is read than whoever takes the batches takes. One
that was left in the middle of an order is killed, so that a client that goes away ends its work at
once; some of those that finished are kept for the next.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import anyio
import msgspec

from dftindexd.actors.framed_process import FramedProcess
from dftindexd.actors.read_order import (
    BATCH,
    END,
    ERROR,
    ORDER,
    ReadFailure,
    ReadOrder,
)
from dftindexd.index.errors import (
    BusyReadersError,
    CoreError,
    StoreDamagedError,
    TraceChangedError,
    TraceGoneError,
)

__all__ = ("MOST_OF_A_GUEST", "MOST_READERS", "ReaderPool")

#: How many answers read at once: each takes a process.
MOST_READERS: Final = 8
#: How many of these one user has who is not the daemon's own.
MOST_OF_A_GUEST: Final = 2
_MOST_IDLE: Final = 2
_PATIENCE_SECONDS: Final = 10.0
_KINDS: Final[dict[str, type[CoreError]]] = {
    kind.__name__: kind for kind in (StoreDamagedError, TraceChangedError, TraceGoneError)
}


class _Reader(FramedProcess):
    """A process that reads events, and what came from it and was not taken yet."""

    def __init__(self) -> None:
        super().__init__("dftindexd.actors.event_reader")
        self._failures = msgspec.msgpack.Decoder(ReadFailure)

    async def next(self) -> bytes | None:
        """Return the next batch, None at the end of the order; may be cancelled and repeated."""
        kind, payload = await self.receive()
        if kind == BATCH:
            return payload
        if kind == END:
            return None
        if kind == ERROR:
            failure = self._failures.decode(payload)
            raise _KINDS.get(failure.kind, CoreError)(failure.message, failure.hint)
        raise CoreError(f"a reader of events sent a frame of kind {kind!r}")


class ReaderPool:
    """At most *most* readers at once, for which an answer waits as long as it has *patience*, in
    seconds. :meth:`close` ends those that are kept."""

    def __init__(self, most: int = MOST_READERS, patience: float = _PATIENCE_SECONDS) -> None:
        self._limit = anyio.CapacityLimiter(most)
        self._guests: dict[int, anyio.CapacityLimiter] = {}
        self._patience = patience
        self._idle: list[_Reader] = []
        self._encoder = msgspec.msgpack.Encoder()

    async def read(
        self, order: ReadOrder, beat_seconds: float, guest: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the batches of *order* as Arrow IPC messages, and ``b""`` wherever none came for
        *beat_seconds*. The generator has to be closed. *guest* is the user who asks, if that is not
        the daemon's own.

        :raises BusyReadersError: all readers are taken, or all that one guest gets, and stay so.
        :raises CoreError: a trace is gone, changed or unreadable, or the reader died.
        """
        slot = object()
        limits = self._limits(guest)
        await self._take(slot, limits)
        reader: _Reader | None = None
        whole = False
        try:
            reader = await self._idle_reader() or _Reader()
            async with aclosing(self._batches(reader, order, beat_seconds)) as batches:
                async for batch in batches:
                    yield batch
            whole = True
        except ConnectionError as error:
            reason = "could not be started" if reader is None else await reader.epitaph()
            raise CoreError(f"the process that read events {reason}", "ask again") from error
        finally:
            if reader is not None:
                await self._leave(reader, whole=whole)
            for limit in limits:
                limit.release_on_behalf_of(slot)

    def _limits(self, guest: int | None) -> list[anyio.CapacityLimiter]:
        if guest is None:
            return [self._limit]
        return [
            self._guests.setdefault(guest, anyio.CapacityLimiter(MOST_OF_A_GUEST)),
            self._limit,
        ]

    async def _take(self, slot: object, limits: list[anyio.CapacityLimiter]) -> None:
        taken: list[anyio.CapacityLimiter] = []
        full = limits[0]
        try:
            with anyio.move_on_after(self._patience):
                for full in limits:
                    await full.acquire_on_behalf_of(slot)
                    taken.append(full)
                return
        finally:
            if len(taken) < len(limits):
                for limit in taken:
                    limit.release_on_behalf_of(slot)
        raise BusyReadersError(
            f"{full.borrowed_tokens} answers read events already",
            "try again when one of them is done",
        )

    async def _idle_reader(self) -> _Reader | None:
        while self._idle:
            reader = self._idle.pop()
            if reader.is_alive:
                return reader
            await reader.kill()
        return None

    async def _batches(
        self, reader: _Reader, order: ReadOrder, beat_seconds: float
    ) -> AsyncGenerator[bytes, None]:
        await reader.send(ORDER, self._encoder.encode(order))
        while True:
            batch: bytes | None = b""
            with anyio.move_on_after(beat_seconds):
                batch = await reader.next()
            if batch is None:
                return
            yield batch

    async def _leave(self, reader: _Reader, *, whole: bool) -> None:
        if whole and len(self._idle) < _MOST_IDLE:
            self._idle.append(reader)
            return
        await reader.kill()

    async def close(self) -> None:
        """End the readers that are kept; nobody reads any more."""
        while self._idle:
            await self._idle.pop().kill()
