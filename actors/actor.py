"""What an actor is, and the loop that runs one.

The loop takes control messages before data, and of each lane the oldest first. One hook runs at a
time, so an actor needs no locks. It ends by one of:

* ``Shutdown``, which on the data lane lets everything before it be handled first, or ``Quit``,
  which belongs on the control lane and goes before all data. Both close the mailbox, so that what
  is behind them is refused, and both are answered when ``finalize`` is done;
* the mailbox's end; ``ActorExit`` raised by a hook; a kill or a cancelled task group;
* an exception. One of the actor's ``recoverable`` kinds is its asker's business and the actor goes
  on. ``MailboxClosedError`` means that the actor's own downstream is gone: ``DOWNSTREAM_CLOSED``.
  Anything else is a ``FAILURE``. The asker gets the exception in every case.

``finalize`` then runs exactly once, also if ``initialize`` did not come to its end, shielded from
cancellation for at most ``finalize_seconds``.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from dftindexd.actors.errors import ActorEndedError, MailboxClosedError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Envelope, Mailbox
from dftindexd.protocol.message import Request

__all__ = (
    "Actor",
    "ActorContext",
    "ActorExit",
    "ActorRun",
    "Outcome",
    "Pulse",
    "Quit",
    "Shutdown",
    "run_actor",
)

_log = get_log(__name__)


class Shutdown(Request[None], frozen=True):
    """End when everything queued before this is done; what is queued behind it is refused."""


class Quit(Request[None], frozen=True):
    """End after the message in hand; everything queued is refused. For the control lane."""


class ActorExit(Exception):  # noqa: N818 - it is not an error but a decision
    """Raised by a hook to end its actor with *status*; the asker gets ``ActorEndedError``."""

    def __init__(self, status: ExitStatus) -> None:
        super().__init__(status.value)
        self.status = status


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended, and the exception that ended it if there was one."""

    status: ExitStatus
    error: Exception | None = None


class Pulse:
    """What can be seen of an actor's progress from outside."""

    __slots__ = ("_clock", "_protections", "_working", "beats")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.beats = 0
        self._working = False
        self._protections: list[float] = []  # when each ends
        self._clock = clock

    @property
    def must_beat(self) -> bool:
        """Whether lack of progress would be alarming: a hook runs, outside ``protect()``."""
        return self._working and self._clock() >= max(self._protections, default=0.0)

    def beat(self) -> None:
        """Note that work went on."""
        self.beats += 1

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark the time in which a hook runs."""
        self.beat()
        self._working = True
        try:
            yield
        finally:
            self._working = False

    @contextmanager
    def protected(self, seconds: float = math.inf) -> Iterator[None]:
        """Mark a time in which no progress is expected, of at most so many *seconds*."""
        end = self._clock() + seconds
        self._protections.append(end)
        try:
            yield
        finally:
            self._protections.remove(end)
            self.beat()


class ActorContext:
    """What a hook knows of its surroundings."""

    __slots__ = ("_pulse", "generation", "mailbox")

    def __init__(self, mailbox: Mailbox, generation: int, pulse: Pulse) -> None:
        self.mailbox = mailbox
        self.generation = generation
        """How many times the actor was restarted before this run."""
        self._pulse = pulse

    def record_progress(self) -> None:
        """Show the supervisor that the hook is getting on."""
        self._pulse.beat()

    @contextmanager
    def protect(self, seconds: float = math.inf) -> Iterator[None]:
        """Mark long legitimate work, such as a thread or a process that cannot report progress.
        What takes longer than so many *seconds* hangs."""
        with self._pulse.protected(seconds):
            yield


class Actor(ABC):
    """A piece of state that only its own handlers touch. Subclasses set ``name``."""

    name: str
    """What logs and status call it."""

    recoverable: ClassVar[tuple[type[Exception], ...]] = ()
    """The exceptions of a handler or a tick after which the actor's state is still sound."""

    explained: ClassVar[tuple[type[Exception], ...]] = ()
    """The exceptions whose text says all about the actor's end; others are logged with a trace."""

    tick_interval: float | None = None
    """Seconds from one tick's end to the next tick, or None for no ticks; more than 0."""

    finalize_seconds: float = 10.0
    """How long ``finalize`` may take before it is cancelled and the run counts as a failure."""

    async def initialize(self, context: ActorContext) -> None:  # noqa: B027 - an optional hook
        """Acquire what the actor needs; no message is taken before."""

    @abstractmethod
    async def handle(self, message: Any, context: ActorContext) -> Any:
        """Handle a data message and return the reply to its asker."""

    async def handle_control(self, message: Any, context: ActorContext) -> Any:
        """Handle a control message; the same as ``handle`` unless overridden."""
        return await self.handle(message, context)

    async def tick(self, context: ActorContext) -> None:  # noqa: B027 - an optional hook
        """Do what is due every ``tick_interval`` seconds, between two messages."""

    async def finalize(  # noqa: B027 - an optional hook
        self, status: ExitStatus, context: ActorContext
    ) -> None:
        """Release everything; runs once, also after an ``initialize`` that failed half way."""

    def observe(self) -> dict[str, object]:
        """Return cheap counters for the status; called at any time."""
        return {}


class ActorRun:
    """One life of one actor, from ``initialize`` to ``finalize``."""

    def __init__(self, actor: Actor, mailbox: Mailbox, generation: int = 0) -> None:
        self.pulse = Pulse()
        self.initialized = False
        self._actor = actor
        self._mailbox = mailbox
        self._context = ActorContext(mailbox, generation, self.pulse)
        self._scope = anyio.CancelScope()
        self.outcome = Outcome(ExitStatus.KILLED)  # stands if the run is cancelled
        self._log = _log.bind(actor=actor.name, generation=generation)

    def kill(self, reason: Exception) -> None:
        """Cancel the hook in hand and end the run as ``KILLED``, for *reason*."""
        self.outcome = Outcome(ExitStatus.KILLED, reason)
        self._scope.cancel()

    async def run(self, on_initialized: Callable[[], None] = lambda: None) -> Outcome:
        """Live until the end and say how it came; call *on_initialized* in between."""
        try:
            with self._scope:
                self.outcome = await self._live(on_initialized)
        finally:
            await self._finalize()
        self._log.info("actor_ended", status=self.outcome.status.value)
        return self.outcome

    async def _live(self, on_initialized: Callable[[], None]) -> Outcome:
        try:
            with self.pulse.working():
                await self._actor.initialize(self._context)
            self.initialized = True
            on_initialized()
            return Outcome(await self._loop())
        except ActorExit as end:
            return Outcome(end.status)
        except MailboxClosedError as error:
            self._log.warning("actor_downstream_closed", error=str(error))
            return Outcome(ExitStatus.DOWNSTREAM_CLOSED, error)
        except Exception as error:  # noqa: BLE001 - logged, and told by the outcome
            if isinstance(error, self._actor.explained):
                self._log.warning("actor_failed", reason=str(error))
            else:
                self._log.exception("actor_failed", error_type=type(error).__name__)
            return Outcome(ExitStatus.FAILURE, error)

    async def _loop(self) -> ExitStatus:
        tick_due = self._next_tick()
        while True:
            await checkpoint()
            try:
                envelope = await self._receive_before(tick_due)
            except anyio.EndOfStream:
                return self._mailbox.exit_status
            if envelope is not None:
                farewell = _farewell_status(envelope.message)
                if farewell is not None:
                    self._mailbox.answer_at_end(envelope)
                    self._mailbox.close(farewell)
                    return farewell
                await self._handle(envelope)
            if anyio.current_time() >= tick_due:
                await self._tick()
                tick_due = self._next_tick()

    def _next_tick(self) -> float:
        interval = self._actor.tick_interval
        return float("inf") if interval is None else anyio.current_time() + interval

    async def _receive_before(self, deadline: float) -> Envelope | None:
        # A queued message is taken even when the tick is overdue: the two take turns.
        with anyio.CancelScope(deadline=deadline):
            return await self._mailbox.receive()
        return None

    async def _tick(self) -> None:
        try:
            with self.pulse.working():
                await self._actor.tick(self._context)
        except self._actor.recoverable as error:
            if isinstance(error, ActorExit):
                raise
            self._log.warning("tick_failed", exc_info=error)

    async def _handle(self, envelope: Envelope) -> None:
        handler = self._actor.handle_control if envelope.control else self._actor.handle
        try:
            with self.pulse.working():
                value = await handler(envelope.message, self._context)
        except ActorExit as end:
            envelope.fail(self._ended_error(envelope, end.status))
            raise
        except Exception as error:
            envelope.fail(error)
            if not isinstance(error, self._actor.recoverable):
                raise
            self._log_unless_awaited(envelope, error)
        except BaseException:
            envelope.fail(self._ended_error(envelope, ExitStatus.KILLED))
            raise
        else:
            envelope.answer(value)

    def _log_unless_awaited(self, envelope: Envelope, error: Exception) -> None:
        if envelope.awaited:
            return
        self._log.warning("message_failed", message=type(envelope.message).__name__, exc_info=error)

    def _ended_error(self, envelope: Envelope, status: ExitStatus) -> ActorEndedError:
        return ActorEndedError(
            f"actor {self._actor.name!r} ended ({status.value}) "
            f"with {type(envelope.message).__name__} in hand: see its log, then ask again"
        )

    async def _finalize(self) -> None:
        seconds = self._actor.finalize_seconds
        with anyio.move_on_after(seconds, shield=True) as scope:
            try:
                await self._actor.finalize(self.outcome.status, self._context)
            except Exception as error:  # noqa: BLE001 - logged, and told by the outcome
                self._log.exception("actor_finalize_failed", error_type=type(error).__name__)
                self.outcome = Outcome(ExitStatus.FAILURE, self.outcome.error or error)
        if scope.cancelled_caught:
            self._log.error("actor_finalize_timed_out", seconds=seconds)
            late = ActorEndedError(
                f"finalize of actor {self._actor.name!r} took longer than {seconds} s"
            )
            self.outcome = Outcome(ExitStatus.FAILURE, self.outcome.error or late)


def _farewell_status(message: object) -> ExitStatus | None:
    match message:
        case Shutdown():
            return ExitStatus.SUCCESS
        case Quit():
            return ExitStatus.QUIT
        case _:
            return None


async def run_actor(actor: Actor, mailbox: Mailbox) -> ExitStatus:
    """Run *actor* once, without supervision; the last receiver of *mailbox* closes it at its end.

    An exception that ends the actor is logged and told by ``FAILURE``, not raised.
    """
    run = ActorRun(actor, mailbox)
    mailbox.attach()
    try:
        return (await run.run()).status
    finally:
        mailbox.detach(run.outcome.error)
