"""Turns for the schedulers, and slots for whoever else has something read."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from dftindexd.actors.admission import Demand
from dftindexd.actors.dispatcher import Dispatcher

pytestmark = pytest.mark.anyio

BIG = Demand(urgent=False, bytes=1 << 30)


class Holder:
    """Somebody who holds a slot until told."""

    def __init__(self, dispatcher: Dispatcher, name: bytes) -> None:
        self._dispatcher = dispatcher
        self._name = name
        self.has = anyio.Event()
        self.give_back = anyio.Event()

    async def run(self) -> None:
        async with self._dispatcher.slot(self._name, BIG):
            self.has.set()
            await self.give_back.wait()


async def test_a_slot_is_waited_for_until_another_is_given_back() -> None:
    dispatcher = Dispatcher(workers=1)
    first, second = Holder(dispatcher, b"first"), Holder(dispatcher, b"second")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        await first.has.wait()
        tasks.start_soon(second.run)
        for _ in range(10):
            await checkpoint()
        assert not second.has.is_set()
        first.give_back.set()
        await second.has.wait()
        second.give_back.set()


async def test_whoever_gives_up_waiting_keeps_no_slot() -> None:
    dispatcher = Dispatcher(workers=1)
    first, second, third = (Holder(dispatcher, name) for name in (b"1", b"2", b"3"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        await first.has.wait()
        with anyio.move_on_after(0):
            await second.run()
        assert not second.has.is_set()
        first.give_back.set()
        tasks.start_soon(third.run)
        await third.has.wait()
        third.give_back.set()
