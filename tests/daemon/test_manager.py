"""What the service manager hears: from a real socket, and with actors that hang."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.supervisor import Health, Supervisor
from dftindexd.daemon.listening import inherited_listener
from dftindexd.daemon.manager import all_progress, ask_for_time, feed_watchdog, watchdog_seconds
from dftindexd.protocol.errors import InvalidArgumentError

HEARTBEAT = 0.2


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "20000"}

    def heard(self) -> list[str]:
        """Return what came since the last call."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that wants a sign of life every 20 ms."""
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


class Waiting(Actor):
    """Waits within a message until it is let go; being killed does not help."""

    name = "waiting"

    def __init__(self, let_go: anyio.Event) -> None:
        self._let_go = let_go

    async def handle(self, message: str, context: ActorContext) -> None:
        with anyio.CancelScope(shield=True):
            await self._let_go.wait()


@pytest.mark.anyio
async def test_the_watchdog_hears_nothing_while_an_actor_hangs(manager: Manager) -> None:
    let_go, mailbox = anyio.Event(), Mailbox("waiting", 4)
    supervisor = Supervisor("waiting", lambda: Waiting(let_go), mailbox, heartbeat=HEARTBEAT)

    async def hears(alive: bool) -> None:
        while True:
            manager.heard()
            await anyio.sleep(0.1)  # five times the interval
            if ("WATCHDOG=1" in manager.heard()) == alive:
                return

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            await tasks.start(supervisor.run)
            tasks.start_soon(feed_watchdog, lambda: [supervisor.health], manager.environment)
            await hears(alive=True)
            await mailbox.tell("hang")
            await hears(alive=False)
            assert supervisor.health is Health.UNHEALTHY
            let_go.set()
            await hears(alive=True)
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_more_time_is_asked_for_only_while_there_is_progress(manager: Manager) -> None:
    steps = iter(range(3))
    with anyio.fail_after(60):
        await ask_for_time(
            lambda: next(steps, None), manager.environment, patience=0.05, interval=0.01
        )
    heard = manager.heard()
    assert len(heard) > 3
    assert set(heard) == {"EXTEND_TIMEOUT_USEC=30000000"}


def test_only_an_actor_that_hangs_keeps_the_sign_of_life_back() -> None:
    assert all_progress([])
    assert all_progress(health for health in Health if health is not Health.UNHEALTHY)
    assert not all_progress([Health.HEALTHY, Health.UNHEALTHY])


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
    ],
)
def test_the_manager_says_how_often_it_wants_a_sign_of_life(
    environment: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_seconds(environment, 7) == seconds


@contextmanager
def handed_over(one: socket.socket) -> Iterator[tuple[int, dict[str, str]]]:
    """A descriptor that a manager could have handed over, and what it would say of it."""
    descriptor = os.dup(one.fileno())
    yield descriptor, {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "HOME": "/"}


def test_a_socket_that_was_handed_over_is_taken_and_not_passed_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s"))
        bound.listen()
        with handed_over(bound) as (descriptor, environment):
            os.set_inheritable(descriptor, True)
            listener = inherited_listener(environment, 7, descriptor)
            assert listener is not None
            with listener:
                assert listener.getsockname() == str(tmp_path / "s")
                assert not listener.get_inheritable()
            assert environment == {"HOME": "/"}


def test_what_was_handed_over_to_another_process_is_left_alone() -> None:
    environment = {"LISTEN_PID": "8", "LISTEN_FDS": "1"}
    assert inherited_listener(environment, 7) is None
    assert environment == {}


def test_what_is_no_listening_unix_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as idle, socket.socket(socket.AF_INET) as other:
        idle.bind(str(tmp_path / "s"))
        for one in (idle, other):
            with (
                handed_over(one) as (descriptor, environment),
                pytest.raises(InvalidArgumentError, match="not a listening unix"),
            ):
                inherited_listener(environment, 7, descriptor)
    with pytest.raises(InvalidArgumentError, match="2 sockets"):
        inherited_listener({"LISTEN_PID": "7", "LISTEN_FDS": "2"}, 7)
