"""Reading real traces on one core: ``python -m benchmarks.real [--megabytes 40] [FOLDER]``.

The lines of each folder of traces below FOLDER are repeated to about so much text in one plain
trace, which is read several times: the least processor time counts. Without FOLDER it is the real
traces beside the repository; where there are none there is nothing to measure, and no error.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import real_traces, text_of
from dftindexd.index.model import LineCounts, ParseRequest, TierConfig
from dftindexd.index.segment import parse_trace
from dftindexd.index.trace import kernel_cache

_RUNS = 3


def folders(top: Path) -> Iterator[Path]:
    """Give each folder below *top* that has traces, sorted."""
    found = {path.parent for pattern in ("*.pfw", "*.pfw.gz") for path in top.rglob(pattern)}
    yield from sorted(found)


def row(folder: Path, name: str, scratch: Path, megabytes: float) -> str | None:
    """Return the row of one folder, nothing where it has no text."""
    lines = b"".join(text_of(path) for path in sorted(folder.glob("*.pfw*")))
    if not lines:
        return None
    trace = scratch / "repeated.pfw"
    trace.write_bytes(lines * max(1, round(megabytes * 1e6 / len(lines))))
    request = ParseRequest(
        path=os.fsencode(trace), segment_id=1, provisional_id=2, tiers=TierConfig()
    )
    seconds = []
    for _ in range(_RUNS):
        begin = time.process_time()
        parsed = parse_trace(request)
        seconds.append(time.process_time() - begin)
    counts = sum((segment.lines for segment in parsed.segments), LineCounts())
    records = sum(segment.records for segment in parsed.segments)
    best = min(seconds)
    return (
        f"| {name} | {trace.stat().st_size / best / 1e9:.2f} | {records / best / 1e6:.1f} "
        f"| {100 * counts.fast / max(counts.ok, 1):.2f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=real_traces())
    parser.add_argument("--megabytes", type=float, default=40.0)
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"skipped: no real traces in {options.folder}", file=sys.stderr)
        return
    kernel_cache.compile_once(os.environ, os.geteuid())
    print("| trace | GB/s of text | M records/s | % of valid lines on the fast path |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-real-") as scratch:
        for folder in folders(options.folder):
            name = str(folder.relative_to(options.folder))
            found = row(folder, name, Path(scratch), options.megabytes)
            if found:
                print(found, flush=True)


if __name__ == "__main__":
    main()
