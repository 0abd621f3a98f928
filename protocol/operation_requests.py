"""What an administrator asks a daemon: its metrics, and what it is made of right now."""

from __future__ import annotations

import msgspec

from dftindexd.protocol.message import Reply, Request

__all__ = (
    "DebugDumpRequest",
    "DebugDumpResult",
    "MetricsRequest",
    "MetricsResult",
    "RecentError",
    "TaskDump",
)


class MetricsResult(Reply, frozen=True):
    """The metrics in the text format of Prometheus."""

    text: str


class MetricsRequest(Request[MetricsResult], frozen=True, kw_only=True, tag="metrics"):
    """Ask for the metrics; only the owner may."""


class TaskDump(Reply, frozen=True):
    """A task of the event loop: its name, and the places in the code where it waits, outermost
    first."""

    name: str
    stack: tuple[str, ...] = ()


class RecentError(Reply, frozen=True):
    """Warnings or errors of one name in the log: how many there were, and when the last one was
    (seconds since 1970). Their values are not told, which may be private."""

    event: str
    level: str
    count: int
    last: float


class DebugDumpResult(Reply, frozen=True):
    """What the daemon is made of right now, without a path, a query or anything else of a user's.

    Roots are told by number; an actor of a root has that number in its name.
    """

    version: str
    python: str
    uptime_seconds: float
    process: dict[str, float]
    tasks: tuple[TaskDump, ...]
    threads: tuple[TaskDump, ...]
    actors: dict[str, dict[str, object]]
    stores: tuple[dict[str, object], ...]
    clients: dict[str, int]
    recent: tuple[RecentError, ...] = ()
    libraries: dict[str, str] = msgspec.field(default_factory=dict)


class DebugDumpRequest(Request[DebugDumpResult], frozen=True, kw_only=True, tag="debug-dump"):
    """Ask for what helps to find a fault of the daemon; only the owner may."""
