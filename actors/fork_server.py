"""The fork server: a process that has imported all that a parser worker needs, and forks workers.

A worker of its own interpreter would be ready 0.2 s later, and share none of its memory with the
others. Forking is sound here because this process has one thread, opens no store and runs nothing
but the loop below. It ends with its parent, and its workers end with it.

``worker_process`` is the parent's end and says what is told over which descriptor.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from dftindexd.actors import worker
from dftindexd.actors.child_process import die_with_parent
from dftindexd.actors.worker_process import END, FORK, ORDER

__all__ = ("main",)


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker that has not ended; how it ends is told by ``pipe``."""

    number: int
    pid: int
    handle: int  # becomes readable at its end
    pipe: int


def main(descriptor: int, parent: int, niceness: int) -> None:
    """Take orders from the socket *descriptor* until it closes or the process *parent* dies."""
    die_with_parent(parent)
    os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.has_kernel()  # before the first order comes: now nobody waits for it
    gc.freeze()  # so that collections in the workers leave shared memory shared
    with socket.socket(fileno=descriptor) as orders:
        _Nursery(orders).run()


class _Nursery:
    """The workers, and the loop that makes and buries them."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._workers: dict[int, _Worker] = {}
        self._ready = select.poll()
        self._ready.register(orders.fileno(), select.POLLIN)

    def run(self) -> None:
        """Serve until nobody can give orders any more."""
        while True:
            for descriptor, _ in self._ready.poll():
                if descriptor in self._workers:
                    self._bury(self._workers.pop(descriptor))
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._orders, ORDER.size, 3)
        if not data:
            return False
        order, number = ORDER.unpack(data)
        if order == FORK:
            connection, counts, pipe = descriptors
            self._fork(number, connection, counts, pipe)
        else:
            self._kill(number)
        return True

    def _fork(self, number: int, connection: int, counts: int, pipe: int) -> None:
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # there are too many processes: who closes the pipe without a word says so
            traceback.print_exc()
            for descriptor in (connection, counts, pipe):
                os.close(descriptor)
            return
        if not pid:
            os.close(pipe)
            self._work(server, connection, counts)
        os.close(connection)
        os.close(counts)
        handle = os.pidfd_open(pid)
        self._workers[handle] = _Worker(number, pid, handle, pipe)
        self._ready.register(handle, select.POLLIN)

    def _work(self, server: int, connection: int, counts: int) -> NoReturn:
        """Be a worker: what is left of the server's own work is not this process's."""
        status = 1
        try:
            die_with_parent(server)
            self._orders.close()
            for other in self._workers.values():
                os.close(other.handle)
                os.close(other.pipe)
            worker.serve(connection, counts)
            status = 0
        except Exception:  # noqa: BLE001 - it ends the process, as if it had never been caught
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _kill(self, number: int) -> None:
        for each in self._workers.values():
            if each.number == number:
                os.kill(each.pid, signal.SIGKILL)

    def _bury(self, dead: _Worker) -> None:
        self._ready.unregister(dead.handle)
        _, status = os.waitpid(dead.pid, 0)
        with suppress(BrokenPipeError):  # nobody wants to know any more
            os.write(dead.pipe, END.pack(status))
        os.close(dead.handle)
        os.close(dead.pipe)
