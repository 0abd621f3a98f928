"""The real daemon as a process, the real command line, and an independent count of events."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from dftindexd.client import Answer, Client, connect
from dftindexd.protocol.errors import DaemonUnreachableError

__all__ = (
    "COMMAND_SECONDS",
    "Daemon",
    "ask",
    "command",
    "counted",
    "events_below",
    "events_in",
    "rows_of",
    "run_to_end",
    "running_daemon",
    "text_of",
    "until",
    "wait_for_exit",
    "wait_until_gone",
)

#: No command of a test takes longer.
COMMAND_SECONDS = 120.0
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.02
_COMPLETE_EVENT = re.compile(rb'"ph": ?("X"|1)[,}]')


@dataclass
class Daemon:
    """A daemon that answers, its process, and a client of it."""

    traces: Path
    state: Path
    socket: Path
    log: Path
    process: subprocess.Popen[bytes]
    client: Client
    expected: set[str] = field(default_factory=set)
    """Texts of errors that the test brings about, so that they may be in the log."""

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one verb of ``dftindexd-client`` against this daemon."""
        return ask(self.socket, *arguments)

    def events(self, path: Path | None = None) -> int:
        """Return how many events the aggregation of *path*, else of all traces, holds."""
        return counted(self.client.aggregation(path or self.traces))

    def listed(self, path: Path | None = None) -> list[dict[str, Any]]:
        """Return the rows of ``list``."""
        rows: list[dict[str, Any]] = self.client.list(path or self.traces).to_pylist()
        return rows

    def waiters(self) -> int:
        """Return how many requests wait for traces to be finished or indexed."""
        return sum(int(str(store["waiters"])) for store in self.client.debug_dump().stores)

    def processes(self) -> list[psutil.Process]:
        """Return the processes that the daemon started, and those that these started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def running(self, module: str) -> list[int]:
        """Return the pids of those of these processes that run *module*."""
        found = []
        for one in self.processes():
            with suppress(psutil.NoSuchProcess):  # it has just ended
                if module in " ".join(one.cmdline()):
                    found.append(one.pid)
        return found

    def workers(self, number: int = 2) -> list[int]:
        """Return the pids of the parser workers, which are forked: *number* of them."""
        found: list[int] = []

        def there() -> bool:
            found[:] = [one.pid for one in self.processes() if one.ppid() != self.process.pid]
            return len(found) == number

        until(there, f"{number} workers")
        return found


def counted(answer: Answer) -> int:
    """Return the sum of the counts of an aggregation."""
    return sum(row["count"] for row in answer.to_pylist())


def command(tool: str, *arguments: str | Path) -> list[str]:
    """Return the command line of ``dftindexd`` (``daemon``) or ``dftindexd-client`` (``client``).

    ``-P``: without the current directory, in which folders have the names of our packages.
    """
    return [sys.executable, "-P", "-m", f"dftindexd.{tool}.cli", *map(str, arguments)]


def run_to_end(
    tool: str, *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with what it prints."""
    return subprocess.run(
        command(tool, *arguments),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env=os.environ | (environment or {}),
    )


def ask(socket: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one verb of ``dftindexd-client`` against the daemon at *socket*."""
    return run_to_end("client", "--socket", socket, *arguments)


def rows_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return the JSON objects that a command printed, one a line; it has to have succeeded."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def running_daemon(
    folder: Path, *options: str, program: Sequence[str] | None = None
) -> Iterator[Daemon]:
    """Run a daemon that watches ``folder/traces``; always end it, and have it end well.

    *program* runs it in place of ``dftindexd``. A test that ended it itself has it left alone. An
    error in its log fails the test.
    """
    traces, state, socket, log = (folder / name for name in ("traces", "state", "s", "log"))
    traces.mkdir(exist_ok=True)
    arguments: Sequence[str | Path] = (
        *("run", "--watch", traces, "--state-dir", state, "--socket", socket),
        *("--workers", "2", *options),
    )
    with log.open("ab") as errors:
        line = [*program, *map(str, arguments)] if program else command("daemon", *arguments)
        process = subprocess.Popen(line, stderr=errors)
    try:
        with _connected(process, socket, log) as client:
            daemon = Daemon(traces, state, socket, log, process, client)
            yield daemon
        if process.poll() is None:
            process.terminate()
            assert wait_for_exit(process) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    surprises = [
        line for line in errors_in(log) if not any(text in line for text in daemon.expected)
    ]
    assert not surprises, "\n".join(surprises)


def errors_in(log: Path) -> list[str]:
    """Return the lines of a daemon's log that no daemon should write."""
    lines = log.read_text(errors="replace").splitlines()
    return [line for line in lines if '"level": "error"' in line or not line.startswith("{")]


def wait_for_exit(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status of a daemon that was asked to end."""
    return process.wait(timeout=_PATIENCE_SECONDS)


def until(condition: Callable[[], bool], what: str) -> None:
    """Ask again and again until *condition* holds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(_POLL_SECONDS)


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until no process of *pids* runs."""
    until(lambda: not any(map(_runs, pids)), f"the end of {pids}")


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _connected(process: subprocess.Popen[bytes], socket: Path, log: Path) -> Client:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            return connect(socket)
        except DaemonUnreachableError:
            assert process.poll() is None, log.read_text()
            time.sleep(_POLL_SECONDS)
    raise AssertionError(f"the daemon does not answer: {log.read_text()}")


def text_of(trace: Path) -> bytes:
    """Return the text of a trace as far as it inflates, member by member."""
    data = trace.read_bytes()
    if trace.suffix != ".gz":
        return data
    text = bytearray()
    while data:
        member = zlib.decompressobj(wbits=31)
        text += member.decompress(data)
        data = member.unused_data
    return bytes(text)


def events_in(trace: Path) -> int:
    """Return how many complete lines of a trace are complete events: a plain count."""
    lines = text_of(trace).split(b"\n")[:-1]
    return sum(_COMPLETE_EVENT.search(line) is not None for line in lines)


def events_below(directory: Path) -> int:
    """Return how many complete events the traces below a directory hold."""
    return sum(map(events_in, [*directory.rglob("*.pfw"), *directory.rglob("*.pfw.gz")]))
