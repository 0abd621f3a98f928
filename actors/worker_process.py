"""The processes of parser workers: our end of the fork server that makes them, and of each.

The fork server can be started before there is an event loop, and before the engine's own modules
are imported: its interpreter then starts beside ours. ``fork_server`` is the other end.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from contextlib import ExitStack, suppress
from typing import Final

from dftindexd.actors.child_process import ChildProcess
from dftindexd.actors.shared_counts import SharedCounts, new_counts

__all__ = ("END", "FORK", "FRAME", "HELLO", "KILL", "ORDER", "ForkServer", "WorkerProcess")

#: What precedes a message on a worker's socket: its length.
FRAME: Final = struct.Struct(">I")

#: What a worker says first: the number of its process.
HELLO: Final = struct.Struct(">I")

#: What the fork server is told: an order, and the number of a worker. To fork, it gets three
#: descriptors as well: the worker's end of its socket, the memory to count in how far it is, and
#: the end of a pipe to tell its end by.
ORDER: Final = struct.Struct(">cI")
FORK: Final = b"F"
KILL: Final = b"K"

#: What is told by that pipe: how the process ended, as ``waitpid`` says.
END: Final = struct.Struct(">i")

#: How long the end of a killed process is waited for: one that waits for a dead file server in the
#: kernel ends only when that answers, and nobody is to wait for it.
_KILL_SECONDS: Final = 2.0


class ForkServer:
    """The process that forks workers. It is killed, and they with it, when the thread that started
    it ends."""

    def __init__(self, niceness: int = 0) -> None:
        """Start the process, which gives way to others by *niceness*, as its workers do.

        :raises OSError: it cannot be started.
        """
        self._workers = 0
        self._niceness = niceness
        self._process = self._started()

    def _started(self) -> ChildProcess:
        module = "dftindexd.actors.fork_server"
        return ChildProcess(module, self._niceness, kind=socket.SOCK_SEQPACKET)

    def fork(self) -> WorkerProcess:
        """Order a worker, which may come later: what it is sent waits for it.

        :raises OSError: there are not enough descriptors, or no process can be started.
        """
        if not self._process.is_alive:
            self._process.kill()
            self._process = self._started()
        self._workers += 1
        return WorkerProcess(self._process.socket, self._workers)

    def end(self) -> None:
        """Kill the process, and with it every worker that still runs."""
        self._process.kill()


class WorkerProcess:
    """A worker, running or still to come; made by :meth:`ForkServer.fork`."""

    def __init__(self, orders: socket.socket, number: int) -> None:
        self._orders = orders
        self._number = number
        self._status: int | None = None
        with ExitStack() as ours, ExitStack() as theirs:
            counts = new_counts()
            theirs.callback(os.close, counts)
            self.counts = SharedCounts(counts)
            ours.callback(self.counts.close)
            self.socket, connection = socket.socketpair()
            theirs.enter_context(connection)
            ours.enter_context(self.socket)
            self._end, told = os.pipe()
            theirs.callback(os.close, told)
            ours.callback(os.close, self._end)
            order = ORDER.pack(FORK, number)
            socket.send_fds(orders, [order], [connection.fileno(), counts, told])
            self._ours = ours.pop_all()

    def wait(self) -> int | None:
        """Wait for its end; return its exit status, the negated signal that killed it, ``None`` if
        it could not be forked or the fork server died with it."""
        if self._status is None:
            told = os.read(self._end, END.size)
            self._status = os.waitstatus_to_exitcode(*END.unpack(told)) if told else None
        return self._status

    def kill(self) -> None:
        """Kill it, if it still runs, and wait for its end, but not for ever."""
        with self._ours:
            with suppress(BrokenPipeError, ConnectionResetError):  # it died with the fork server
                self._orders.send(ORDER.pack(KILL, self._number))
            waiting = select.poll()
            waiting.register(self._end, select.POLLIN)
            waiting.poll(1000 * _KILL_SECONDS)
