"""One actor's loop: order, replies, errors, ticks, and every way to end."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from dftindexd.actors.actor import ActorContext, ActorExit, Quit, Shutdown, run_actor
from dftindexd.actors.errors import ActorEndedError, AskTimeoutError, MailboxClosedError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.mailbox import Mailbox
from tests.actors.recorder import (
    Crash,
    CrashError,
    Echo,
    Exit,
    Hold,
    Recorder,
    Refuse,
    RefusedError,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaked_tasks")]


class Running:
    """A recorder that runs in the background; ``status`` is set when it has ended."""

    def __init__(self, actor: Recorder | None = None, capacity: int = 16) -> None:
        self.actor = actor or Recorder()
        self.mailbox = Mailbox("box", capacity)
        self.status: ExitStatus | None = None

    async def run(self) -> None:
        self.status = await run_actor(self.actor, self.mailbox)


async def refused_ask(mailbox: Mailbox, refused: list[int], value: int) -> None:
    with pytest.raises(MailboxClosedError):
        await mailbox.ask(Echo(value))
    refused.append(value)


async def settle() -> None:
    for _ in range(10):
        await checkpoint()


async def test_an_ask_gets_the_handlers_reply() -> None:
    running = Running()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        assert await running.mailbox.ask(Echo(5)) == 5
        assert await running.mailbox.ask_control(Echo(6)) == 6
        await running.mailbox.ask(Shutdown())
    assert running.actor.handled == [Echo(5), Echo(6)]
    assert running.actor.control_handled == [Echo(6)]


async def test_control_is_handled_before_data_that_was_queued_earlier() -> None:
    running = Running()
    running.mailbox.tell_nowait("data 1")
    running.mailbox.tell_nowait("data 2")
    running.mailbox.tell_control("control")
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.mailbox.ask(Shutdown())
    assert running.actor.handled == ["control", "data 1", "data 2"]


async def test_a_slow_actor_makes_its_senders_wait() -> None:
    running = Running(capacity=2)
    sent: list[int] = []

    async def flood() -> None:
        for value in range(10):
            await running.mailbox.tell(value)
            sent.append(value)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.mailbox.tell(Hold())
        await running.actor.holding.wait()
        task_group.start_soon(flood)
        await settle()
        assert sent == [0, 1]
        running.actor.release.set()
        while len(sent) < 10:
            await checkpoint()
        await running.mailbox.ask(Shutdown())
    assert running.actor.handled == [Hold(), *range(10)]


async def test_shutdown_does_the_work_before_it_and_refuses_what_is_behind_it() -> None:
    running = Running()
    refused: list[int] = []
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.mailbox.tell(Hold())
        await running.actor.holding.wait()
        await running.mailbox.tell("before")
        task_group.start_soon(running.mailbox.ask, Shutdown())
        await settle()
        for value in (1, 2, 3):
            task_group.start_soon(refused_ask, running.mailbox, refused, value)
        await settle()
        assert len(running.mailbox) == 5
        running.actor.release.set()
    assert running.actor.handled == [Hold(), "before"]
    assert sorted(refused) == [1, 2, 3]
    assert running.status is ExitStatus.SUCCESS
    assert running.actor.finalized == [ExitStatus.SUCCESS]


async def test_quit_overtakes_and_refuses_everything_queued() -> None:
    running = Running()
    refused: list[int] = []
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.mailbox.tell(Hold())
        await running.actor.holding.wait()
        task_group.start_soon(refused_ask, running.mailbox, refused, 1)
        await settle()
        task_group.start_soon(running.mailbox.ask_control, Quit())
        await settle()
        running.actor.release.set()
    assert running.actor.handled == [Hold()]
    assert refused == [1]
    assert running.actor.finalized == [ExitStatus.QUIT]
    assert running.status is ExitStatus.QUIT


async def test_shutdown_is_answered_only_when_finalize_is_done() -> None:
    running = Running()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.mailbox.ask(Shutdown())
        assert running.actor.finalized == [ExitStatus.SUCCESS]


async def test_a_failing_finalize_is_the_shutdown_askers_error() -> None:
    class Stubborn(Recorder):
        async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
            await super().finalize(status, context)
            raise CrashError("cannot close")

    running = Running(Stubborn())
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        with pytest.raises(CrashError, match="cannot close"):
            await running.mailbox.ask(Shutdown())
    assert running.status is ExitStatus.FAILURE
    assert running.actor.finalized == [ExitStatus.SUCCESS]


async def test_a_finalize_that_hangs_is_cut_off_and_told_to_the_asker() -> None:
    class Hanging(Recorder):
        finalize_seconds = 0.01

        async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
            await super().finalize(status, context)
            await anyio.sleep_forever()

    running = Running(Hanging())
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        with pytest.raises(ActorEndedError, match=r"finalize .* took longer than 0.01 s"):
            await running.mailbox.ask(Shutdown())
    assert running.status is ExitStatus.FAILURE


async def test_a_recoverable_error_is_the_askers_and_the_actor_goes_on() -> None:
    running = Running()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        with pytest.raises(RefusedError, match="not today") as caught:
            await running.mailbox.ask(Refuse())
        await running.mailbox.tell(Refuse())
        assert await running.mailbox.ask(Echo(1)) == 1
        await running.mailbox.ask(Shutdown())
    frames = [entry.name for entry in caught.traceback]
    assert frames.index("ask") < frames.index("handle")
    assert running.status is ExitStatus.SUCCESS


async def test_any_other_error_is_the_askers_and_ends_the_actor() -> None:
    running = Running()
    refused: list[int] = []
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.mailbox.tell(Hold())
        await running.actor.holding.wait()
        task_group.start_soon(crash, running.mailbox)
        await settle()
        task_group.start_soon(refused_ask, running.mailbox, refused, 1)
        await settle()
        running.actor.release.set()
    assert refused == [1]
    assert running.status is ExitStatus.FAILURE
    assert running.actor.finalized == [ExitStatus.FAILURE]


async def crash(mailbox: Mailbox) -> None:
    with pytest.raises(CrashError, match="broken state"):
        await mailbox.ask(Crash())


@pytest.mark.parametrize("status", list(ExitStatus))
async def test_a_handler_ends_its_actor_by_actor_exit(status: ExitStatus) -> None:
    running = Running()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        with pytest.raises(ActorEndedError, match=rf"ended \({status.value}\) with Exit in hand"):
            await running.mailbox.ask(Exit(status))
    assert running.status is status
    assert running.actor.finalized == [status]
    assert running.mailbox.closed


async def test_actor_exit_is_obeyed_even_if_every_exception_is_recoverable() -> None:
    class Lenient(Recorder):
        recoverable = (Exception,)
        tick_interval = 0.001

        async def tick(self, context: ActorContext) -> None:
            raise ActorExit(ExitStatus.QUIT)

    running = Running(Lenient())
    await running.run()
    assert running.status is ExitStatus.QUIT
    assert running.actor.finalized == [ExitStatus.QUIT]


async def test_a_closed_downstream_ends_the_actor_as_such() -> None:
    class Forwarder(Recorder):
        def __init__(self, downstream: Mailbox) -> None:
            super().__init__()
            self._downstream = downstream

        async def handle(self, message: Any, context: ActorContext) -> Any:
            await self._downstream.tell(message)

    downstream = Mailbox("downstream", 1)
    downstream.close()
    running = Running(Forwarder(downstream))
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        with pytest.raises(MailboxClosedError, match="'downstream'"):
            await running.mailbox.ask(Echo(1))
    assert running.actor.finalized == [ExitStatus.DOWNSTREAM_CLOSED]


async def test_an_actor_that_cannot_initialize_is_finalized_and_refuses_what_is_queued() -> None:
    class Unready(Recorder):
        async def initialize(self, context: ActorContext) -> None:
            await settle()
            raise CrashError("no lock")

    running = Running(Unready())
    refused: list[int] = []
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(refused_ask, running.mailbox, refused, 1)
        task_group.start_soon(running.run)
    assert refused == [1]
    assert running.status is ExitStatus.FAILURE
    assert running.actor.finalized == [ExitStatus.FAILURE]
    assert running.actor.handled == []


async def test_cancelling_the_task_group_finalizes_once_and_fails_the_ask_in_hand() -> None:
    running = Running()
    errors: list[Exception] = []

    async def ask() -> None:
        with pytest.raises(ActorEndedError) as caught:
            await running.mailbox.ask(Hold())
        errors.append(caught.value)

    async with anyio.create_task_group() as askers, anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        askers.start_soon(ask)
        await running.actor.holding.wait()
        task_group.cancel_scope.cancel()
    assert running.actor.finalized == [ExitStatus.KILLED]
    assert running.actor.handled == []
    assert running.mailbox.closed
    assert "with Hold in hand" in str(errors[0])


async def test_a_message_whose_asker_has_gone_is_handled_all_the_same() -> None:
    running = Running()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.mailbox.tell(Hold())
        await running.actor.holding.wait()
        with pytest.raises(AskTimeoutError):
            await running.mailbox.ask(Echo(1), timeout=0.001)
        with anyio.move_on_after(0.001):
            await running.mailbox.ask(Refuse())
        running.actor.release.set()
        assert await running.mailbox.ask(Echo(2)) == 2
        await running.mailbox.ask(Shutdown())
    assert running.actor.handled == [Hold(), Echo(1), Echo(2)]


async def test_an_asker_that_gives_up_does_not_interrupt_the_handler() -> None:
    running = Running()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        with pytest.raises(AskTimeoutError):
            await running.mailbox.ask(Hold(), timeout=0.01)
        await running.actor.holding.wait()
        running.actor.release.set()
        await running.mailbox.ask(Shutdown())
    assert running.actor.handled == [Hold()]


async def test_an_actor_ends_with_success_when_its_senders_are_gone() -> None:
    running = Running()
    async with anyio.create_task_group() as task_group:
        with running.mailbox.open_sender() as sender:
            await sender.tell(1)
            task_group.start_soon(running.run)
            await sender.tell(2)
    assert running.actor.handled == [1, 2]
    assert running.actor.finalized == [ExitStatus.SUCCESS]


class Ticker(Recorder):
    """A recorder that ticks."""

    tick_interval = 0.001


async def test_an_idle_actor_ticks() -> None:
    running = Running(Ticker())
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await running.actor.ticked_thrice.wait()
        await running.mailbox.ask(Shutdown())
    assert running.status is ExitStatus.SUCCESS


async def test_a_flood_of_messages_does_not_starve_the_tick() -> None:
    running = Running(Ticker(), capacity=4)

    async def flood() -> None:
        while running.actor.ticks < 3:
            await running.mailbox.tell("more")

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        await flood()
        await running.mailbox.ask(Shutdown())
    assert running.actor.handled


async def test_ticks_do_not_starve_the_messages() -> None:
    class SlowTicker(Recorder):
        tick_interval = 1e-9

        async def tick(self, context: ActorContext) -> None:
            await super().tick(context)
            await checkpoint()

    running = Running(SlowTicker())
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(running.run)
        assert await running.mailbox.ask(Echo(1), timeout=10) == 1
        await running.mailbox.ask_control(Quit(), timeout=10)


async def test_a_closed_mailbox_ends_the_loop_and_the_ticker_does_not_spin_on_it() -> None:
    running = Running(Ticker())
    running.mailbox.close()
    await running.run()
    assert running.actor.ticks == 0
    assert running.status is ExitStatus.QUIT
    assert running.actor.finalized == [ExitStatus.QUIT]


async def test_a_recoverable_error_of_a_tick_is_survived_and_another_is_not() -> None:
    class Grumbler(Ticker):
        async def tick(self, context: ActorContext) -> None:
            await super().tick(context)
            raise RefusedError("later") if self.ticks < 3 else CrashError("never")

    running = Running(Grumbler())
    await running.run()
    assert running.actor.ticks == 3
    assert running.actor.finalized == [ExitStatus.FAILURE]


async def test_two_actors_share_one_mailbox_and_both_end_before_shutdown_is_answered() -> None:
    mailbox = Mailbox("pool", 1)
    actors = [Recorder(), Recorder()]
    statuses: list[ExitStatus] = []

    async def run(actor: Recorder) -> None:
        statuses.append(await run_actor(actor, mailbox))

    async with anyio.create_task_group() as task_group:
        for actor in actors:
            task_group.start_soon(run, actor)
        await mailbox.tell(Hold())
        await mailbox.tell(Hold())
        for actor in actors:
            await actor.holding.wait()
        task_group.start_soon(release_later, actors[1])
        actors[0].release.set()
        assert await mailbox.ask(Echo(1)) == 1
        await mailbox.ask(Shutdown())
        assert [actor.finalized for actor in actors] == [[ExitStatus.SUCCESS]] * 2
    assert statuses == [ExitStatus.SUCCESS] * 2
    assert actors[0].handled == [Hold(), Echo(1)]
    assert actors[1].handled == [Hold()]


async def release_later(actor: Recorder) -> None:
    for _ in range(50):
        await checkpoint()
    actor.release.set()


async def test_a_pool_goes_on_while_one_member_lives() -> None:
    mailbox = Mailbox("pool", 4)
    actors = [Recorder(), Recorder()]
    async with anyio.create_task_group() as task_group:
        for actor in actors:
            task_group.start_soon(run_actor, actor, mailbox)
        await crash(mailbox)
        assert await mailbox.ask(Echo(1)) == 1
        await mailbox.ask(Shutdown())
    assert sorted(actor.finalized[0].value for actor in actors) == ["failure", "success"]
