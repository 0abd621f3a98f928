"""The supervisor: it keeps one actor alive behind a mailbox that never changes.

An actor that failed, or that was killed for lack of progress, is replaced by a new one from the
factory after a delay that doubles from restart to restart. Messages stay in the mailbox meanwhile;
only the one in hand is lost to its asker, who gets an error. After too many restarts within a
window the supervisor gives up: it says so in the log and in ``observe()``, and leaves the mailbox,
which closes with its last receiver, so that nobody waits for an answer that cannot come.

Progress, not existence, is health: a hook that runs for longer than the heartbeat without
``record_progress()`` and outside ``protect()`` makes its actor unhealthy, and so does one that is
protected for longer than it said. Unless that hook is
``initialize``, the actor is then killed. An idle actor is healthy. The heartbeat is counted in
checks made by the event loop, so that a loop that stood still is not blamed on the actor.

An actor that never was initialised is not restarted: ``run`` raises what its factory or its
``initialize`` raised, so that whoever starts the daemon sees the cause at once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

import anyio
import anyio.abc
import msgspec

from dftindexd.actors.actor import Actor, ActorRun, Outcome, Pulse
from dftindexd.actors.errors import ActorEndedError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox

__all__ = ("Health", "RestartPolicy", "StallDetector", "Supervisor", "restart_delay")

_CHECKS_PER_HEARTBEAT = 4
_LARGEST_DOUBLING = 64  # keeps 2**n within a float; every real delay is capped long before

_RESTARTED = frozenset({ExitStatus.FAILURE, ExitStatus.KILLED})

_log = get_log(__name__)


class Health(enum.Enum):
    """What a supervisor says of its actor."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    """A hook makes no progress."""
    RESTARTING = "restarting"
    """Between two lives."""
    ENDED = "ended"
    FAILED = "failed"
    """Given up, or never started."""


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how fast an actor is restarted; times are seconds."""

    max_restarts: int = 5
    window: float = 300.0
    first_delay: float = 0.1
    longest_delay: float = 10.0


def restart_delay(policy: RestartPolicy, restarts: Sequence[float], now: float) -> float | None:
    """Return the seconds to wait before the next restart, or None to give up.

    *restarts* are the times of the earlier ones; those before the window do not count.
    """
    recent = sum(now - restart < policy.window for restart in restarts)
    if recent >= policy.max_restarts:
        return None
    doubling = 2.0 ** min(recent, _LARGEST_DOUBLING)
    return min(policy.first_delay * doubling, policy.longest_delay)


class StallDetector:
    """Decides from looks at a pulse, taken at even intervals, whether its actor is stuck."""

    def __init__(self, patience: int = _CHECKS_PER_HEARTBEAT) -> None:
        """Make one that calls an actor stuck after *patience* looks without a beat."""
        self._patience = patience
        self._beats = -1
        self._misses = 0

    def check(self, pulse: Pulse) -> bool:
        """Look once; return whether the actor is stuck."""
        missed = pulse.must_beat and pulse.beats == self._beats
        self._misses = self._misses + 1 if missed else 0
        self._beats = pulse.beats
        return self._misses >= self._patience


class Supervisor:
    """Runs the actors that *factory* makes, one after the other, on one mailbox."""

    def __init__(
        self,
        name: str,
        factory: Callable[[], Actor],
        mailbox: Mailbox,
        *,
        policy: RestartPolicy | None = None,
        heartbeat: float = 30.0,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        """Prepare; nothing runs before ``run``. *heartbeat* is in seconds."""
        self.name = name
        self.mailbox = mailbox
        self.health = Health.STARTING
        self.restarts = 0
        self._factory = factory
        self._policy = policy or RestartPolicy()
        self._heartbeat = heartbeat
        self._clock = clock
        self._restart_times: list[float] = []
        self._kills = 0
        self._actor: Actor | None = None
        self._outcome = Outcome(ExitStatus.KILLED)  # stands if a run is cancelled
        self._was_initialized = False
        self._log = _log.bind(actor=name)

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> ExitStatus:
        """Keep the actor alive until it ends for good; say how it ended.

        Started by ``await task_group.start(supervisor.run)``, which returns when the first actor is
        initialised, or raises what kept it from that.
        """
        self.mailbox.attach()
        self.health = Health.STARTING
        try:
            return await self._supervise(task_status)
        finally:
            if self.health is not Health.FAILED:
                self.health = Health.ENDED
            self.mailbox.detach(self._outcome.error)

    def observe(self) -> dict[str, object]:
        """Return what the status shows: health, restarts, the queue, the actor's own counters."""
        error = self._outcome.error
        return {
            "name": self.name,
            "health": self.health.value,
            "restarts": self.restarts,
            "kills": self._kills,
            "queued": len(self.mailbox),
            "capacity": self.mailbox.capacity,
            "last_error": None if error is None else f"{type(error).__name__}: {error}",
            "actor": {} if self._actor is None else self._actor.observe(),
        }

    async def _supervise(self, task_status: anyio.abc.TaskStatus[None]) -> ExitStatus:
        while True:
            await self._run_once(task_status)
            if not self._was_initialized and self._outcome.error is not None:
                self.health = Health.FAILED
                raise self._outcome.error
            if self._outcome.status not in _RESTARTED or self.mailbox.closed:
                return self._outcome.status
            delay = restart_delay(self._policy, self._restart_times, self._clock())
            if delay is None:
                return self._give_up()
            if not await self._wait_to_restart(delay):
                return self._outcome.status
            self._count_restart()

    async def _run_once(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            self._actor = self._factory()
        except Exception as error:  # noqa: BLE001 - logged, and told by the outcome
            self._log.exception("actor_factory_failed", error_type=type(error).__name__)
            self._outcome = Outcome(ExitStatus.FAILURE, error)
            return
        run = ActorRun(self._actor, self.mailbox, generation=self.restarts)
        try:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self._watch, run)
                await run.run(lambda: self._note_initialized(task_status))
                task_group.cancel_scope.cancel()
        finally:
            self._outcome = run.outcome

    def _note_initialized(self, task_status: anyio.abc.TaskStatus[None]) -> None:
        self.health = Health.HEALTHY
        if self._was_initialized:
            return
        self._was_initialized = True
        task_status.started()

    async def _watch(self, run: ActorRun) -> None:
        detector = StallDetector()
        while True:
            await anyio.sleep(self._heartbeat / _CHECKS_PER_HEARTBEAT)
            if detector.check(run.pulse):
                self.health = Health.UNHEALTHY
                if run.initialized:
                    break
            elif run.initialized:
                self.health = Health.HEALTHY
        self._kills += 1
        self._log.error("actor_killed", reason="no progress", heartbeat_seconds=self._heartbeat)
        run.kill(
            ActorEndedError(
                f"actor {self.name!r} was killed: no progress for {self._heartbeat} s; "
                "long work must report progress or be protected"
            )
        )

    async def _wait_to_restart(self, delay: float) -> bool:
        """Return whether there is still something to restart for: the mailbox is open."""
        self.health = Health.RESTARTING
        self._log.info(
            "actor_restarting",
            delay_seconds=delay,
            restarts=self.restarts,
            status=self._outcome.status.value,
            queued=len(self.mailbox),
        )
        with anyio.move_on_after(delay):
            await self.mailbox.wait_closed()
        return not self.mailbox.closed

    def _count_restart(self) -> None:
        now = self._clock()
        window = self._policy.window
        self._restart_times = [time for time in self._restart_times if now - time < window]
        self._restart_times.append(now)
        self.restarts += 1

    def _give_up(self) -> ExitStatus:
        self.health = Health.FAILED
        self._log.critical(
            "actor_given_up",
            restarts=self.restarts,
            max_restarts=self._policy.max_restarts,
            window_seconds=self._policy.window,
            last_error=repr(self._outcome.error),
        )
        return ExitStatus.FAILURE
