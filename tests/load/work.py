"""What keeps a daemon busy: clients, traces that come, grow and go, and workers that are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families

from dftindexd.client import Client, connect
from dftindexd.protocol.errors import BusyError, NotFoundError
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import Daemon

__all__ = ("Load", "Usage", "usage_of")

#: So many traces there are at once; older ones go.
KEPT_TRACES: Final = 200
_EVENTS: Final = 400
#: A client begins anew after so many requests.
_REQUESTS: Final = 40


class Usage(NamedTuple):
    """What a daemon that is at rest holds: bytes of its own memory that are not shared, but for
    those that it keeps on purpose and bounded, which its metrics tell; and counts of its
    descriptors, but for those of tables of stores, of these, and of threads, tasks, processes."""

    memory: int
    kept: int
    descriptors: int
    tables: int
    threads: int
    tasks: int
    processes: int


def usage_of(daemon: Daemon) -> Usage:
    """Return what *daemon* holds now."""
    process = psutil.Process(daemon.process.pid)
    dump = daemon.client.debug_dump()
    kept = _kept(daemon.client.metrics())
    opened = [_target(link) for link in Path(f"/proc/{daemon.process.pid}/fd").iterdir()]
    tables = sum(target.endswith(".sst") for target in opened)
    return Usage(
        memory=process.memory_full_info().uss - kept,
        kept=kept,
        descriptors=len(opened) - tables,
        tables=tables,
        threads=process.num_threads(),
        tasks=int(dump.process["tasks"]),
        processes=len(process.children(recursive=True)),
    )


def _kept(metrics: str) -> int:
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "dftindexd_memory_bytes"
    )


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


class Load:
    """Loads *daemon* with so many clients, from :meth:`begin` until :meth:`end`."""

    def __init__(self, daemon: Daemon, clients: int, *, kill_seconds: float) -> None:
        self.daemon = daemon
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []
        self._kill_seconds = kill_seconds
        self._over = threading.Event()
        self._counting = threading.Lock()
        jobs: list[Callable[[], None]] = [self._write, self._kill]
        jobs += [lambda number=number: self._ask(number) for number in range(clients)]  # type: ignore[misc]
        self._threads = [threading.Thread(target=self._guarded, args=(job,)) for job in jobs]

    def begin(self) -> None:
        """Start."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End all of it."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - told by the test, which asserts that there is none
            self.problems.append(f"{type(error).__name__}: {error}")

    def _count(self, what: str) -> None:
        with self._counting:
            self.done[what] += 1

    def _write(self) -> None:
        """Make traces, append to some, delete the oldest."""
        random = Random(1)
        kept: deque[Path] = deque()
        number = 0
        while not self._over.wait(0.02):
            number += 1
            trace = self.daemon.traces / f"load-{number % 7}" / f"t{number}.pfw.gz"
            trace.parent.mkdir(exist_ok=True)
            write_trace(trace, _EVENTS)
            kept.append(trace)
            self._count("traces written")
            write_trace(random.choice(kept), _EVENTS // 4, first=_EVENTS + 1, append=True)
            if len(kept) > KEPT_TRACES:
                kept.popleft().unlink()
        for trace in kept:
            trace.unlink()

    def _kill(self) -> None:
        """Kill one parser worker again and again."""
        random = Random(2)
        while not self._over.wait(self._kill_seconds):
            actors = self.daemon.client.status().actors
            pids = [pid for name, told in actors.items() if (pid := _worker_of(name, told))]
            if pids:
                with suppress(ProcessLookupError):  # status names the last one until a job comes
                    os.kill(random.choice(pids), signal.SIGKILL)
                    self._count("workers killed")

    def _ask(self, number: int) -> None:
        random = Random(number)
        while not self._over.is_set():
            try:
                with connect(self.daemon.socket) as client:
                    for _ in range(_REQUESTS):
                        if self._over.is_set():
                            return
                        self._one(client, random)
            except (BusyError, NotFoundError) as error:
                # As many read events as may at once, or a trace is gone that was to be read.
                self._count(error.code)

    def _one(self, client: Client, random: Random) -> None:
        traces = self.daemon.traces
        kind = random.choice(["ping", "status", "list", "aggregation", "read", "sync", "abandoned"])
        match kind:
            case "ping":
                client.ping()
            case "status":
                client.status()
            case "list":
                client.list(traces)
            case "aggregation":
                client.aggregation(traces, group_by=["func_name"])
            case "read":
                with client.read(traces, query="id > 395", columns=["id"], timeout=60) as batches:
                    sum(batch.num_rows for batch in batches)
            case "sync":
                client.sync(traces, timeout=None)
            case "abandoned":
                with client.read(traces, columns=["id"], timeout=60) as batches:
                    next(iter(batches), None)
        self._count(kind)
        time.sleep(random.random() / 10)


def _worker_of(name: str, told: dict[str, object]) -> int | None:
    actor = told.get("actor")
    pid = actor.get("pid") if name.startswith("parser:") and isinstance(actor, dict) else None
    return pid if isinstance(pid, int) else None
