"""The process of a worker, and our end of its socket.

It can be started before there is an event loop, and before the engine's own modules are imported:
its interpreter then starts beside ours.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from typing import Final

from dftindexd.actors.child_process import child_command

__all__ = ("FRAME", "WorkerProcess")

#: What precedes a message on the socket: its length.
FRAME: Final = struct.Struct(">I")


class WorkerProcess:
    """A running worker. It is killed when the thread that made this ends."""

    def __init__(self, module: str = "dftindexd.actors.worker") -> None:
        """Start the process: ``main(descriptor, parent)`` of *module*.

        :raises OSError: it cannot be started.
        """
        self.socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    child_command(module, theirs.fileno(), os.getpid()),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except BaseException:
                self.socket.close()
                raise

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait for its end; return its exit status, the negated signal that killed it."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill it, if it still runs, and wait for its end."""
        self.socket.close()
        self._process.kill()
        self._process.wait()
