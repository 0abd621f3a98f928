"""Processes of our own: how one is started from a module of ours, and how it ends with us."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Final

__all__ = ("child_command", "die_with_parent")

_PR_SET_PDEATHSIG: Final = 1

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


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread of *parent* that started it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)
