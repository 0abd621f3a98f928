"""The process of a parser worker, and our end of its socket.

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

    def __init__(self, niceness: int = 0) -> None:
        """Start the process, which gives way to others by *niceness*.

        :raises OSError: it cannot be started.
        """
        self.socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    child_command(
                        "dftindexd.actors.worker", theirs.fileno(), os.getpid(), niceness
                    ),
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

    def wait(self) -> int:
        """Wait for its end; return its exit status, the negated signal that killed it."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill it, if it still runs, and wait for its end."""
        self.socket.close()
        self._process.kill()
        self._process.wait()
