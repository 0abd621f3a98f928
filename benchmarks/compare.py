"""Compare indexing with dftracer-utils 0.0.12 and 0.0.14: the same traces, in turn, cold stores.

``python -m benchmarks.compare [--megabytes 725] [--runs 3] [--only NAME]`` makes its traces with
the generators of dftracer-utils, indexes them with each product in new processes, one after the
other, and prints for each kind of work the median seconds and the ratio of the pairs. Peak memory
is from a run of its own each, since looking at it stops those that run.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import REPOSITORY, reference_python
from benchmarks.memory import PeakMemory

_INDEX_ONCE = Path(__file__).with_name("index_once.py")
#: Megabytes of JSON text that one epoch of the generators' four ranks gives.
_MEGABYTES_PER_EPOCH = 16.6


@dataclass(frozen=True)
class Work:
    """One kind of work: how its traces are made, and which version of the reference reads them."""

    name: str
    version: str
    make: Callable[[Path, float], None]
    tiers: str = "all"


@dataclass(frozen=True)
class Run:
    """One indexing: seconds, and traces ready."""

    seconds: float
    ready: int


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


def make_real(folder: Path, megabytes: float) -> None:
    """One v1 trace of the real tracer, its lines repeated to a tenth of *megabytes*, one member a
    repetition as if the tracer had flushed."""
    source = real_traces() / "v2" / "v210_norm"
    text = b"".join(text_of(path) for path in sorted(source.glob("*.pfw*")))
    lines = b"".join(line for line in text.splitlines(keepends=True) if len(line) > 2)
    member = gzip.compress(lines * max(1, (4 << 20) // len(lines)), 6)
    times = max(1, round(megabytes * 1e5 / (len(lines) * max(1, (4 << 20) // len(lines)))))
    (folder / "real.pfw.gz").write_bytes(gzip.compress(b"[\n") + member * times)


def text_of(path: Path) -> bytes:
    """Return a trace's text in whole lines, nothing of one that is cut off."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError):
            return b""
    return data[: data.rfind(b"\n") + 1]


def real_traces() -> Path:
    """Return the folder of real traces, which are not part of the repository."""
    beside = REPOSITORY.parent / "shared" / "traces"
    return Path(os.environ.get("DFTINDEXD_TEST_TRACES", beside))


WORKS = (
    Work("many members, v1", "0.0.12", make_many_members_v1),
    Work("many members, v2", "0.0.14", make_many_members_v2),
    Work("one member each, v1", "0.0.12", make_single_members),
    Work("many members, v1, tiers 1 and 2", "0.0.12", make_many_members_v1, "two"),
    Work("3,000 small traces, v1", "0.0.12", make_small),
    Work("real v1 trace, repeated", "0.0.12", make_real),
)


@contextmanager
def indexing(
    product: str, python: str, traces: Path, tiers: str
) -> Iterator[subprocess.Popen[str]]:
    """Index *traces* into a new store in a new process, which runs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-") as index_dir:
        yield subprocess.Popen(
            [python, "-P", _INDEX_ONCE, product, traces, index_dir, tiers],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


def index_once(product: str, python: str, traces: Path, tiers: str = "all") -> Run:
    """Index *traces* and wait for it."""
    with indexing(product, python, traces, tiers) as process:
        output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"error: {product} ended with status {process.returncode}")
        seconds, ready = output.split()[-2:]
        return Run(float(seconds), int(ready))


def peak_megabytes(product: str, python: str, traces: Path, tiers: str = "all") -> int:
    """Index *traces* and return the peak of the summed PSS of all processes."""
    with (
        indexing(product, python, traces, tiers) as process,
        PeakMemory(process.pid) as memory,
    ):
        process.communicate()
        return memory.stop() >> 20


def compare(work: Work, megabytes: float, runs: int) -> str:
    """Return one row of the table."""
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
        traces = Path(name)
        work.make(traces, megabytes)
        python = str(reference_python(work.version))
        sides = (("dftracer-utils", python), ("dftindexd", sys.executable))
        pairs = [
            [index_once(product, python, traces, work.tiers) for product, python in sides]
            for _ in range(runs)
        ]
        peaks = [peak_megabytes(product, python, traces, work.tiers) for product, python in sides]
    if any(theirs.ready != ours.ready for theirs, ours in pairs):
        raise SystemExit(f"error: {work.name}: not as many traces ready: {pairs}")
    ratios = [theirs.seconds / ours.seconds for theirs, ours in pairs]
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
        if work.make is make_real and not real_traces().is_dir():
            print(f"skipped: {work.name}: no folder {real_traces()}", file=sys.stderr)
        elif options.only in work.name:
            print(compare(work, options.megabytes, options.runs), flush=True)


if __name__ == "__main__":
    main()
