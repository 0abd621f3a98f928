"""The actor and the messages that the tests of the framework use."""

from __future__ import annotations

from typing import Any, ClassVar

import anyio
from anyio.lowlevel import checkpoint

from dftindexd.actors.actor import Actor, ActorContext, ActorExit
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.protocol.message import Request


class Echo(Request[int], frozen=True):
    """Answered with its value."""

    value: int


class Refuse(Request[int], frozen=True):
    """Answered with a ``RefusedError``, which the actor survives."""


class Crash(Request[int], frozen=True):
    """Answered with a ``CrashError``, which the actor does not survive."""


class Exit(Request[int], frozen=True):
    """Ends the actor by ``ActorExit``."""

    status: ExitStatus


class Hold(Request[int], frozen=True):
    """Answered once the recorder's ``release`` is set."""


class RefusedError(Exception):
    """Leaves the state sound."""


class CrashError(Exception):
    """Ends the actor."""


class Recorder(Actor):
    """Writes down what happens to it."""

    name = "recorder"
    recoverable: ClassVar[tuple[type[Exception], ...]] = (RefusedError,)

    def __init__(self) -> None:
        self.handled: list[object] = []
        self.control_handled: list[object] = []
        self.finalized: list[ExitStatus] = []
        self.generations: list[int] = []
        self.ticks = 0
        self.ticked_thrice = anyio.Event()
        self.holding = anyio.Event()
        self.release = anyio.Event()

    async def initialize(self, context: ActorContext) -> None:
        self.generations.append(context.generation)

    async def handle(self, message: Any, context: ActorContext) -> Any:
        match message:
            case Refuse():
                raise RefusedError("not today")
            case Crash():
                raise CrashError("broken state")
            case Exit(status=status):
                raise ActorExit(status)
            case Hold():
                self.holding.set()
                await self.release.wait()
        self.handled.append(message)
        return message.value if isinstance(message, Echo) else 0

    async def handle_control(self, message: Any, context: ActorContext) -> Any:
        self.control_handled.append(message)
        return await self.handle(message, context)

    async def tick(self, context: ActorContext) -> None:
        self.ticks += 1
        if self.ticks == 3:
            self.ticked_thrice.set()

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        await checkpoint()
        self.finalized.append(status)

    def observe(self) -> dict[str, object]:
        return {"handled": len(self.handled)}
