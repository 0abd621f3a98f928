"""Compare indexing with dftracer-utils 0.0.12 and 0.0.14: the same traces, in turn, cold stores.

``python -m benchmarks.compare [--megabytes 725] [--runs 3] [--only NAME]`` makes its traces with
the generators of dftracer-utils, indexes them with each product in new processes, one after the
other, and prints for each kind of work the median seconds and the ratio of the pairs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.environments import reference_python

_INDEX_ONCE = Path(__file__).with_name("index_once.py")
#: Megabytes of JSON text that one epoch of the generators' four ranks gives.
_MEGABYTES_PER_EPOCH = 16.6
_MEMORY_SECONDS = 0.05


@dataclass(frozen=True)
class Work:
    """One kind of work: how its traces are made, and which version of the reference reads them."""

    name: str
    version: str
    make: Callable[[Path, float], None]


@dataclass(frozen=True)
class Run:
    """One indexing: seconds, traces ready, and the peak of the summed PSS in bytes."""

    seconds: float
    ready: int
    peak_bytes: int


def generate(version: str, folder: Path, *options: str) -> None:
    """Have the generator of *version* write traces into *folder*."""
    program = reference_python(version).parent / "dftracer_gen_fake_trace"
    command = [str(program), "--output-dir", str(folder), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(folder / ".dftindex", ignore_errors=True)


def four_ranks(megabytes: float) -> list[str]:
    """Return the generator's options for four traces of *megabytes* of text in all."""
    epochs = max(1, round(megabytes / _MEGABYTES_PER_EPOCH))
    return ["-p", "4", "-H", "2", "-e", str(epochs), "-s", "1000"]


def make_many_members_v2(folder: Path, megabytes: float) -> None:
    """Four v2 traces of many members, as 0.0.14 writes them."""
    generate("0.0.14", folder, *four_ranks(megabytes))


def make_single_members(folder: Path, megabytes: float) -> None:
    """Four v1 traces of one member each, as 0.0.12 writes them."""
    generate("0.0.12", folder, *four_ranks(megabytes))


def make_many_members_v1(folder: Path, megabytes: float) -> None:
    """Four v1 traces of many members: 0.0.12's, compressed by its ``dftracer_pgzip``."""
    make_single_members(folder, megabytes)
    for trace in folder.glob("*.gz"):
        subprocess.run(["gunzip", trace], check=True)
    program = reference_python("0.0.12").parent / "dftracer_pgzip"
    subprocess.run([program, "--directory", folder], check=True, stdout=subprocess.DEVNULL)


def make_small(folder: Path, _megabytes: float) -> None:
    """3,000 small v1 traces, whatever size was asked for."""
    generate("0.0.12", folder, "-p", "3000", "-H", "8", "-e", "1", "-s", "3")


WORKS = (
    Work("many members, v1", "0.0.12", make_many_members_v1),
    Work("many members, v2", "0.0.14", make_many_members_v2),
    Work("one member each, v1", "0.0.12", make_single_members),
    Work("3,000 small traces, v1", "0.0.12", make_small),
)


class _PeakMemory:
    """Samples the PSS of a process and its descendants and keeps the largest sum."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(_MEMORY_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._sum())

    def _sum(self) -> int:
        total = 0
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        for process in family:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        return total

    def stop(self) -> int:
        """End sampling and return the peak."""
        self._ended.set()
        self._thread.join()
        return self.peak_bytes


def index_once(product: str, python: str, traces: Path) -> Run:
    """Index *traces* into a new store in a new process."""
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-") as index_dir:
        process = subprocess.Popen(
            [python, "-P", _INDEX_ONCE, product, traces, index_dir],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        memory = _PeakMemory(process.pid)
        output, _ = process.communicate()
        peak = memory.stop()
        if process.returncode:
            raise SystemExit(f"error: {product} ended with status {process.returncode}")
        seconds, ready = output.split()[-2:]
        return Run(float(seconds), int(ready), peak)


def compare(work: Work, megabytes: float, runs: int) -> str:
    """Return one row of the table."""
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
        traces = Path(name)
        work.make(traces, megabytes)
        pairs = [
            (
                index_once("dftracer-utils", str(reference_python(work.version)), traces),
                index_once("dftindexd", sys.executable, traces),
            )
            for _ in range(runs)
        ]
    if any(theirs.ready != ours.ready for theirs, ours in pairs):
        raise SystemExit(f"error: {work.name}: not as many traces ready: {pairs}")
    ratios = [theirs.seconds / ours.seconds for theirs, ours in pairs]
    peaks = [max(run.peak_bytes for run in side) >> 20 for side in zip(*pairs, strict=True)]
    return (
        f"| {work.name} | {work.version} | {statistics.median(t.seconds for t, _ in pairs):.2f} "
        f"| {statistics.median(o.seconds for _, o in pairs):.2f} "
        f"| {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) "
        f"| {peaks[0]} | {peaks[1]} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=725.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="only the work whose name has this in it")
    options = parser.parse_args()
    print("| work | reference | its seconds | our seconds | ratio | its peak MB | our peak MB |")
    print("|---|---|---|---|---|---|---|")
    for work in WORKS:
        if options.only in work.name:
            print(compare(work, options.megabytes, options.runs), flush=True)


if __name__ == "__main__":
    main()
