"""``dftindexd demo``: a daemon of its own in a temporary directory, and the client's side of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile

__all__ = ("run_demo",)

_STOP_SECONDS = 60.0


def run_demo(seconds: float) -> int:
    """Start a daemon, have the client's demo trace a program for *seconds*; return its status."""
    if importlib.util.find_spec("dftracer") is None:
        sys.stderr.write("error: the demo needs the tracer; run: pip install dftracer\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="dftindexd-demo-") as folder:
        traces, socket = os.path.join(folder, "traces"), os.path.join(folder, "s.sock")
        os.mkdir(traces)
        with open(os.path.join(folder, "daemon.log"), "w+b") as log:
            daemon = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "dftindexd.daemon.cli", "run"),
                    *("--watch", traces, "--state-dir", os.path.join(folder, "state")),
                    *("--socket", socket),
                ],
                stderr=log,
            )
            try:
                status = subprocess.run(
                    [
                        *(sys.executable, "-P", "-m", "dftindexd.client.demo"),
                        *(socket, traces, os.path.join(folder, "data"), str(seconds)),
                    ],
                    check=False,
                ).returncode
            finally:
                daemon.terminate()
                daemon.wait(_STOP_SECONDS)
            if status != 0:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
        return status
