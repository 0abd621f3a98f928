"""Run every benchmark and write what it printed into ``docs/performance.md``.

``python -m benchmarks.report [NAME ...]`` runs all, or those named. The page has a place for each,
between ``<!-- bench: NAME -->`` and ``<!-- /bench -->``; people write what stands around it.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime

from benchmarks.environments import REPOSITORY

BENCHMARKS = {
    "compare": ("compare",),
    "kernel": ("kernel", "--generate", "250", "--stages"),
    "real": ("real",),
    "growth": ("growth",),
    "job_memory": ("job_memory",),
    "queries": ("queries",),
    "client_rows": ("client_rows",),
    "indices": ("indices",),
    "one_more": ("one_more",),
    "random_read": ("random_read",),
    "loop_lag": ("loop_lag",),
    "visible": ("visible",),
    "burst": ("burst",),
    "sql_spans": ("sql_spans",),
    "questions": ("questions",),
    "publish": ("publish",),
}
PAGE = REPOSITORY / "docs" / "performance.md"


def replaced(page: str, name: str, block: str) -> str:
    """Return *page* with the place of benchmark *name* filled with *block*.

    :raises ValueError: the page has no such place.
    """
    place = re.compile(rf"(<!-- bench: {re.escape(name)} -->\n).*?(<!-- /bench -->)", re.DOTALL)
    if not place.search(page):
        raise ValueError(f"{PAGE.name} has no place for {name}")
    return place.sub(lambda found: found[1] + block + found[2], page, count=1)


def run(name: str) -> str:
    """Run a benchmark, show what it prints, and return that as a block of the page."""
    module, *options = BENCHMARKS[name]
    command = ["-m", f"benchmarks.{module}", *options]
    print(f"== python {' '.join(command)}", flush=True)
    lines = []
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise SystemExit(f"error: {name} ended with status {process.returncode}")
    output = "".join(lines)
    output = output or "Not measured.\n"
    table = output if output.lstrip().startswith("|") else f"```\n{output}```\n"
    day = datetime.now(UTC).date().isoformat()
    processors = len(os.sched_getaffinity(0))
    where = f"{day}, CPython {platform.python_version()}, {processors} processors"
    return f"\n`python {' '.join(command)}` ({where}):\n\n{table}\n"


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="all, if none is given")
    names = parser.parse_args().names or list(BENCHMARKS)
    for name in names:
        block = run(name)
        PAGE.write_text(replaced(PAGE.read_text(), name, block))


if __name__ == "__main__":
    main()
