"""The verb ``top``: the daemon at work, again and again, until it is interrupted."""

from __future__ import annotations

import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dftindexd.client import cli_output as output
from dftindexd.client.cli_base import Settings, verb
from dftindexd.client.cli_tables import age_text, size_text
from dftindexd.protocol.requests import RootStatus, StatusResult

__all__ = ("Rates", "Worker", "frame", "rates_of", "top", "workers_of")

_UNFOLDED: Final = 200
_STATES: Final = {"caught-up": "green", "indexing": "cyan"}
_TROUBLE: Final = "yellow"


class Rates(NamedTuple):
    """How much a root did per second between two looks."""

    events: float = 0.0
    commits: float = 0.0


class Worker(msgspec.Struct, frozen=True):
    """One process that parses."""

    name: str
    pid: int | None
    health: str
    jobs: int
    traces: int
    restarts: int


def rates_of(before: StatusResult | None, now: StatusResult) -> dict[str, Rates]:
    """Return the rates of each root; none where there was no look *before*, or another daemon."""
    if before is None or before.pid != now.pid or now.uptime_seconds <= before.uptime_seconds:
        return {root.root: Rates() for root in now.roots}
    seconds = now.uptime_seconds - before.uptime_seconds
    old = {root.root: root for root in before.roots}

    def rates(root: RootStatus) -> Rates:
        then = old.get(root.root)
        if then is None:
            return Rates()
        # Deleted traces take their events with them: that is no rate of reading.
        events = max(root.events - then.events, 0) / seconds
        return Rates(events, max(root.generation - then.generation, 0) / seconds)

    return {root.root: rates(root) for root in now.roots}


def workers_of(status: StatusResult) -> list[Worker]:
    """Return the parser processes, by name."""
    return [
        _worker(name, observed)
        for name, observed in sorted(status.actors.items())
        if name.startswith("parser:")
    ]


def _worker(name: str, observed: Mapping[str, object]) -> Worker:
    actor = observed.get("actor")
    inner: Mapping[str, Any] = actor if isinstance(actor, dict) else {}
    return Worker(
        name=name,
        pid=inner.get("pid"),
        health=str(observed.get("health", "")),
        jobs=inner.get("jobs", 0),
        traces=inner.get("traces", 0),
        restarts=msgspec.convert(observed.get("restarts", 0), int),
    )


def frame(status: StatusResult, rates: Mapping[str, Rates]) -> Group:
    """Return what is shown at one moment."""
    parts: list[Text | Table] = [_headline(status, rates)]
    parts += [Text(f"degraded: {reason}", style=_TROUBLE) for reason in status.degraded]
    parts += [Text(), _roots(status, rates), Text(), _workers(status)]
    return Group(*parts)


def _headline(status: StatusResult, rates: Mapping[str, Rates]) -> Text:
    queued = sum(root.queued for root in status.roots)
    pending = sum(root.pending_bytes for root in status.roots)
    events = sum(each.events for each in rates.values())
    waiting = f"{queued:,} queued ({size_text(pending)})" if queued else "nothing queued"
    kernel = "" if status.kernel == "ready" else f", kernel {status.kernel}"
    return Text.assemble(
        (f"dftindexd {status.version}", "bold"),
        f"  pid {status.pid}, up {age_text(status.uptime_seconds)}{kernel}  ",
        (f"{events:,.0f} events/s", "bold"),
        f"  {waiting}",
    )


def _roots(status: StatusResult, rates: Mapping[str, Rates]) -> Table:
    table = _grid("root", "state")
    for name in ("traces", "indexed", "growing", "queued", "bad", "events", "ev/s", "gen/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("on disk", "generation"):
        table.add_column(name, justify="right", no_wrap=True)
    for root in status.roots:
        rate = rates.get(root.root, Rates())
        bad = root.quarantined + root.damaged
        table.add_row(
            Text(root.root),
            Text(root.state, style=_STATES.get(root.state, _TROUBLE)),
            *(f"{count:,}" for count in (root.traces, root.indexed, root.growing, root.queued)),
            Text(f"{bad:,}", style=_TROUBLE if bad else ""),
            f"{root.events:,}",
            f"{rate.events:,.0f}",
            f"{rate.commits:.1f}",
            size_text(root.trace_bytes),
            f"{root.generation:,}",
        )
    return table


def _workers(status: StatusResult) -> Table:
    table = _grid("worker", "health")
    for name in ("pid", "jobs", "traces", "restarts"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker in workers_of(status):
        table.add_row(
            worker.name,
            Text(worker.health, style="" if worker.health == "healthy" else _TROUBLE),
            str(worker.pid or ""),
            *(f"{count:,}" for count in (worker.jobs, worker.traces, worker.restarts)),
        )
    return table


def _grid(*texts: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in texts:
        table.add_column(name, overflow="fold")
    return table


@verb("top")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to look.",
)
def top(settings: Settings, interval: float) -> None:
    """Watch the daemon at work until Ctrl-C: traces, rates, queue, workers, stores.

    Where the output is no terminal, or with --json, it looks once, and rates are 0.

    Example: dftindexd-client top
    """
    with settings.connect() as client:
        status = client.status()
        if settings.json:
            output.print_document(
                {"status": status, "workers": workers_of(status), "rates": rates_of(None, status)}
            )
            return
        if not sys.stdout.isatty():
            Console(width=_UNFOLDED).print(frame(status, rates_of(None, status)))
            return
        with _interruption() as interrupted, Live(screen=True, auto_refresh=False) as live:
            live.update(frame(status, rates_of(None, status)), refresh=True)
            while not select.select([interrupted], [], [], interval)[0]:
                before, status = status, client.status()
                live.update(frame(status, rates_of(before, status)), refresh=True)


@contextmanager
def _interruption() -> Iterator[socket.socket]:
    """Give a socket that the first Ctrl-C makes readable, so that the screen is always put back;
    another one interrupts as ever.

    Python writes there in the moment of the signal. A handler runs later, if at all while the main
    thread sleeps, and must not take a lock that this thread may hold, such as that of an event.
    """

    def note(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    interrupted, told = socket.socketpair()
    with interrupted, told:
        told.setblocking(False)
        told_before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        try:
            signal.signal(signal.SIGINT, note)
            yield interrupted
        finally:
            signal.set_wakeup_fd(told_before)
            signal.signal(signal.SIGINT, before)
