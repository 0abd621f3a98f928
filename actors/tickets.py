"""Tickets: how somebody waits until the index has what is on disk."""

from __future__ import annotations

import anyio

from dftindexd.actors.jobs import Waiter
from dftindexd.protocol.message import Request

__all__ = ("Leave", "Merge", "Ticket")


class Ticket:
    """A request to be told when the index has what is on disk below a path.

    The disk is looked at after the ticket was left, so everything that was there is covered.
    """

    def __init__(self, below: bytes, *, until_finished: bool = False, force: bool = False) -> None:
        self.waiter = Waiter(below=below, until_finished=until_finished)
        self.force = force
        self.traces = 0
        self.error: Exception | None = None
        self._done = anyio.Event()

    def settle(self, error: Exception | None = None) -> None:
        """End the wait, with *error* if what was asked for cannot be had."""
        self.error = error
        self._done.set()

    async def wait(self) -> dict[bytes, str]:
        """Wait for the end; return the traces that are not as on disk, with the reason of each.

        Only one may wait, and who gives up waiting ends the ticket.
        """
        try:
            await self._done.wait()
        finally:
            self.waiter.abandoned = not self._done.is_set()
        if self.error is not None:
            raise self.error
        return self.waiter.problems


class Merge(Request[None], frozen=True):
    """Have traces whose index is in many pieces parsed anew, when nothing else is to do."""


class Leave(Request[None], frozen=True):
    """Take a ticket; the reply says that it was taken, not that it is done."""

    ticket: Ticket
