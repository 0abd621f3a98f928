"""How long answers take beside dftracer-utils 0.0.12: ``python -m benchmarks.queries``.

Both index the same four traces; then each reads its own index in a new process, every question
several times. The first reading opens the index, later ones find what the process kept.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.compare import make_many_members_v1
from benchmarks.environments import reference_python

_ASK = """
import sys, time
product, traces, index_dir = sys.argv[1:]
if product == "dftindexd":
    from dftindexd.compat import Indexer
else:
    from dftracer.utils import Indexer
import pyarrow as pa
indexer = Indexer(traces, require_aggregation=True, index_dir=index_dir)
indexer.ensure_indexed()
questions = {
    "all rows": {},
    "rows of one function": {"query": 'name == "read"'},
    "grouped by function and time": {"group_by": ["func_name", "time_range"]},
}
for name, options in questions.items():
    for _ in range(5):
        begin = time.perf_counter()
        capsules = indexer.iter_arrow_dfanalyzer_all(**options)["events"]
        rows = sum(pa.record_batch(capsule).num_rows for capsule in capsules)
        print(f"{name}|{time.perf_counter() - begin}|{rows}")
"""


def ask(product: str, python: str, traces: Path, index_dir: str) -> dict[str, tuple[float, int]]:
    """Return for each question the median seconds and the rows of the answer."""
    command = [python, "-c", _ASK, product, str(traces), index_dir]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return medians(output)


def medians(output: str) -> dict[str, tuple[float, int]]:
    """Return for each name of the lines ``name|seconds|rows`` in *output* the median seconds and
    the rows; other lines do not count."""
    seconds: dict[str, list[float]] = {}
    rows: dict[str, int] = {}
    for line in output.splitlines():
        if line.count("|") != 2:
            continue
        name, took, count = line.split("|")
        seconds.setdefault(name, []).append(float(took))
        rows[name] = int(count)
    return {name: (statistics.median(times), rows[name]) for name, times in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=725.0)
    options = parser.parse_args()
    python = str(reference_python("0.0.12"))
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
        traces, theirs, ours = Path(name, "traces"), Path(name, "theirs"), Path(name, "ours")
        traces.mkdir()
        make_many_members_v1(traces, options.megabytes)
        reference = ask("dftracer-utils", python, traces, str(theirs))
        own = ask("dftindexd", sys.executable, traces, str(ours))
    print("| answer | rows, theirs | ms, theirs | rows, ours | ms, ours |")
    print("|---|---|---|---|---|")
    for question, theirs_took in reference.items():
        cells = (f"{rows} | {seconds * 1000:.1f}" for seconds, rows in (theirs_took, own[question]))
        print(f"| {question} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
