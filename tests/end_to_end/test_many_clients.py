"""Sixteen clients at once, as threads of one client and as processes, while traces are indexed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from dftindexd.client import connect
from tests.end_to_end.made_traces import write_trace
from tests.end_to_end.running import COMMAND_SECONDS, Daemon, events_below, rows_of

CLIENTS = 16
_TRACES, _EVENTS = 60, 500


def _watch_counts(daemon: Daemon, done: threading.Event) -> list[int]:
    """Ask again and again on the one connection of the daemon's client."""
    counts = [daemon.events()]
    while not done.is_set():
        counts.append(daemon.events())
    return [*counts, daemon.events()]


def _watch_counts_alone(daemon: Daemon, done: threading.Event) -> list[int]:
    """Ask again and again on a connection of its own."""
    with connect(daemon.socket) as client:
        own = Daemon(daemon.traces, daemon.state, daemon.socket, daemon.log, daemon.process, client)
        return _watch_counts(own, done)


def test_sixteen_threads_see_counts_that_only_grow_and_end_equal(daemon: Daemon) -> None:
    done = threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        watches = [
            pool.submit(_watch_counts if number % 2 else _watch_counts_alone, daemon, done)
            for number in range(CLIENTS)
        ]
        try:
            for number in range(_TRACES):
                write_trace(daemon.traces / f"t{number}.pfw", _EVENTS)
            daemon.client.sync()
        finally:
            done.set()
        seen = [watch.result(COMMAND_SECONDS) for watch in watches]
    for counts in seen:
        assert counts == sorted(counts)
        assert all(count % _EVENTS == 0 for count in counts)
        assert counts[-1] == events_below(daemon.traces) == _TRACES * _EVENTS


def test_sixteen_processes_that_sync_and_ask_all_get_the_whole_answer(daemon: Daemon) -> None:
    for number in range(_TRACES):
        write_trace(daemon.traces / f"t{number}.pfw.gz", _EVENTS)
    with ThreadPoolExecutor(CLIENTS) as pool:
        syncs = pool.map(lambda _: daemon.run("sync", daemon.traces, "--json"), range(CLIENTS))
        assert all(rows_of(sync) for sync in syncs)
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = list(
            pool.map(lambda _: daemon.run("agg", daemon.traces, "--json"), range(CLIENTS))
        )
    for answer in answers:
        assert sum(row["count"] for row in rows_of(answer)) == _TRACES * _EVENTS
