"""The process of a parser worker, and our end of its socket.

It can be started before there is an event loop, and before the engine's own modules are imported:
its interpreter then starts beside ours.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from contextlib import suppress
from typing import Final

from dftindexd.actors.child_process import child_command
from dftindexd.actors.shared_counts import SharedCounts, new_counts

__all__ = ("FRAME", "WorkerProcess")

#: What precedes a message on the socket: its length.
FRAME: Final = struct.Struct(">I")

#: How long the end of a killed process is waited for: one that waits for a dead file server in the
#: kernel ends only when that answers, and nobody is to wait for it.
_KILL_SECONDS: Final = 2.0


class WorkerProcess:
    """A running worker. It is killed when the thread that made this ends."""

    def __init__(self) -> None:
        """Start the process.

        :raises OSError: it cannot be started.
        """
        descriptor = new_counts()
        try:
            self.counts = SharedCounts(descriptor)
            self.socket, theirs = socket.socketpair()
            with theirs:
                shared = (theirs.fileno(), descriptor)
                try:
                    self._process = subprocess.Popen(
                        child_command("dftindexd.actors.worker", *shared, os.getpid()),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        pass_fds=shared,
                    )
                except BaseException:
                    self.socket.close()
                    self.counts.close()
                    raise
        finally:
            os.close(descriptor)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def wait(self) -> int:
        """Wait for its end; return its exit status, the negated signal that killed it."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill it, if it still runs, and wait for its end, but not for ever."""
        self.socket.close()
        self.counts.close()
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_SECONDS)
