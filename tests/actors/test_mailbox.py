"""The mailbox alone, without an actor: lanes, order, back-pressure, end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from dftindexd.actors.errors import AskTimeoutError, MailboxClosedError, MailboxFullError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.mailbox import Mailbox
from tests.actors.recorder import Echo, RefusedError

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leaked_tasks")]


async def settle() -> None:
    """Let every other task run until it waits."""
    for _ in range(10):
        await checkpoint()


async def take(mailbox: Mailbox, count: int) -> list[object]:
    return [(await mailbox.receive()).message for _ in range(count)]


async def test_a_capacity_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity of mailbox 'box' is 0"):
        Mailbox("box", 0)


async def test_control_overtakes_data_and_each_lane_keeps_its_order() -> None:
    mailbox = Mailbox("box", 4)
    await mailbox.tell("data 1")
    await mailbox.tell("data 2")
    mailbox.tell_control("control 1")
    mailbox.tell_control("control 2")
    assert len(mailbox) == 4
    assert await take(mailbox, 4) == ["control 1", "control 2", "data 1", "data 2"]


async def test_a_full_mailbox_makes_the_sender_wait_until_a_message_is_taken() -> None:
    mailbox = Mailbox("box", 1)
    await mailbox.tell(1)
    sent: list[int] = []

    async def send() -> None:
        await mailbox.tell(2)
        sent.append(2)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(send)
        await settle()
        assert sent == []
        assert len(mailbox) == mailbox.capacity == 1
        assert await take(mailbox, 1) == [1]
        await settle()
        assert sent == [2]
    assert await take(mailbox, 1) == [2]


async def test_waiting_senders_are_served_in_the_order_in_which_they_came() -> None:
    mailbox = Mailbox("box", 1)
    await mailbox.tell(0)
    async with anyio.create_task_group() as task_group:
        for value in (1, 2, 3):
            task_group.start_soon(mailbox.tell, value)
            await settle()
        assert await take(mailbox, 1) == [0]
        with pytest.raises(MailboxFullError):
            mailbox.tell_nowait("a latecomer does not overtake")
        assert await take(mailbox, 3) == [1, 2, 3]


async def test_a_sender_that_is_cancelled_while_it_waits_has_sent_nothing() -> None:
    mailbox = Mailbox("box", 1)
    await mailbox.tell(1)
    with anyio.move_on_after(0.001) as scope:
        await mailbox.tell(2)
    assert scope.cancelled_caught
    assert await take(mailbox, 1) == [1]
    assert len(mailbox) == 0


async def test_tell_nowait_says_which_mailbox_is_full() -> None:
    mailbox = Mailbox("box", 1)
    mailbox.tell_nowait(1)
    with pytest.raises(MailboxFullError, match="mailbox 'box' is full"):
        mailbox.tell_nowait(2)


async def test_control_goes_into_a_full_mailbox_without_waiting() -> None:
    mailbox = Mailbox("box", 1)
    mailbox.tell_nowait("data")
    mailbox.tell_control("control")
    assert await take(mailbox, 2) == ["control", "data"]


async def test_an_ask_returns_what_the_receiver_answers() -> None:
    mailbox = Mailbox("box", 1)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(answer_next, mailbox, 7)
        assert await mailbox.ask(Echo(7)) == 7
        task_group.start_soon(answer_next, mailbox, 8)
        assert await mailbox.ask_control(Echo(8)) == 8


async def answer_next(mailbox: Mailbox, value: int) -> None:
    (await mailbox.receive()).answer(value)


async def test_an_error_is_raised_at_the_asker_with_the_frames_of_its_origin() -> None:
    mailbox = Mailbox("box", 1)

    def origin_of_the_error() -> None:
        raise RefusedError("no")

    async def refuse_next() -> None:
        envelope = await mailbox.receive()
        try:
            origin_of_the_error()
        except RefusedError as error:
            envelope.fail(error)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(refuse_next)
        with pytest.raises(RefusedError, match="no") as caught:
            await mailbox.ask(Echo(1))
    frames = [entry.name for entry in caught.traceback]
    assert "origin_of_the_error" in frames
    assert frames.index("ask") < frames.index("origin_of_the_error")


@pytest.mark.parametrize("capacity", [1, 2])
async def test_an_ask_that_times_out_names_the_mailbox_and_its_late_reply_is_dropped(
    capacity: int,
) -> None:
    mailbox = Mailbox("box", capacity)
    with pytest.raises(AskTimeoutError, match=r"'box' gave no reply to Echo within 0.05 s"):
        await mailbox.ask(Echo(1), timeout=0.05)
    envelope = await mailbox.receive()
    assert envelope.message == Echo(1)
    assert not envelope.awaited
    envelope.answer(1)


async def test_the_timeout_of_an_ask_counts_while_it_waits_for_room() -> None:
    mailbox = Mailbox("box", 1)
    await mailbox.tell("first")
    with pytest.raises(TimeoutError):
        await mailbox.ask(Echo(1), timeout=0.05)
    assert await take(mailbox, 1) == ["first"]
    assert len(mailbox) == 0


async def test_close_answers_every_queued_and_every_waiting_ask() -> None:
    mailbox = Mailbox("box", 1)
    refused: list[str] = []

    async def expect_refusal(name: str, send: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(MailboxClosedError, match="mailbox 'box' is closed"):
            await send()
        refused.append(name)

    async with anyio.create_task_group() as task_group:
        for name, send in {
            "queued": lambda: mailbox.ask(Echo(1)),
            "waiting ask": lambda: mailbox.ask(Echo(2)),
            "waiting tell": lambda: mailbox.tell(3),
            "control": lambda: mailbox.ask_control(Echo(4)),
        }.items():
            task_group.start_soon(expect_refusal, name, send)
            await settle()
        mailbox.close()
        mailbox.close()
    assert sorted(refused) == ["control", "queued", "waiting ask", "waiting tell"]
    assert mailbox.closed
    assert len(mailbox) == 0


async def test_a_closed_mailbox_refuses_every_way_of_sending() -> None:
    mailbox = Mailbox("box", 1)
    mailbox.close()
    with pytest.raises(MailboxClosedError):
        await mailbox.tell(1)
    with pytest.raises(MailboxClosedError):
        mailbox.tell_nowait(1)
    with pytest.raises(MailboxClosedError):
        mailbox.tell_control(1)
    with pytest.raises(MailboxClosedError):
        await mailbox.ask(Echo(1))
    with pytest.raises(MailboxClosedError):
        await mailbox.ask_control(Echo(1))
    with pytest.raises(MailboxClosedError):
        mailbox.open_sender()
    with pytest.raises(anyio.EndOfStream):
        await mailbox.receive()


async def test_close_wakes_a_waiting_receiver() -> None:
    mailbox = Mailbox("box", 1)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(expect_end, mailbox)
        await settle()
        mailbox.close()


async def expect_end(mailbox: Mailbox) -> None:
    with pytest.raises(anyio.EndOfStream):
        await mailbox.receive()


async def test_a_receiver_that_is_cancelled_when_woken_hands_the_message_to_another() -> None:
    mailbox = Mailbox("box", 2)
    received: list[object] = []

    async def receive(scope: anyio.CancelScope) -> None:
        with scope:
            received.append((await mailbox.receive()).message)

    first, second = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(receive, first)
        await settle()
        task_group.start_soon(receive, second)
        await settle()
        first.cancel()
        mailbox.tell_nowait("kept")
    assert received == ["kept"]


async def test_a_message_admitted_for_a_waiting_sender_wakes_the_next_idle_receiver() -> None:
    mailbox = Mailbox("box", 1)
    received: list[object] = []

    async def receive_one() -> None:
        received.append((await mailbox.receive()).message)

    async with anyio.create_task_group() as task_group:
        for _ in range(3):
            task_group.start_soon(receive_one)
        await settle()
        for value in (1, 2, 3):
            task_group.start_soon(mailbox.tell, value)
    assert sorted(map(str, received)) == ["1", "2", "3"]


async def test_the_mailbox_drains_and_ends_when_the_last_sender_is_closed() -> None:
    mailbox = Mailbox("box", 4)
    with mailbox.open_sender() as sender:
        other = mailbox.open_sender()
        await sender.tell(1)
        other.tell_nowait(2)
        sender.tell_control(0)
        other.close()
        other.close()
        await sender.tell(3)
    with pytest.raises(MailboxClosedError):
        await mailbox.tell("too late")
    assert await take(mailbox, 4) == [0, 1, 2, 3]
    await expect_end(mailbox)
    assert mailbox.exit_status is ExitStatus.SUCCESS


async def test_closing_the_last_sender_wakes_an_idle_receiver() -> None:
    mailbox = Mailbox("box", 1)
    sender = mailbox.open_sender()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(expect_end, mailbox)
        await settle()
        sender.close()


async def test_a_closed_sender_sends_nothing_more() -> None:
    mailbox = Mailbox("box", 1)
    keeps_it_open = mailbox.open_sender()
    sender = mailbox.open_sender()
    sender.close()
    with pytest.raises(MailboxClosedError, match="this sender of mailbox 'box' is closed"):
        await sender.tell(1)
    with pytest.raises(MailboxClosedError):
        await sender.ask(Echo(1))
    with pytest.raises(MailboxClosedError):
        await sender.ask_control(Echo(1))
    assert len(mailbox) == 0
    keeps_it_open.close()


async def test_a_sender_asks_like_its_mailbox() -> None:
    mailbox = Mailbox("box", 1)
    async with anyio.create_task_group() as task_group:
        with mailbox.open_sender() as sender:
            task_group.start_soon(answer_next, mailbox, 1)
            assert await sender.ask(Echo(1), timeout=10) == 1
            task_group.start_soon(answer_next, mailbox, 2)
            assert await sender.ask_control(Echo(2), timeout=10) == 2
