"""The dispatcher: it tells the schedulers of all roots when each may send its next job.

It is no actor but belongs to the event loop; :class:`Admission` decides. The turn goes to a
scheduler as a message, and what is read is chosen only then, by what is wanted by that time.
Whoever else has something read waits for a slot of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import msgspec

from dftindexd.actors.admission import Admission, Demand
from dftindexd.actors.errors import MailboxClosedError
from dftindexd.actors.mailbox import Mailbox

__all__ = ("Dispatcher", "Turn")


class Turn(msgspec.Struct, frozen=True):
    """A scheduler may send one job, in this slot; if it has none it gives the slot back."""

    slot: int


class Dispatcher:
    """Gives the slots of *workers* to the schedulers that joined."""

    def __init__(self, workers: int, memory_budget: int | None = None) -> None:
        self._admission = Admission(workers, memory_budget)
        self._takers: dict[bytes, Callable[[int], None]] = {}

    def join(self, root: bytes, mailbox: Mailbox) -> None:
        """Have the turns of *root* told to *mailbox*; what another life of it had is taken back."""
        self._join(root, lambda slot: mailbox.tell_control(Turn(slot)))

    def _join(self, root: bytes, take: Callable[[int], None]) -> None:
        self._admission.forget(root)
        self._takers[root] = take

    def leave(self, root: bytes) -> None:
        """Take back all that *root* has."""
        self._takers.pop(root, None)
        self._admission.forget(root)
        self._give()

    @asynccontextmanager
    async def slot(self, name: bytes, job: Demand) -> AsyncIterator[None]:
        """Wait until *job* may be read, and have its slot for as long as the context lasts; *name*
        is that of no root and of nobody else who waits."""
        slots: list[int] = []
        given = anyio.Event()

        def take(slot: int) -> None:
            slots.append(slot)
            given.set()

        self._join(name, take)
        try:
            self.want(name, job)
            await given.wait()
            self.begin(slots[0], job)
            yield
        finally:
            self.leave(name)

    def want(self, root: bytes, demand: Demand | None) -> None:
        """Take in what *root* would have read next, ``None`` for nothing."""
        if root in self._takers:
            self._admission.want(root, demand)
            self._give()

    def holds(self, slot: int) -> bool:
        """Return whether *slot* is given: not if its root joined anew meanwhile."""
        return self._admission.holds(slot)

    def begin(self, slot: int, job: Demand) -> None:
        """Take in what is read in *slot*."""
        self._admission.begin(slot, job)

    def release(self, slot: int) -> None:
        """Take a slot back; may be repeated."""
        self._admission.release(slot)
        self._give()

    def _give(self) -> None:
        while (turn := self._admission.next()) is not None:
            root, slot = turn
            try:
                self._takers[root](slot)
            except MailboxClosedError:  # its scheduler has ended
                self._takers.pop(root)
                self._admission.forget(root)
