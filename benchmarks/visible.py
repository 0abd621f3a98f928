"""From the exit of a traced program to its events in a query, on a local directory.

``python -m benchmarks.visible [--runs 50]`` runs a daemon, then so many programs under the real
tracer one after the other, each with a directory of its own, and asks again and again for that
directory's aggregation until it holds all that the trace announces. Milliseconds are counted from
the program's exit, and from the last change of the trace, which comes a little before it; an answer
counts when it has come back. Needs ``dftracer``.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dftindexd.client.sync_client import Client, connect
from dftindexd.protocol.errors import DaemonUnreachableError

_PATIENCE_SECONDS = 60.0
_PROGRAM_SECONDS = 0.3
#: The first runs load what the daemon and the page cache need.
_WARM_RUNS = 3


class Seen(NamedTuple):
    """How long it took until all was seen, in milliseconds."""

    after_exit: float
    after_write: float


@contextmanager
def running(folder: Path) -> Iterator[Client]:
    """Run a daemon that watches ``folder/traces``."""
    traces, socket = folder / "traces", folder / "s.sock"
    traces.mkdir(exist_ok=True)
    options = ("--watch", traces, "--state-dir", folder / "state", "--socket", socket)
    command = [sys.executable, "-P", "-m", "dftindexd.daemon.cli", "run", *map(str, options)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as daemon:
        try:
            with _connected(str(socket)) as client:
                yield client
        finally:
            daemon.terminate()


def _connected(socket: str) -> Client:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return connect(socket)
        except DaemonUnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def run_once(client: Client, folder: Path, number: int) -> Seen:
    """Run one program and wait for its events."""
    traces = folder / "traces" / f"run-{number}"
    traces.mkdir(exist_ok=True)
    program = [sys.executable, "-P", "-m", "dftindexd.client.demo_program"]
    arguments = (traces / "t", folder / "data", _PROGRAM_SECONDS)
    tracer = {"DFTRACER_ENABLE": "1", "DFTRACER_INC_METADATA": "1"}
    subprocess.run([*program, *map(str, arguments)], check=True, env=os.environ | tracer)
    exited = time.time()
    (trace,) = traces.glob("*.pfw.gz")
    announced = announced_by(trace)
    while True:
        rows = client.aggregation(traces, group_by=["func_name"]).to_pylist()
        seen = time.time()
        if sum(row["count"] for row in rows) == announced:
            break
        if seen - exited > _PATIENCE_SECONDS:
            raise RuntimeError(f"{trace} was never seen whole")
    return Seen(1000 * (seen - exited), 1000 * (seen - trace.stat().st_mtime))


def announced_by(trace: Path) -> int:
    """Return how many events the ``end`` event of a trace announces, itself included."""
    with gzip.open(trace) as lines:
        ends = [json.loads(line) for line in lines if b'"name":"end"' in line]
    return int(ends[-1]["args"]["num_events"]) + 1


def summary(what: str, values: Sequence[float]) -> str:
    """Return a row of the table."""
    p95 = statistics.quantiles(values, n=20, method="inclusive")[-1]
    return f"| {what} | {statistics.median(values):.0f} | {p95:.0f} | {max(values):.0f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="visible-") as name, running(Path(name)) as client:
        seen = [run_once(client, Path(name), number) for number in range(_WARM_RUNS + runs)]
    seen = seen[_WARM_RUNS:]
    print(f"| ms until a query shows all, {runs} runs | p50 | p95 | max |")
    print("|---|---|---|---|")
    print(summary("after the program's exit", [one.after_exit for one in seen]))
    print(summary("after the trace's last change", [one.after_write for one in seen]))


if __name__ == "__main__":
    main()
