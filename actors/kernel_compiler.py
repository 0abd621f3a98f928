"""Compiling the parse kernel once, in a process of its own, while the workers already work.

Compiling takes many seconds on the first start of a version on a machine. Until it is done the
workers read every line by the reference, which gives the same result at a fraction of the speed;
each takes the kernel up before its next job when it is there.

The compiling process outlives whoever started it: a short command would otherwise stop it each
time, and the machine would never have a kernel. It ends by itself, and one at a time compiles.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Literal, TypeAlias

import anyio
import anyio.abc

from dftindexd.actors.child_process import child_command, die_with_parent
from dftindexd.actors.log import get_log
from dftindexd.index.errors import CoreError
from dftindexd.index.trace import kernel_cache

__all__ = ("KernelCompiler", "KernelState", "main")

KernelState: TypeAlias = Literal["ready", "compiling", "failed"]

#: The workers go first.
_NICENESS = 5

_log = get_log(__name__)


class KernelCompiler:
    """Whether the kernel is there, and the process that compiles it if it is not."""

    def __init__(self) -> None:
        self.state: KernelState = "compiling"
        self.reason = ""
        """Why it cannot be compiled; the workers then stay slow."""
        self.ready_at = math.inf
        """Since when it is there; jobs that begin later are read with it."""

    async def run(self) -> None:
        """Have the kernel compiled if need be; return when it is there or cannot be had."""
        try:
            if await anyio.to_thread.run_sync(kernel_cache.is_compiled, os.environ):
                self._be_ready()
                return
        except CoreError as error:
            self._fail(str(error))
            return
        _log.info("kernel_compiling")
        process = await anyio.run_process(
            child_command(__name__, os.getpid()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        if process.returncode:
            lines = process.stderr.decode(errors="replace").strip().splitlines()
            self._fail(lines[-1] if lines else f"the compiler ended with {process.returncode}")
            return
        self._be_ready()
        _log.info("kernel_compiled")

    def _be_ready(self) -> None:
        self.state, self.ready_at = "ready", anyio.current_time()

    def _fail(self, reason: str) -> None:
        self.state, self.reason = "failed", reason
        _log.error("kernel_not_compiled", reason=reason)


def main(parent: int) -> None:
    """Compile the kernel into the cache; the last line of stderr says why that failed.

    *parent* is who waits for it; 0 in the process that does the work and waits for nobody.
    """
    if parent:
        die_with_parent(parent)
        done = subprocess.run(
            child_command(__name__, 0),
            stdin=subprocess.DEVNULL,
            check=False,
            start_new_session=True,
        )
        sys.exit(done.returncode)
    os.nice(_NICENESS)
    try:
        kernel_cache.compile_once(os.environ, os.geteuid())
    except CoreError as error:
        sys.exit(str(error))
