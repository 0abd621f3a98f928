"""The client's side of ``dftindexd demo``: trace a real program, follow its trace, ask for I/O.

Run as ``python -m dftindexd.client.demo SOCKET TRACES DATA SECONDS``.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from dftindexd.client.sync_client import Client, connect
from dftindexd.protocol.errors import DaemonUnreachableError

__all__ = ("main",)

_POLL_SECONDS = 0.02
_REPORT_SECONDS = 1.0
_PATIENCE_SECONDS = 30.0
_MOST_ROWS = 16
#: A small buffer makes the tracer write often, so that there is something to see while it runs.
_WRITE_BUFFER_BYTES = 16384


def main() -> None:
    """Run the demo as the command line says; the exit status is 0 if the answer was right."""
    socket, traces, data, seconds = sys.argv[1:]
    console = Console()
    with _connect_when_up(socket) as client:
        console.print(f"daemon {client.ping().pid} watches [bold]{traces}[/]")
        program = _start_program(traces, data, seconds)
        console.print(f"a program runs under the tracer, pid {program.pid}, for {seconds} s")
        exited = _follow(client, traces, program, console)
        if program.returncode != 0:
            console.print(f"[red]the traced program ended with status {program.returncode}")
            sys.exit(1)
        row = _wait_until_indexed(client, traces)
        answered = time.monotonic()
        _show_answer(client, traces, console)
    announced = _events_in_file(row["path"])
    console.print(f"indexed {row['events']:,} events, the trace holds {announced:,}")
    console.print(
        f"the answer was there {(answered - exited) * 1000:.0f} ms after the program's exit"
    )
    sys.exit(0 if row["events"] == announced else 1)


def _connect_when_up(socket: str) -> Client:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return connect(socket)
        except DaemonUnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _start_program(traces: str, data: str, seconds: str) -> subprocess.Popen[bytes]:
    tracer = {
        "DFTRACER_ENABLE": "1",
        "DFTRACER_INC_METADATA": "1",
        "DFTRACER_WRITE_BUFFER_SIZE": str(_WRITE_BUFFER_BYTES),
    }
    command = [sys.executable, "-P", "-m", "dftindexd.client.demo_program"]
    return subprocess.Popen(
        [*command, os.path.join(traces, "demo"), data, seconds], env=os.environ | tracer
    )


def _rows(client: Client, traces: str) -> list[dict[str, Any]]:
    return client.list(traces).to_pylist()


def _growing(client: Client, traces: str) -> list[dict[str, Any]]:
    return [row for row in _rows(client, traces) if row["state"] == "growing"]


def _follow(
    client: Client, traces: str, program: subprocess.Popen[bytes], console: Console
) -> float:
    """Report how the trace grows until *program* ends; return the moment of its exit."""
    next_report, found = 0.0, False
    while program.poll() is None:
        now = time.monotonic()
        # Once the tracer has closed its file the trace is no longer growing; the program lives on.
        growing = _growing(client, traces) if now >= next_report else []
        for row in growing:
            if not found:
                console.print(f"found    {os.path.basename(row['path'])}")
                found = True
            console.print(f"growing  {row['events']:7,} events in {decimal(row['bytes'])} on disk")
            next_report = now + _REPORT_SECONDS
        time.sleep(_POLL_SECONDS)
    exited = time.monotonic()
    console.print("finished the program has exited")
    return exited


def _wait_until_indexed(client: Client, traces: str) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for row in _rows(client, traces):
            if row["state"] == "indexed":
                return row
        time.sleep(_POLL_SECONDS)
    raise SystemExit(f"error: the trace in {traces} was not indexed in {_PATIENCE_SECONDS} s")


def _show_answer(client: Client, traces: str, console: Console) -> None:
    answer = client.aggregation(traces, query='cat == "posix"', group_by=["func_name", "file_name"])
    rows = sorted(answer.to_pylist(), key=lambda row: -row["time"])
    table = Table(title=f"I/O by function and file, generation {answer.generation}")
    for column in ("function", "file"):
        table.add_column(column)
    for column in ("calls", "bytes", "time"):
        table.add_column(column, justify="right")
    for row in rows[:_MOST_ROWS]:
        table.add_row(
            row["func_name"],
            os.path.basename(row["file_name"] or ""),
            f"{row['count']:,}",
            "" if row["size"] is None else decimal(row["size"]),
            f"{row['time'] * 1000:.2f} ms",
        )
    console.print("indexed")
    console.print(table)


def _events_in_file(path: str) -> int:
    with gzip.open(path, "rb") as lines:
        return sum(b'"ph":1,' in line or b'"ph":1}' in line for line in lines)


if __name__ == "__main__":
    main()
