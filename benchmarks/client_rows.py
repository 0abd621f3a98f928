"""Rows over the socket beside dftracer-utils 0.0.12 reading its own index in the process that asks:
``python -m benchmarks.client_rows``.

Both index the same four traces. A daemon serves ours; the client is another process of its own. The
first answer reads the store, later ones find its rows merged.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.compare import make_many_members_v1
from benchmarks.environments import reference_python
from benchmarks.queries import ask, medians

_CLIENT = """
import sys, time
from dftindexd.client import connect
socket, traces = sys.argv[1:]
questions = {
    "all rows": {},
    "rows of one function": {"query": 'func_name == "read"'},
    "grouped by function and time": {"group_by": ["func_name", "time_range"]},
}
with connect(socket, timeout=None) as client:
    client.sync()
    begin = time.perf_counter()
    rows = client.aggregation(traces).arrow().num_rows
    print(f"the first answer|{time.perf_counter() - begin}|{rows}")
    for name, options in questions.items():
        for _ in range(7):
            begin = time.perf_counter()
            rows = client.aggregation(traces, **options).arrow().num_rows
            print(f"{name}|{time.perf_counter() - begin}|{rows}")
"""


@contextmanager
def serving(traces: Path, state: Path) -> Iterator[str]:
    """Run a daemon that watches *traces*; return its socket."""
    socket = str(state.with_suffix(".sock"))
    command = ["run", "--watch", str(traces), "--state-dir", str(state), "--socket", socket]
    daemon = subprocess.Popen(
        [sys.executable, "-P", "-m", "dftindexd.daemon.cli", *command], stderr=subprocess.DEVNULL
    )
    try:
        wait = "import sys, time, os\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
        subprocess.run([sys.executable, "-c", wait, socket], check=True, timeout=60)
        yield socket
    finally:
        daemon.terminate()
        daemon.wait()


def ask_daemon(socket: str, traces: Path) -> dict[str, tuple[float, int]]:
    """Return for each question the median seconds and the rows of the answer."""
    command = [sys.executable, "-P", "-c", _CLIENT, socket, str(traces)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return medians(output)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=760.0)
    options = parser.parse_args()
    python = str(reference_python("0.0.12"))
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
        traces, theirs, state = Path(name, "traces"), Path(name, "theirs"), Path(name, "state")
        traces.mkdir()
        make_many_members_v1(traces, options.megabytes)
        reference = ask("dftracer-utils", python, traces, str(theirs))
        with serving(traces, state) as socket:
            own = ask_daemon(socket, traces)
    print("| answer | rows, theirs | ms, theirs, in process | rows, ours | ms, ours, socket |")
    print("|---|---|---|---|---|")
    for question, (seconds, count) in own.items():
        their_seconds, their_count = reference.get(question, reference["all rows"])
        print(
            f"| {question} | {their_count} | {their_seconds * 1000:.1f} "
            f"| {count} | {seconds * 1000:.1f} |"
        )


if __name__ == "__main__":
    main()
