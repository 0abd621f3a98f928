"""Processes of our own: how one is started from a module of ours, and how it ends with us."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Final

__all__ = ("ChildProcess", "child_command", "die_with_parent")

_PR_SET_PDEATHSIG: Final = 1

#: Numpy's linear algebra, which none of our processes uses, else starts a thread a processor when
#: it is imported; their spinning doubles what the import costs, and threads do not survive a fork.
_ENVIRONMENT: Final = {"OPENBLAS_NUM_THREADS": "1"}

#: Run by the new interpreter before anything else. The parent's import path is handed over, since
#: the child must find the package wherever the parent found it, and the parent's own ``__main__``
#: is never run.
_BOOTSTRAP: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; "
    "import_module(sys.argv[2]).main(*map(int, sys.argv[3:]))"
)


def child_command(module: str, *arguments: int) -> list[str]:
    """Return the command line of a process that calls ``main(*arguments)`` of *module*."""
    path = json.dumps(sys.path)
    return [sys.executable, "-P", "-c", _BOOTSTRAP, path, module, *map(str, arguments)]


class ChildProcess:
    """A running process and our end of the socket that it inherited. It is killed when the thread
    that made this ends."""

    def __init__(
        self, module: str, *arguments: int, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> None:
        """Start the process: ``main(descriptor, parent, *arguments)`` of *module*.

        :raises OSError: it cannot be started.
        """
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, kind)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    child_command(module, theirs.fileno(), os.getpid(), *arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=os.environ | _ENVIRONMENT,
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


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread of *parent* that started it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)
