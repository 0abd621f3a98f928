"""Cycles of a daemon that works on a changing directory, is killed, and is judged.

One process is ours: it changes the directory, asks the daemon, and keeps the oracle. The daemon and
its workers are others, and are killed at random moments, also while they start.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.compute as pc

from dftindexd.client import Client, connect
from dftindexd.index.failpoints import VARIABLE
from dftindexd.protocol.errors import ConnectionLostError, DaemonUnreachableError, DftIndexError
from tests.crash.oracle import Oracle, ViolationError
from tests.crash.workload import Content, Totals, Workload
from tests.end_to_end.running import command

__all__ = ("BROKEN_DAEMON", "Harness", "Report")

#: A daemon with a store that forgets; its first argument says how.
BROKEN_DAEMON = Path(__file__).with_name("broken_daemon.py")

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.02
_LONGEST_LIFE_SECONDS = 2.0


@dataclass
class Report:
    """How often what was killed, and what was said before."""

    daemons: int = 0
    workers: int = 0
    both: int = 0
    starting: int = 0
    acknowledgements: int = 0
    changes: int = 0
    compactions: int = 0
    errors: int = 0


class Harness:
    """Runs cycles in *folder* with everything random taken from *seed*."""

    def __init__(self, folder: Path, seed: int, *, daemon: Sequence[str] = ()) -> None:
        self._folder = folder
        self._traces, self._state = folder / "traces", folder / "state"
        self._socket, self._log = folder / "s", folder / "log"
        self._traces.mkdir(parents=True)
        self._daemon = [*(daemon or command("daemon")), "run", "--watch", str(self._traces)]
        self._daemon += ["--state-dir", str(self._state), "--socket", str(self._socket)]
        self._daemon += ["--workers", "2", "--settle", "0.2"]
        self._random = random.Random(seed)
        self.report = Report()
        self._oracle = Oracle(folder / "oracle")
        self._workload = Workload(
            self._traces, random.Random(seed + 1), before=self._oracle.announce
        )
        self._failpoints = ""
        self._broken: BaseException | None = None

    def run(self, cycles: int, failpoints: Sequence[str] = ()) -> Report:
        """Run *cycles*, and one for each of *failpoints* with that in force, then compare what a
        last daemon answers with the disk.

        :raises ViolationError: the store lost, invented or tore something.
        """
        try:
            for _ in range(cycles):
                self._cycle()
            for self._failpoints in failpoints:
                self._cycle()
            self._failpoints = ""
            self._compare_at_the_end()
        finally:
            self._oracle.close()
        self.report.acknowledgements = self._oracle.acknowledgements
        return self.report

    def _cycle(self) -> None:
        process = self._spawn()
        try:
            if not self._failpoints and self._random.random() < 0.2:
                self.report.starting += 1
                time.sleep(self._random.random() * _LONGEST_LIFE_SECONDS)
            else:
                self._work_until_killed(process)
        finally:
            _kill([process.pid])
            process.wait()
        self._judge()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as errors:
            return subprocess.Popen(
                self._daemon, stderr=errors, env=os.environ | {VARIABLE: self._failpoints}
            )

    def _work_until_killed(self, process: subprocess.Popen[bytes]) -> None:
        client = self._connected(process)
        if client is None:
            return
        with client:
            driver = threading.Thread(target=self._drive, args=(client,))
            driver.start()
            self._let_live(process)
            workers = _descendants_of(process.pid)
            victim = self._random.choice(("daemon", "daemon", "worker", "both"))
            if victim == "worker" and workers:
                self.report.workers += 1
                _kill([self._random.choice(workers)])
                time.sleep(self._random.random() * _LONGEST_LIFE_SECONDS)
                _kill([process.pid])
            elif victim == "both":
                self.report.both += 1
                _kill([process.pid, *workers])
            else:
                self.report.daemons += 1
                _kill([process.pid])
            driver.join(_PATIENCE_SECONDS)
            if driver.is_alive():
                raise ViolationError("a request outlived its daemon")
        if self._broken is not None:
            raise self._broken

    def _let_live(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a random time; for a failpoint, long enough to come there."""
        if not self._failpoints:
            time.sleep(self._random.random() * _LONGEST_LIFE_SECONDS)
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(2 * _LONGEST_LIFE_SECONDS)

    def _drive(self, client: Client) -> None:
        """Change the directory and ask, until the daemon is dead."""
        try:
            while True:
                for _ in range(self._random.randint(1, 4)):
                    self._workload.step()
                    self.report.changes += 1
                try:
                    self._ask(client)
                except (ConnectionLostError, DaemonUnreachableError):
                    return
                except DftIndexError:
                    # An error that the failpoint caused; without one there is no excuse.
                    if not self._failpoints:
                        raise
                    self.report.errors += 1
        except BaseException as error:  # noqa: BLE001 - raised by the main thread
            self._broken = error

    def _ask(self, client: Client) -> None:
        chance = self._random.random()
        if chance < 0.1:
            client.index(self._traces, wait=True, force=True)
        elif chance < 0.25:
            client.compact(self._traces, now=True)
            self.report.compactions += 1
        elif chance < 0.4:
            return
        self._acknowledge(client)

    def _acknowledge(self, client: Client) -> None:
        result = client.sync(self._traces)
        if result.problems:
            raise ViolationError(f"not indexed: {result.problems}")
        self._oracle.acknowledge(result.generation, self._workload.now)

    def _judge(self) -> None:
        """Hold a copy of the store against the oracle: the next daemon recovers by itself."""
        stores = self._state / "stores"
        for store in stores.iterdir() if stores.is_dir() else ():
            copy = self._folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(store, copy)
            self._oracle.judge(copy)

    def _compare_at_the_end(self) -> None:
        process = self._spawn()
        try:
            client = self._connected(process)
            assert client is not None
            with client:
                self._acknowledge(client)
                self._compare(client)
            process.terminate()
            if process.wait(_PATIENCE_SECONDS) != 0:
                raise ViolationError("the last daemon did not end well")
        finally:
            _kill([process.pid])
            process.wait()
        self._judge()

    def _compare(self, client: Client) -> None:
        """Hold every trace's answer against what was written into it."""
        rows = client.list(self._traces).to_pylist()
        listed = {os.path.relpath(row["path"], self._traces): row["events"] for row in rows}
        wanted = self._workload.now
        if listed != {path: content.totals().events for path, content in wanted.items()}:
            raise ViolationError(f"listed are {listed}, on disk are {wanted}")
        for path, content in wanted.items():
            _compare_answer(client, self._traces / path, content)
        everything = sum((content.totals() for content in wanted.values()), Totals())
        found = _answered(client, self._traces)
        if found != everything:
            raise ViolationError(f"all together hold {found}, on disk are {everything}")

    def _connected(self, process: subprocess.Popen[bytes]) -> Client | None:
        """Return a client of the daemon, or nothing where a failpoint kept it from serving."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(DaemonUnreachableError):
                return connect(self._socket)
            if process.poll() is not None:
                if self._failpoints:
                    return None
                raise ViolationError(f"the daemon did not start: {self._log.read_text()[-2000:]}")
            time.sleep(_POLL_SECONDS)
        raise ViolationError("the daemon never answered")


def _compare_answer(client: Client, trace: Path, content: Content) -> None:
    found = _answered(client, trace)
    if found != content.totals():
        raise ViolationError(f"{trace} holds {found}, on disk are {content.totals()}")


def _answered(client: Client, path: Path) -> Totals:
    table = client.aggregation(path, group_by=["pid"], time_resolution=1.0).arrow()
    return Totals(
        pc.sum(table["count"]).as_py() or 0,
        round(pc.sum(table["time"]).as_py() or 0),
    )


def _descendants_of(pid: int) -> list[int]:
    """Return the workers and what forks them."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
