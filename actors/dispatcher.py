"""The dispatcher: it tells the schedulers of all roots when each may send its next job.

It is no actor but belongs to the event loop; :class:`Admission` decides. The turn goes to a
scheduler as a message, and what is read is chosen only then, by what is wanted by that time.
"""

from __future__ import annotations

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
        self._mailboxes: dict[bytes, Mailbox] = {}

    def join(self, root: bytes, mailbox: Mailbox) -> None:
        """Have the turns of *root* told to *mailbox*; what another life of it had is taken back."""
        self._admission.forget(root)
        self._mailboxes[root] = mailbox

    def leave(self, root: bytes) -> None:
        """Take back all that *root* has."""
        self._mailboxes.pop(root, None)
        self._admission.forget(root)
        self._give()

    def want(self, root: bytes, demand: Demand | None) -> None:
        """Take in what *root* would have read next, ``None`` for nothing."""
        if root in self._mailboxes:
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
                self._mailboxes[root].tell_control(Turn(slot))
            except MailboxClosedError:  # its scheduler has ended
                self._mailboxes.pop(root)
                self._admission.forget(root)
