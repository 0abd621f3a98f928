"""The supervisor: restarts, back-off, giving up, heartbeat, health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from dftindexd.actors.actor import Actor, ActorContext, Quit, Shutdown
from dftindexd.actors.errors import ActorEndedError, MailboxClosedError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.supervisor import (
    Health,
    RestartPolicy,
    Supervisor,
)
from tests.actors.recorder import Crash, CrashError, Echo, Exit, Hold, Recorder

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaked_tasks")]

AT_ONCE = RestartPolicy(first_delay=0.0)
SHORT_HEARTBEAT = 0.02


class Nursery:
    """A factory that remembers what it made."""

    def __init__(self, make: Callable[[], Recorder] = Recorder) -> None:
        self.made: list[Recorder] = []
        self._make = make

    def __call__(self) -> Actor:
        actor = self._make()
        self.made.append(actor)
        return actor

    @property
    def finalized(self) -> list[list[ExitStatus]]:
        return [actor.finalized for actor in self.made]


def supervise(
    factory: Callable[[], Actor],
    *,
    policy: RestartPolicy = AT_ONCE,
    heartbeat: float = 30.0,
    clock: Callable[[], float] = lambda: 0.0,
) -> Supervisor:
    return Supervisor(
        "keeper", factory, Mailbox("box", 16), policy=policy, heartbeat=heartbeat, clock=clock
    )


async def crash(mailbox: Mailbox) -> None:
    with pytest.raises(CrashError):
        await mailbox.ask(Crash())


async def test_start_returns_when_the_first_actor_is_initialised() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery)
    health = [supervisor.observe()["health"]]
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        health.append(supervisor.observe()["health"])
        assert nursery.made[0].generations == [0]
        await supervisor.mailbox.ask(Shutdown())
    health.append(supervisor.observe()["health"])
    assert health == ["starting", "healthy", "ended"]
    assert nursery.finalized == [[ExitStatus.SUCCESS]]


async def test_a_failed_actor_is_replaced_and_the_queue_is_kept() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery)
    mailbox = supervisor.mailbox
    replies: list[int] = []

    async def ask(value: int) -> None:
        replies.append(await mailbox.ask(Echo(value)))

    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        await mailbox.tell(Hold())
        await nursery.made[0].holding.wait()
        task_group.start_soon(crash, mailbox)
        await checkpoint()
        for value in (1, 2, 3):
            task_group.start_soon(ask, value)
        while len(mailbox) < 4:
            await checkpoint()
        nursery.made[0].release.set()
        while len(replies) < 3:
            await checkpoint()
        assert supervisor.health is Health.HEALTHY
        await mailbox.ask(Shutdown())
    first, second = nursery.made
    assert replies == [1, 2, 3]
    assert first.handled == [Hold()]
    assert second.handled == [Echo(1), Echo(2), Echo(3)]
    assert second.generations == [1]
    assert nursery.finalized == [[ExitStatus.FAILURE], [ExitStatus.SUCCESS]]
    assert supervisor.restarts == 1
    assert supervisor.observe()["last_error"] is None


async def test_observe_shows_health_restarts_the_queue_and_the_actors_counters() -> None:
    supervisor = supervise(Nursery())
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        await crash(supervisor.mailbox)
        await supervisor.mailbox.ask(Echo(1))
        assert supervisor.observe() == {
            "name": "keeper",
            "health": "healthy",
            "restarts": 1,
            "kills": 0,
            "queued": 0,
            "capacity": 16,
            "last_error": "CrashError: broken state",
            "actor": {"handled": 1},
        }
        await supervisor.mailbox.ask(Shutdown())


async def test_it_gives_up_after_too_many_restarts_and_answers_the_queue() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery, policy=RestartPolicy(max_restarts=2, first_delay=0.0))
    mailbox = supervisor.mailbox
    statuses: list[ExitStatus] = []
    refused: list[int] = []

    async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        statuses.append(await supervisor.run(task_status=task_status))

    async def refused_ask() -> None:
        with pytest.raises(MailboxClosedError):
            await mailbox.ask(Echo(1))
        refused.append(1)

    async with anyio.create_task_group() as task_group:
        await task_group.start(run)
        await mailbox.tell(Hold())
        await nursery.made[0].holding.wait()
        for _ in range(3):
            await mailbox.tell(Crash())
        task_group.start_soon(refused_ask)
        while len(mailbox) < 4:
            await checkpoint()
        nursery.made[0].release.set()
    assert statuses == [ExitStatus.FAILURE]
    assert refused == [1]
    assert nursery.finalized == [[ExitStatus.FAILURE]] * 3
    assert supervisor.health is Health.FAILED
    assert supervisor.observe()["last_error"] == "CrashError: broken state"
    with pytest.raises(MailboxClosedError):
        await mailbox.tell("nobody is there")


async def test_restarts_long_ago_are_forgiven() -> None:
    now = 0.0
    policy = RestartPolicy(max_restarts=1, window=10.0, first_delay=0.0)
    supervisor = supervise(Nursery(), policy=policy, clock=lambda: now)
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        for now in (0.0, 20.0, 40.0):  # noqa: B007 - the clock reads it
            await crash(supervisor.mailbox)
            assert await supervisor.mailbox.ask(Echo(1)) == 1
        await supervisor.mailbox.ask(Shutdown())
    assert supervisor.restarts == 3


@pytest.mark.parametrize(
    "status", [ExitStatus.SUCCESS, ExitStatus.QUIT, ExitStatus.DOWNSTREAM_CLOSED]
)
async def test_an_actor_that_ends_on_purpose_is_not_restarted(status: ExitStatus) -> None:
    nursery = Nursery()
    supervisor = supervise(nursery)
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        with pytest.raises(ActorEndedError):
            await supervisor.mailbox.ask(Exit(status))
    assert nursery.finalized == [[status]]
    assert supervisor.health is Health.ENDED
    assert supervisor.mailbox.closed


async def test_a_hung_handler_is_killed_and_replaced_and_its_asker_gets_an_error() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery, heartbeat=SHORT_HEARTBEAT)
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        with pytest.raises(ActorEndedError, match=r"ended \(killed\) with Hold in hand"):
            await supervisor.mailbox.ask(Hold())
        assert await supervisor.mailbox.ask(Echo(1)) == 1
        observed = supervisor.observe()
        await supervisor.mailbox.ask(Shutdown())
    assert observed["kills"] == 1
    assert "no progress for 0.02 s" in str(observed["last_error"])
    assert nursery.finalized == [[ExitStatus.KILLED], [ExitStatus.SUCCESS]]


async def outlast_the_heartbeat(beat: Callable[[], None]) -> None:
    for _ in range(12):
        await anyio.sleep(SHORT_HEARTBEAT / 4)
        beat()


class Protected(Recorder):
    async def handle(self, message: Any, context: ActorContext) -> Any:
        with context.protect():
            await outlast_the_heartbeat(lambda: None)
        return await super().handle(message, context)


class Progressing(Recorder):
    async def handle(self, message: Any, context: ActorContext) -> Any:
        await outlast_the_heartbeat(context.record_progress)
        return await super().handle(message, context)


@pytest.mark.parametrize("kind", [Protected, Progressing])
async def test_protected_or_progressing_work_outlasts_the_heartbeat(kind: type[Recorder]) -> None:
    nursery = Nursery(kind)
    supervisor = supervise(nursery, heartbeat=SHORT_HEARTBEAT)
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        assert await supervisor.mailbox.ask(Echo(1)) == 1
        await supervisor.mailbox.ask(Shutdown())
    assert len(nursery.made) == 1


async def test_an_idle_actor_is_healthy_however_long_it_idles() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery, heartbeat=0.004)
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        await anyio.sleep(0.05)
        assert supervisor.health is Health.HEALTHY
        await supervisor.mailbox.ask(Shutdown())
    assert len(nursery.made) == 1


async def test_a_slow_start_is_shown_as_unhealthy_but_not_killed() -> None:
    class SlowStarter(Recorder):
        async def initialize(self, context: ActorContext) -> None:
            await self.release.wait()

    nursery = Nursery(SlowStarter)
    supervisor = supervise(nursery, heartbeat=0.004)

    async def release_when_unhealthy() -> None:
        while supervisor.health is not Health.UNHEALTHY:
            await checkpoint()
        nursery.made[0].release.set()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(release_when_unhealthy)
        await task_group.start(supervisor.run)
        assert supervisor.observe()["health"] == "healthy"
        await supervisor.mailbox.ask(Shutdown())
    assert nursery.finalized == [[ExitStatus.SUCCESS]]


async def test_an_actor_that_cannot_start_raises_its_cause_at_the_starter() -> None:
    class Unready(Recorder):
        async def initialize(self, context: ActorContext) -> None:
            raise CrashError("no lock")

    nursery = Nursery(Unready)
    supervisor = supervise(nursery)
    async with anyio.create_task_group() as task_group:
        with pytest.raises(CrashError, match="no lock"):
            await task_group.start(supervisor.run)
    assert nursery.finalized == [[ExitStatus.FAILURE]]
    assert supervisor.health is Health.FAILED
    assert supervisor.mailbox.closed


async def test_a_factory_or_initialize_that_fails_later_counts_as_a_failed_restart() -> None:
    made: list[Recorder] = []

    def factory() -> Actor:
        if made:
            raise CrashError("no more of these")
        made.append(Recorder())
        return made[0]

    supervisor = supervise(factory, policy=RestartPolicy(max_restarts=2, first_delay=0.0))
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        await crash(supervisor.mailbox)
    assert supervisor.restarts == 2
    assert supervisor.health is Health.FAILED
    assert supervisor.observe()["last_error"] == "CrashError: no more of these"


async def test_cancelling_the_task_group_finalizes_once_and_closes_the_mailbox() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery)
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        task_group.cancel_scope.cancel()
    assert nursery.finalized == [[ExitStatus.KILLED]]
    assert supervisor.health is Health.ENDED
    assert supervisor.mailbox.closed


async def test_a_mailbox_closed_during_the_back_off_ends_the_supervisor_without_a_restart() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery, policy=RestartPolicy(first_delay=3600, longest_delay=3600))
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        await crash(supervisor.mailbox)
        while supervisor.health is not Health.RESTARTING:
            await checkpoint()
        supervisor.mailbox.close()
    assert len(nursery.made) == 1
    assert supervisor.health is Health.ENDED


async def test_quit_sent_during_the_back_off_is_answered_after_the_restart() -> None:
    nursery = Nursery()
    supervisor = supervise(nursery)
    async with anyio.create_task_group() as task_group:
        await task_group.start(supervisor.run)
        await crash(supervisor.mailbox)
        await supervisor.mailbox.ask_control(Quit())
    assert nursery.finalized == [[ExitStatus.FAILURE], [ExitStatus.QUIT]]


async def test_a_supervised_pool_survives_a_member_that_is_given_up() -> None:
    mailbox = Mailbox("pool", 4)
    frail = Supervisor("frail", Nursery(), mailbox, policy=RestartPolicy(max_restarts=0))
    sturdy_policy = RestartPolicy(max_restarts=1000, first_delay=0.0)
    sturdy = Supervisor("sturdy", Nursery(), mailbox, policy=sturdy_policy)
    async with anyio.create_task_group() as task_group:
        await task_group.start(frail.run)
        await task_group.start(sturdy.run)
        while frail.health is not Health.FAILED:
            await crash(mailbox)
            await checkpoint()
        assert await mailbox.ask(Echo(1)) == 1
        await mailbox.ask(Shutdown())
    assert sturdy.health is Health.ENDED
    assert mailbox.exit_status is ExitStatus.SUCCESS
