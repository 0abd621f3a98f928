"""Very many small traces at once, and a start where nothing has changed.

``python -m benchmarks.burst [--traces 20000]`` runs a daemon, writes so many finished traces of
three events into nested directories, and waits for ``sync``; then it ends the daemon and starts
another. Seconds of the first row are from the last write to the end of ``sync``, those of the
others from the start of the process. Processor time and memory (PSS) are those of the daemon's own
process.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.visible import running
from dftindexd.client.sync_client import Client

_EVENT = (
    '{{"id":{id},"name":"read","cat":"POSIX","pid":{pid},"tid":{pid},"ts":{ts},"dur":5,"ph":"X",'
    '"args":{{"hhash":"00000000000000aa","fhash":"00000000000000bb","ret":4096}}}}\n'
)
_EVENTS = 3
_PATIENCE_SECONDS = 600.0


class Life(NamedTuple):
    """A daemon whose root is *folder*, since when (``perf_counter``), and a client of it."""

    client: Client
    folder: Path
    begun: float

    def row(self, what: str, begun: float) -> str:
        """Return a row of the table for what was done since *begun*."""
        seconds = time.perf_counter() - begun
        process = psutil.Process(self.client.ping().pid)
        times, memory = process.cpu_times(), process.memory_full_info().pss
        return f"| {what} | {seconds:.2f} | {times.user + times.system:.2f} | {memory / 1e6:.0f} |"

    def synced(self, traces: int) -> int:
        """Wait until all *traces* are indexed, and return the generation of their store.

        :raises RuntimeError: some are not.
        """
        self.client.sync(self.folder, timeout=_PATIENCE_SECONDS)
        (root,) = self.client.status().roots
        if (root.indexed, root.events) != (traces, traces * _EVENTS):
            raise RuntimeError(f"{root.indexed} of {traces} traces are indexed")
        return root.generation


@contextmanager
def life(folder: Path) -> Iterator[Life]:
    """Run a daemon that watches ``folder/traces``."""
    begun = time.perf_counter()
    with running(folder) as client:
        yield Life(client, folder / "traces", begun)


def make_traces(folder: Path, number: int) -> None:
    """Write the burst: one trace a directory, three directories deep."""
    for pid in range(number):
        place = folder / f"run{pid % 20}" / f"node{pid // 400}" / f"rank{pid}"
        place.mkdir(parents=True)
        lines = (_EVENT.format(id=one, pid=pid, ts=10 * one) for one in range(_EVENTS))
        (place / "t.pfw").write_text(f"[\n{''.join(lines)}]\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--traces", type=int, default=20_000)
    number = parser.parse_args().traces
    print(f"| {number:,} traces | s | processor time, s | MB |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="burst-") as name:
        folder = Path(os.path.realpath(name))
        with life(folder) as first:
            make_traces(first.folder, number)
            written = time.perf_counter()
            generation = first.synced(number)
            print(first.row("all are indexed", written), flush=True)
        with life(folder) as second:
            print(second.row("a start: it answers", second.begun), flush=True)
            unchanged = second.synced(number) == generation
            print(second.row("all was looked at", second.begun), flush=True)
    if not unchanged:
        raise RuntimeError("traces that did not change were parsed again")


if __name__ == "__main__":
    main()
