"""A program for the tracer. Run as ``traced_program.py MODE PREFIX DATA SECONDS``.

MODE ``finalize`` ends in order, ``forget`` without telling the tracer, ``fork`` and ``spawn`` have
two children that work as well. The work ends early where a file ``PREFIX.enough`` comes to be. It
needs nothing of ours.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from typing import Any

from dftracer.python import dftracer

_BLOCK = b"x" * 4096
_CHILDREN = 2


def begin(prefix: str, data: str) -> Any:
    """Start tracing into a file named after *prefix*; *data* is the directory to trace."""
    return dftracer.initialize_log(logfile=prefix, data_dir=data, process_id=-1)


def work(prefix: str, data: str, seconds: float) -> None:
    """Write and read files in *data* until *seconds* are over, or whoever waits has seen enough."""
    deadline = time.monotonic() + seconds
    step = 0
    while time.monotonic() < deadline and not os.path.exists(f"{prefix}.enough"):
        path = os.path.join(data, f"{os.getpid()}-{step % 4}.bin")
        with open(path, "wb", buffering=0) as file:
            file.writelines(_BLOCK for _ in range(8))
        with open(path, "rb", buffering=0) as file:
            while file.read(1024):
                pass
        step += 1
        time.sleep(0.005)


def spawned(prefix: str, data: str, seconds: float) -> None:
    """Be a child that has to start tracing by itself."""
    log = begin(prefix, data)
    work(prefix, data, seconds)
    log.finalize()


def run_children(mode: str, prefix: str, data: str, seconds: float) -> None:
    """Have two children work, and wait for them."""
    context: Any = multiprocessing.get_context(mode)
    target, arguments = work if mode == "fork" else spawned, (prefix, data, seconds)
    children = [context.Process(target=target, args=arguments) for _ in range(_CHILDREN)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        if child.exitcode != 0:
            sys.exit(f"a child ended with status {child.exitcode}")


def main() -> None:
    """Do as the command line says."""
    mode, prefix, data, seconds = sys.argv[1:]
    os.makedirs(data, exist_ok=True)
    log = begin(prefix, data)
    if mode in ("fork", "spawn"):
        run_children(mode, prefix, data, float(seconds))
    work(prefix, data, float(seconds))
    if mode != "forget":
        log.finalize()


if __name__ == "__main__":
    main()
