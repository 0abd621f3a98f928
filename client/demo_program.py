"""The program that the demo traces: it writes, reads and lists files for some seconds.

Run as ``python -m dftindexd.client.demo_program TRACE_PREFIX DATA_DIRECTORY SECONDS`` with the
environment that :mod:`dftindexd.client.demo` sets. Needs ``dftracer``.
"""

from __future__ import annotations

import os
import sys
import time

from dftracer.python import dft_fn, dftracer

__all__ = ("main",)

_BLOCK = b"x" * 65536
_FILES = 3


def work(directory: str, seconds: float) -> None:
    """Write, read and remove small files in *directory* until *seconds* are over."""
    deadline = time.monotonic() + seconds
    step = 0
    while time.monotonic() < deadline:
        path = os.path.join(directory, f"sample-{step % _FILES}.bin")
        with dft_fn("demo", name="write_sample"), open(path, "wb", buffering=0) as file:
            file.writelines(_BLOCK for _ in range(1 + step % 4))
        with dft_fn("demo", name="read_sample"), open(path, "rb", buffering=0) as file:
            while file.read(32768):
                pass
        os.stat(path)
        os.listdir(directory)
        step += 1
        time.sleep(0.01)


def main() -> None:
    """Trace :func:`work` as the command line says."""
    prefix, directory, seconds = sys.argv[1:]
    os.makedirs(directory, exist_ok=True)
    log = dftracer.initialize_log(logfile=prefix, data_dir=directory, process_id=-1)
    work(directory, float(seconds))
    log.finalize()


if __name__ == "__main__":
    main()
