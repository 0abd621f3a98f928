"""The metrics of a daemon, in the text format of Prometheus.

Names and units are by its conventions: base units, ``_total`` for what only grows. No label is a
path, a pid or anything else of a user's. What can be asked of the engine is asked when the metrics
are; what happens once (a parse, a commit, an answer) is counted as it happens.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from dftindexd import __version__
from dftindexd.actors.engine import Engine
from dftindexd.actors.root import Root
from dftindexd.actors.store_state import store_state
from dftindexd.actors.supervisor import Health
from dftindexd.actors.timings import Step

__all__ = ("Metrics",)

_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_ROOT_STATES: Final = ("caught-up", "indexing", "read-only", "root-missing", "rebuilding", "failed")


class Metrics:
    """Counts what happens in one daemon, and tells it with what *engine* is at, how many
    *connections* there are, and what *rows* that are kept for answers take."""

    def __init__(
        self, engine: Engine, connections: Callable[[], int], rows: Callable[[], int]
    ) -> None:
        self.problems: dict[str, str] = {}
        """Why they do not go where the configuration says, by its keys."""
        self._registry = CollectorRegistry()
        self._parses = self._histogram(
            "dftindexd_parse_seconds", "How long a worker had a job of one or more traces."
        )
        self._commits = self._histogram(
            "dftindexd_commit_seconds",
            "How long a store took to make a commit durable and visible.",
        )
        self._answers = Histogram(
            "dftindexd_request_seconds",
            "How long a request took to its answer or its first rows; waits are not among them.",
            ["request"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._lag = self._histogram("dftindexd_loop_lag_seconds", "How late the event loop was.")
        self._failures = Counter(
            "dftindexd_request_errors",
            "Requests that were answered by an error.",
            ["request", "code"],
            registry=self._registry,
        )
        self._last_commit = Gauge(
            "dftindexd_last_commit_timestamp_seconds",
            "When the last commit was, in seconds since 1970.",
            registry=self._registry,
        )
        self._registry.register(_EngineCollector(engine, connections, rows))
        ProcessCollector(registry=self._registry)
        engine.timings.listener = self._note_step

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=_SECONDS, registry=self._registry)

    def text(self) -> str:
        """Return all metrics. To be called in the event loop."""
        return generate_latest(self._registry).decode()

    def note_answer(self, request: str, seconds: float) -> None:
        """Count in that a *request* (its name) was answered within *seconds*."""
        self._answers.labels(request).observe(seconds)

    def note_failure(self, request: str, code: str) -> None:
        """Count in that a *request* was answered by an error of this *code*."""
        self._failures.labels(request, code).inc()

    def note_lag(self, seconds: float) -> None:
        """Count in by how much the event loop was late at some moment."""
        self._lag.observe(seconds)

    def _note_step(self, step: Step, seconds: float) -> None:
        if step == "parse":
            self._parses.observe(seconds)
        else:
            self._commits.observe(seconds)
            self._last_commit.set(time.time())


class _EngineCollector(Collector):
    def __init__(
        self, engine: Engine, connections: Callable[[], int], rows: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._connections = connections
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        roots = list(self._engine.roots.values())
        yield from self._daemon(roots)
        yield self._memory(roots)
        yield from _traces(roots)
        yield from self._actors()

    def _daemon(self, roots: list[Root]) -> Iterator[Metric]:
        build = GaugeMetricFamily("dftindexd_build_info", "The version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        states = Tally(store_state(root.handle, root.state) for root in roots)
        states["failed"] = len(self._engine.failed_roots)
        yield _labelled("dftindexd_roots", "Watched roots by state.", "state", states, _ROOT_STATES)
        caught_up = all(root.state.idle for root in roots)
        yield _gauge("dftindexd_caught_up", "Whether nothing is queued or in hand.", caught_up)
        yield _gauge("dftindexd_connections", "Clients that are connected.", self._connections())

    def _memory(self, roots: list[Root]) -> Metric:
        parts = Tally(
            answers=pa.total_allocated_bytes(),
            blocks=sum(root.handle.cached_bytes for root in roots),
            rows=self._rows(),
            unflushed=sum(root.handle.unflushed_bytes for root in roots),
        )
        text = "Memory that is bounded and kept, by what for."
        return _labelled("dftindexd_memory_bytes", text, "part", parts)

    def _actors(self) -> Iterator[Metric]:
        supervisors = self._engine.supervisors()
        queues: Tally[str] = Tally()
        ill = 0
        for one in supervisors:
            kind = one.name.partition(":")[0]
            # All parsers are behind one mailbox.
            queues[kind] = len(one.mailbox) + (queues[kind] if kind != "parser" else 0)
            ill += one.health in (Health.FAILED, Health.UNHEALTHY)
        yield _labelled(
            "dftindexd_queue_depth", "Messages that wait, by kind of actor.", "actor", queues
        )
        yield _gauge("dftindexd_unhealthy_actors", "Actors that hang or were given up.", ill)
        slow = len(self._engine.slow_workers())
        text = "Parser workers that read without the compiled kernel, though it is there."
        yield _gauge("dftindexd_slow_workers", text, slow)
        restarts = self._engine.pool.restarts
        yield CounterMetricFamily(
            "dftindexd_worker_restarts", "Parser workers that died.", value=restarts
        )


def _traces(roots: list[Root]) -> Iterator[Metric]:
    """Yield what the indices of all roots hold together."""
    states: Tally[str] = Tally()
    lines: Tally[str] = Tally()
    events = 0
    for root in roots:
        tally = root.handle.registry.tally
        states["queued"] += root.state.queued + len(root.state.in_flight)
        states["growing"] += tally.growing
        states["indexed"] += tally.indexed
        states["quarantined"] += tally.quarantined
        lines["bad"] += tally.bad_lines
        lines["fast"] += tally.fast_lines
        lines["slow"] += tally.valid_lines - tally.fast_lines
        events += tally.events
    yield _labelled("dftindexd_traces", "Traces by state.", "state", states)
    yield _labelled("dftindexd_lines", "Lines of the index by how they were read.", "read", lines)
    yield _gauge("dftindexd_events", "Events in the index.", events)
    yield _gauge(
        "dftindexd_trace_bytes",
        "Size of the traces on disk.",
        sum(root.state.seen_bytes for root in roots),
    )
    yield _gauge(
        "dftindexd_pending_bytes",
        "Bytes of traces that are still to be read.",
        sum(root.state.pending_bytes for root in roots),
    )
    yield CounterMetricFamily(
        "dftindexd_repairs",
        "Traces that were rebuilt because of damage.",
        value=sum(root.handle.damage.repairs for root in roots),
    )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(
    name: str, text: str, label: str, values: Tally[str], every: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key in sorted({*values, *every}):
        family.add_metric([key], values[key])
    return family
