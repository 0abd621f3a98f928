"""Measure reading: text and records a second of processor time, one process, warm, all tiers.

It is the least of some runs, so that other work on the machine counts little.

    python -m benchmarks.kernel [--repeat N] [--stages] [--generate MB] TRACE...

``--stages`` also measures inflating alone and cutting into lines alone. ``--generate`` makes traces
of about so many megabytes of text with ``dftracer_gen_fake_trace`` (dftracer-utils 0.0.14).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np

from dftindexd.index.model import AggregationTier, BadLine, ParseRequest, TierConfig
from dftindexd.index.segment import parse_trace
from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace.lines import LineAssembler, Lines
from dftindexd.index.trace.members import plain_stretches, settled_members
from dftindexd.index.trace.trace_file import open_trace

__all__ = ("main",)

#: Text that the generator makes of one process and epoch of 1,000 steps.
_MB_OF_EPOCH = 4.2
_COPIED_BYTES = 512 << 20


class _Nothing:
    """Takes lines and does nothing with them."""

    def add_lines(self, lines: Lines) -> int:
        """Drop them, uncounted."""
        return 0

    def add_oversized(self, bad: BadLine, uc_end: int) -> None:
        """Drop it."""


def _inflate(path: bytes, sink: LineAssembler | None = None) -> int:
    size = 0
    with open_trace(path) as file:
        events = (
            settled_members(file, 0, None) if file.is_gzip() else plain_stretches(file, 0, 32 << 20)
        )
        for event in events:
            if isinstance(event, bytes):
                size += len(event)
                if sink:
                    sink.feed(event)
    return size


def _cut(path: bytes) -> int:
    return _inflate(path, LineAssembler(_Nothing(), 0, 0))


def _parse(path: bytes, *, use_kernel: bool = True) -> tuple[int, int, int, int]:
    tiers = TierConfig(aggregation=AggregationTier())
    request = ParseRequest(path=path, segment_id=1, provisional_id=2, tiers=tiers)
    segments = parse_trace(request, use_kernel=use_kernel).segments
    return (
        sum(segment.uc_end - segment.uc_begin for segment in segments),
        sum(segment.records for segment in segments),
        sum(segment.lines.ok for segment in segments),
        sum(segment.lines.fast for segment in segments),
    )


def _best(repeat: int, work: Callable[[bytes], object], paths: Sequence[bytes]) -> float:
    """Return the least processor seconds of *repeat* runs over all *paths*."""
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        for path in paths:
            work(path)
        times.append(time.process_time() - begin)
    return min(times)


def _memory_bandwidth(repeat: int) -> float:
    """Return how fast one core copies what no cache holds, in bytes a second."""
    source = np.ones(_COPIED_BYTES, np.uint8)
    target = np.ones_like(source)
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        np.copyto(target, source)
        times.append(time.process_time() - begin)
    return _COPIED_BYTES / min(times)


def _measure(paths: Sequence[bytes], repeat: int, *, stages: bool) -> None:
    for path in paths:  # warm: compiled code, page cache
        _parse(path)
    totals = [sum(column) for column in zip(*(_parse(path) for path in paths), strict=True)]
    text, records, ok, fast = totals
    print(f"{len(paths)} traces, {text / 1e6:.1f} MB of text, {records} records")
    print(f"fast path: {100 * fast / max(ok, 1):.3f} % of {ok} valid lines")
    measured: list[tuple[str, Callable[[bytes], object]]] = [("all tiers", _parse)]
    if stages:
        print(f"memory, copied   {_memory_bandwidth(repeat) / 1e9:22.3f} GB/s")
        measured = [("inflate", _inflate), ("inflate and cut", _cut), *measured]
    for name, work in measured:
        seconds = _best(repeat, work, paths)
        print(
            f"{name:16} {seconds * 1000:9.1f} ms  {text / seconds / 1e9:6.3f} GB/s"
            f"  {records / seconds / 1e6:7.3f} M records/s"
            f"  {seconds / len(paths) * 1e6:9.0f} us a trace"
        )


def _generate(folder: str, megabytes: float) -> None:
    epochs = max(round(megabytes / _MB_OF_EPOCH / 4), 1)
    generator = os.path.join(os.path.dirname(sys.executable), "dftracer_gen_fake_trace")
    command = [generator, "-o", folder, "-p", "4", "-H", "2", "-e", str(epochs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description="measure reading traces")
    parser.add_argument("traces", nargs="*", help="traces, or folders of them")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--generate", type=float, metavar="MB")
    given = parser.parse_args()
    kernel_cache.compile_once(os.environ, os.geteuid())
    with tempfile.TemporaryDirectory() as folder:
        roots = list(given.traces)
        if given.generate:
            _generate(folder, given.generate)
            roots.append(folder)
        paths = sorted(path for root in roots for path in _traces(root))
        if not paths:
            parser.error("no traces: name some, or use --generate")
        _measure(paths, given.repeat, stages=given.stages)


def _traces(root: str) -> list[bytes]:
    if os.path.isfile(root):
        return [os.fsencode(root)]
    found = (os.path.join(at, name) for at, _, names in os.walk(root) for name in names)
    return [os.fsencode(path) for path in found if path.endswith((".pfw", ".pfw.gz"))]


if __name__ == "__main__":
    main()
