"""Publishing beside indexing by dftracer-utils 0.0.12: the same traces, in turn, to the same end.

``python -m benchmarks.publish [--megabytes 725] [--runs 3]`` makes v1 traces of many members as
``benchmarks.compare`` does, has a daemon index them, and then measures in turn 0.0.12's
``ensure_indexed()`` with all tiers, without the start of its interpreter, and the command
``dftindexd-client publish`` with all that it starts. It prints the median seconds and the ratios.
The command runs as it does where it is installed, with its modules compiled to bytecode: it is run
once before, and what the environment says against writing bytecode does not hold.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.compare import make_many_members_v1
from benchmarks.environments import reference_python
from benchmarks.visible import running

_INDEX_ONCE = Path(__file__).with_name("index_once.py")


def indexed(traces: Path, index: Path) -> float:
    """Return the seconds that the reference takes to index *traces*."""
    shutil.rmtree(index, ignore_errors=True)
    index.mkdir()
    python = reference_python("0.0.12")
    command = [python, _INDEX_ONCE, "dftracer-utils", traces, index, "all"]
    done = subprocess.run(
        [str(part) for part in command], check=True, capture_output=True, text=True
    )
    seconds, _ = done.stdout.splitlines()[-1].split()
    return float(seconds)


def published(traces: Path, folder: Path) -> float:
    """Return the seconds that the command takes to publish *traces*, by the daemon in *folder*."""
    shutil.rmtree(traces / ".dftindex", ignore_errors=True)
    command = [sys.executable, "-P", "-m", "dftindexd.client.cli"]
    command += ["--socket", str(folder / "s.sock"), "publish", str(traces)]
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - begin


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=725)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-") as name:
        folder = Path(name)
        traces = folder / "traces" / "run"
        traces.mkdir(parents=True)
        make_many_members_v1(traces, options.megabytes)
        with running(folder) as client:
            client.wait(traces)
            published(traces, folder)
            pairs = [
                (indexed(traces, folder / "index"), published(traces, folder))
                for _ in range(options.runs)
            ]
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(their / our for their, our in pairs)
    print("| 0.0.12 indexes, seconds | publishing, seconds | ratio |")
    print("|---|---|---|")
    ratio = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    print(f"| {theirs:.2f} | {ours:.2f} | {ratio} |")


if __name__ == "__main__":
    main()
