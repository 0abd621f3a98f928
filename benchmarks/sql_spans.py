"""Grouping the calls of one thread in SQL: ``python -m benchmarks.sql_spans [--spans 1000000]``.

A daemon serves a made trace of one thread; another process asks, and its clock is read. The first
answer makes the view from the trace, later ones find it on disk; then nothing may be written.
"""

from __future__ import annotations

import argparse
import gzip
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.client_rows import serving
from benchmarks.queries import medians

#: Functions that calls lie in, each with those that lie in it, by turns.
_OUTER = ("train.step", "checkpoint.save")
_INNER = ("open64", "lseek64", "read", "write", "__fxstat64", "close", "pread64", "fsync")
#: So many calls lie in each outer one, and so many lines are a member, as when the tracer flushes.
_CALLS_INSIDE = 9
_LINES_A_MEMBER = 20_000
_FILES = 64
_BEGIN_US = 1_700_000_000_000_000
_TIMES = 15

_CLIENT = """
import sys, time
from dftindexd.client import connect
socket, traces, how, times = sys.argv[1:]
with connect(socket, timeout=None) as client:
    client.sync()
    begin = time.perf_counter()
    (stream,) = client.sql("SELECT stream_id FROM streams", traces, seconds=3600).to_pylist()
    print(f"the id of the stream, {how}|{time.perf_counter() - begin}|1")
    query = (
        "SELECT name, count(*), sum(duration) "
        f"FROM view_instance('thread_spans', '{stream['stream_id']}') GROUP BY name"
    )
    for _ in range(int(times)):
        begin = time.perf_counter()
        rows = client.sql(query, traces, seconds=3600).arrow().num_rows
        print(f"calls and their time by name, {how}|{time.perf_counter() - begin}|{rows}")
"""


def lines_of_calls(count: int, pid: int = 77) -> Iterator[str]:
    """Yield *count* lines of calls of one thread, in the order in which they ended."""
    # No two threads do the same at the same time.
    time, number = _BEGIN_US + 7919 * pid, 1
    for step in range(0, count, _CALLS_INSIDE + 1):
        begin = time
        for nth in range(min(_CALLS_INSIDE, count - step - 1)):
            name, duration = _INNER[(step + nth) % len(_INNER)], 3 + (step * 7 + nth * pid) % 97
            file, moved = f"{(step + nth * pid) % _FILES:016x}", 500 << (step // 10 % 8)
            yield (
                f'{{"id":{number},"name":"{name}","cat":"POSIX","pid":{pid},"tid":{pid},'
                f'"ts":{time},"dur":{duration},"ph":1,"type":3,"args":{{"hhash":'
                f'"00000000000000aa","fhash":"{file}","ret":{moved},"offset":{moved * nth}}}}}\n'
            )
            number, time = number + 1, time + duration + 2
        yield (
            f'{{"id":{number},"name":"{_OUTER[step // 10 % 2]}","cat":"app","pid":{pid},'
            f'"tid":{pid},"ts":{begin},"dur":{time - begin},"ph":1,"type":3,"args":'
            f'{{"hhash":"00000000000000aa","epoch":{step % 7}}}}}\n'
        )
        number, time = number + 1, time + 5


def write_thread(path: Path, count: int, pid: int = 77) -> None:
    """Write a trace of *count* calls of one thread, in many members."""
    host = (
        f'{{"name":"HH","cat":"dftracer","type":1,"pid":{pid},"tid":{pid},"ph":4,"args":'
        '{"name":"node1","value":"00000000000000aa","hhash":"00000000000000aa"}}\n'
    )
    names = "".join(
        f'{{"name":"FH","cat":"dftracer","type":1,"pid":{pid},"tid":{pid},"ph":4,"args":'
        f'{{"name":"/data/part-{file}","value":"{file:016x}","hhash":"00000000000000aa"}}}}\n'
        for file in range(_FILES)
    )
    lines, part = lines_of_calls(count, pid), host + names
    with path.open("wb") as file:
        while part:
            file.write(gzip.compress(part.encode(), 1))
            part = "".join(line for _, line in zip(range(_LINES_A_MEMBER), lines, strict=False))


def files_below(state: Path) -> dict[str, int]:
    """Return the files of views in a state directory, each with when it was written."""
    files = state.glob("stores/*/views/**/*.*")
    return {str(path): path.stat().st_mtime_ns for path in files}


def ask(socket: str, traces: Path, how: str, times: int) -> dict[str, tuple[float, int]]:
    """Return for each question the median seconds and the rows of the answer."""
    command = [sys.executable, "-P", "-c", _CLIENT, socket, str(traces), how, str(times)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return medians(output)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-traces-") as name:
        traces, state = Path(name, "traces"), Path(name, "state")
        traces.mkdir()
        write_thread(traces / "thread.pfw.gz", options.spans)
        with serving(traces, state) as socket:
            answers = ask(socket, traces, "the first time", 1)
            made = files_below(state)
            answers |= ask(socket, traces, "again", _TIMES)
            if files_below(state) != made:
                raise SystemExit("error: asking again wrote files")
    print("| answer | rows | ms |")
    print("|---|---|---|")
    for question, (seconds, rows) in answers.items():
        print(f"| {question} | {rows} | {seconds * 1000:.1f} |")


if __name__ == "__main__":
    main()
