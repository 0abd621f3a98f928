"""How time and memory grow with the size of a trace: ``python -m benchmarks.growth``.

Each size is four traces of many members; each is indexed by a new process into a new store. Text is
what ``--megabytes`` counts; memory is the peak of the summed PSS of all processes, in a run of its
own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.compare import index_once, make_many_members_v2, peak_megabytes


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, action="append")
    options = parser.parse_args()
    print("| text, MB | seconds | GB/s | peak MB |")
    print("|---|---|---|---|")
    for megabytes in options.megabytes or (100, 400, 1000, 4000):
        with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
            traces = Path(name)
            make_many_members_v2(traces, megabytes)
            run = index_once("dftindexd", sys.executable, traces)
            peak = peak_megabytes("dftindexd", sys.executable, traces)
        print(
            f"| {megabytes:.0f} | {run.seconds:.2f} | {megabytes / 1000 / run.seconds:.2f} "
            f"| {peak} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
