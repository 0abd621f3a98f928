"""The mailbox: the only way to speak to an actor.

It has two lanes. The data lane is bounded and makes its senders wait while it is full
(back-pressure); the control lane is unbounded, meant for few and small messages, and overtakes all
data. Each lane is first in, first out, also among waiting senders.

Every ask is answered: with the handler's reply or its exception, with ``ActorEndedError`` if the
actor ended meanwhile, with ``MailboxClosedError`` if nobody took the message. A message that was
taken is handled to its end whether or not somebody still waits for the reply.

A mailbox outlives the actors that receive from it, so that senders never notice a restart. Several
actors may receive from one mailbox (a pool); each message goes to one of them.

States: *open*; *draining* (the last ``Sender`` was closed: no new data, what is queued is still
handled); *closed* (nothing goes in, what was queued is refused, receivers see the end).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from dftindexd.actors.errors import AskTimeoutError, MailboxClosedError, MailboxFullError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.log import get_log
from dftindexd.protocol.message import Request

__all__ = ("Envelope", "Mailbox", "Sender")

R = TypeVar("R")

_log = get_log(__name__)


class _Reply:
    """One reply on its way to one asker."""

    __slots__ = ("_arrived", "_error", "_value", "abandoned")

    def __init__(self) -> None:
        self._arrived = anyio.Event()
        self._error: BaseException | None = None
        self._value: Any = None
        self.abandoned = False

    @property
    def arrived(self) -> bool:
        return self._arrived.is_set()

    async def wait(self) -> None:
        await self._arrived.wait()

    def set(self, value: Any, error: BaseException | None) -> None:
        self._value = value
        self._error = error
        self._arrived.set()

    def result(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error  # the traceback holds this frame: without this, a reference cycle


class Envelope:
    """A message, its lane, and the way back to its asker if it has one."""

    __slots__ = ("_reply", "admitted", "control", "message")

    def __init__(self, message: object, *, control: bool, reply: _Reply | None = None) -> None:
        self.message = message
        self.control = control
        self.admitted = False
        self._reply = reply

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for the reply."""
        return self._reply is not None and not self._reply.abandoned

    def answer(self, value: Any) -> None:
        """Send *value* to the asker, if there is one."""
        if self._reply is not None:
            self._reply.set(value, None)

    def fail(self, error: BaseException) -> None:
        """Have *error* raised at the asker, if there is one."""
        if self._reply is not None:
            self._reply.set(None, error)


class Mailbox:
    """Two lanes of messages to one actor, or to a pool of actors that compete for them."""

    def __init__(self, name: str, capacity: int) -> None:
        """Make an open mailbox; *capacity* is the length of the data lane in messages."""
        if capacity < 1:
            raise ValueError(f"capacity of mailbox {name!r} is {capacity}: give at least 1")
        self.name = name
        self.exit_status = ExitStatus.QUIT
        self._capacity = capacity
        self._control: deque[Envelope] = deque()
        self._data: deque[Envelope] = deque()
        self._waiting_senders: OrderedDict[anyio.Event, Envelope] = OrderedDict()
        self._waiting_receivers: deque[anyio.Event] = deque()
        self._closed = anyio.Event()
        self._draining = False
        self._senders = 0
        self._attached = 0
        self._farewells: list[Envelope] = []
        self._farewell_error: Exception | None = None

    def __len__(self) -> int:
        """Return how many messages are queued on both lanes."""
        return len(self._control) + len(self._data)

    @property
    def capacity(self) -> int:
        """The length of the data lane in messages."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """Whether nothing goes in or comes out any more."""
        return self._closed.is_set()

    # Sending

    async def tell(self, message: object) -> None:
        """Queue *message* as data, waiting while the lane is full.

        A cancelled ``tell`` may have queued the message. Raises ``MailboxClosedError``.
        """
        await self._send(Envelope(message, control=False))

    def tell_nowait(self, message: object) -> None:
        """Queue *message* as data; raises ``MailboxFullError`` or ``MailboxClosedError``."""
        self._refuse_data_if_ending()
        if not self._has_room:
            raise MailboxFullError(
                f"mailbox {self.name!r} is full ({self._capacity} messages): wait with tell()"
            )
        self._admit(Envelope(message, control=False))

    async def ask(self, message: Request[R], *, timeout: float | None = None) -> R:
        """Queue *message* as data and return its handler's reply, or raise what the handler raised.

        *timeout* is in seconds and counts from the call, waiting for room included. Raises
        ``AskTimeoutError``, ``MailboxClosedError`` or ``ActorEndedError`` besides.
        """
        return await self._ask(message, control=False, timeout=timeout)

    async def ask_control(self, message: Request[R], *, timeout: float | None = None) -> R:
        """Like ``ask``, ahead of all data and never waiting for room."""
        return await self._ask(message, control=True, timeout=timeout)

    def tell_control(self, message: object) -> None:
        """Queue *message* ahead of all data; raises ``MailboxClosedError``."""
        self._refuse_if_closed()
        self._admit(Envelope(message, control=True))

    def open_sender(self) -> Sender:
        """Return a counted handle: when the last one is closed, the mailbox drains and ends."""
        self._refuse_data_if_ending()
        self._senders += 1
        return Sender(self)

    def release_sender(self) -> None:
        """Count one sender less; only ``Sender.close`` calls this."""
        self._senders -= 1
        if self._senders == 0:
            self._draining = True
            self._wake_all_receivers()

    def close(self, status: ExitStatus = ExitStatus.QUIT) -> None:
        """End the mailbox: refuse what comes and what is queued; a second call does nothing.

        *status* is how the actors that receive from it end.
        """
        if self.closed:
            return
        self.exit_status = status
        self._closed.set()
        refused = [*self._control, *self._data]
        self._control.clear()
        self._data.clear()
        for envelope in refused:
            envelope.fail(self._closed_error())
        for wake in self._waiting_senders:
            wake.set()
        self._waiting_senders.clear()
        self._wake_all_receivers()
        if refused:
            _log.info("mailbox_refused_queued", mailbox=self.name, messages=len(refused))

    async def wait_closed(self) -> None:
        """Return when the mailbox is closed."""
        await self._closed.wait()

    # Receiving

    async def receive(self) -> Envelope:
        """Take the next message: control first. Raises ``anyio.EndOfStream`` when closed.

        Cancellation never loses a message. It gives way to other tasks only when it has to wait.
        """
        while True:
            envelope = self._take()
            if envelope is not None:
                return envelope
            if self._draining:
                self.close(ExitStatus.SUCCESS)
            if self.closed:
                raise anyio.EndOfStream
            await self._wait_for_message()

    def attach(self) -> None:
        """Count one more receiver, for as long as it lives, restarts included."""
        self._attached += 1

    def detach(self, error: Exception | None = None) -> None:
        """Count one receiver less; the last one closes the mailbox and the farewells are answered.

        *error* is what went wrong at its end; the askers of farewells get the first such error.
        """
        self._attached -= 1
        if self._farewells:
            self._farewell_error = self._farewell_error or error
        if self._attached:
            return
        self.close()
        for envelope in self._farewells:
            if self._farewell_error is None:
                envelope.answer(None)
            else:
                envelope.fail(self._farewell_error)
        self._farewells.clear()

    def answer_at_end(self, envelope: Envelope) -> None:
        """Answer *envelope* when the last receiver has ended and is finalised."""
        self._farewells.append(envelope)

    # Inside

    @property
    def _has_room(self) -> bool:
        return len(self._data) < self._capacity

    def _closed_error(self) -> MailboxClosedError:
        return MailboxClosedError(f"mailbox {self.name!r} is closed: its actor takes no more work")

    def _refuse_if_closed(self) -> None:
        if self.closed:
            raise self._closed_error()

    def _refuse_data_if_ending(self) -> None:
        if self.closed or self._draining:
            raise self._closed_error()

    async def _ask(self, message: Request[R], *, control: bool, timeout: float | None) -> R:
        reply = _Reply()
        envelope = Envelope(message, control=control, reply=reply)
        try:
            with anyio.move_on_after(timeout):
                await self._send(envelope)
                await reply.wait()
        finally:
            reply.abandoned = not reply.arrived
        if not reply.arrived:
            raise AskTimeoutError(
                f"mailbox {self.name!r} gave no reply to {type(message).__name__} "
                f"within {timeout} s: it has {len(self)} messages queued"
            )
        result: R = reply.result()
        return result

    async def _send(self, envelope: Envelope) -> None:
        await anyio.lowlevel.checkpoint()
        if envelope.control:
            self._refuse_if_closed()
            self._admit(envelope)
            return
        self._refuse_data_if_ending()
        if self._has_room:
            self._admit(envelope)
            return
        await self._wait_for_room(envelope)

    async def _wait_for_room(self, envelope: Envelope) -> None:
        wake = anyio.Event()
        self._waiting_senders[wake] = envelope
        try:
            await wake.wait()
        finally:
            self._waiting_senders.pop(wake, None)
        if not envelope.admitted:
            raise self._closed_error()

    async def _wait_for_message(self) -> None:
        wake = anyio.Event()
        self._waiting_receivers.append(wake)
        try:
            await wake.wait()
        except BaseException:
            if wake.is_set():
                self._wake_receiver()  # another must take what this one was woken for
            else:
                self._waiting_receivers.remove(wake)
            raise

    def _admit(self, envelope: Envelope) -> None:
        envelope.admitted = True
        lane = self._control if envelope.control else self._data
        lane.append(envelope)
        self._wake_receiver()

    def _take(self) -> Envelope | None:
        if self._control:
            return self._control.popleft()
        if not self._data:
            return None
        envelope = self._data.popleft()
        if self._waiting_senders:
            wake, waiting = self._waiting_senders.popitem(last=False)
            self._admit(waiting)
            wake.set()
        return envelope

    def _wake_receiver(self) -> None:
        if self._waiting_receivers:
            self._waiting_receivers.popleft().set()

    def _wake_all_receivers(self) -> None:
        while self._waiting_receivers:
            self._wake_receiver()


class Sender:
    """A counted way into a mailbox, with the same methods; a context manager.

    When every sender that was opened is closed, the mailbox takes no more data, and its actor ends
    with ``SUCCESS`` once it has handled what is queued.
    """

    __slots__ = ("_mailbox", "_open")

    def __init__(self, mailbox: Mailbox) -> None:
        """Only ``Mailbox.open_sender`` makes senders."""
        self._mailbox = mailbox
        self._open = True

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def tell(self, message: object) -> None:
        """See ``Mailbox.tell``."""
        await self._target.tell(message)

    def tell_nowait(self, message: object) -> None:
        """See ``Mailbox.tell_nowait``."""
        self._target.tell_nowait(message)

    async def ask(self, message: Request[R], *, timeout: float | None = None) -> R:
        """See ``Mailbox.ask``."""
        return await self._target.ask(message, timeout=timeout)

    async def ask_control(self, message: Request[R], *, timeout: float | None = None) -> R:
        """See ``Mailbox.ask_control``."""
        return await self._target.ask_control(message, timeout=timeout)

    def tell_control(self, message: object) -> None:
        """See ``Mailbox.tell_control``."""
        self._target.tell_control(message)

    def close(self) -> None:
        """Give the handle back; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        self._mailbox.release_sender()

    @property
    def _target(self) -> Mailbox:
        if not self._open:
            raise MailboxClosedError(f"this sender of mailbox {self._mailbox.name!r} is closed")
        return self._mailbox
