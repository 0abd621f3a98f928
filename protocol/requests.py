"""Every request a client may send and what comes back for it.

A request with an :class:`AnswerHead` as its reply is answered by that head and then by an Arrow
stream; the others by one message. Fields are only ever added, with a default.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from dftindexd.protocol.cluster_requests import ClusterRequests
from dftindexd.protocol.index_requests import IndexRequests
from dftindexd.protocol.inverted_requests import IndicesRequest, PartitionsRequest, Predicates
from dftindexd.protocol.message import AnswerHead, Request, TraceProblem
from dftindexd.protocol.message import Reply as _Reply
from dftindexd.protocol.operation_requests import DebugDumpRequest, MetricsRequest
from dftindexd.protocol.upkeep_requests import (
    BackupRequest,
    CompactRequest,
    RebuildRequest,
    VerifyRequest,
)
from dftindexd.protocol.view_requests import (
    SqlProgressRequest,
    ViewsDropRequest,
    ViewsRequest,
)

__all__ = (
    "AggregationKind",
    "AggregationRequest",
    "AnswerHead",
    "AnyRequest",
    "ExplainRequest",
    "ExplainResult",
    "Hello",
    "HelloResult",
    "IndexRequest",
    "IndexResult",
    "ListRequest",
    "Ping",
    "PingResult",
    "ReadRequest",
    "RootStatus",
    "SqlRequest",
    "StatusRequest",
    "StatusResult",
    "StopRequest",
    "StopResult",
    "SyncRequest",
    "SyncResult",
    "TailRequest",
    "TraceProblem",
    "TraceReading",
    "UnwatchRequest",
    "UnwatchResult",
    "WaitRequest",
    "WaitResult",
    "WantedBackend",
    "WatchRequest",
    "WatchResult",
)

AggregationKind: TypeAlias = Literal["events", "profiles", "system"]
WantedBackend: TypeAlias = Literal["auto", "inotify", "poll"]


class HelloResult(_Reply, frozen=True):
    """The daemon's side of the greeting: the version of the protocol both will speak."""

    protocol: int
    version: str
    pid: int
    capabilities: tuple[str, ...] = ()


class Hello(Request[HelloResult], frozen=True, kw_only=True, tag="hello"):
    """The first message on a connection. ``pid`` is the client's own: where the kernel names
    another process at the other end, the two are connected through somebody in between."""

    protocols: tuple[int, ...]
    client: str
    capabilities: tuple[str, ...] = ()
    pid: int = 0


class PingResult(_Reply, frozen=True):
    """Three answers to "are you well": the loop turns, requests are served, nothing is queued."""

    pid: int
    version: str
    uptime_seconds: float
    ready: bool
    caught_up: bool
    degraded: tuple[str, ...] = ()


class Ping(Request[PingResult], frozen=True, kw_only=True, tag="ping"):
    """Ask whether the daemon is well."""


class RootStatus(_Reply, frozen=True):
    """One watched root. Sizes are bytes on disk, rates are per second.

    ``damaged`` is how many traces are known to be damaged in the store and not rebuilt yet,
    ``repairs`` how many were rebuilt because of damage. ``set_aside`` are the stores that were
    damaged as a whole: they are kept until somebody deletes them. Of the ``valid_lines``,
    ``fast_lines`` were read by the compiled kernel, the others by the slower reference.
    ``backend``: how changes are noticed, ``inotify`` or ``poll``. ``include``, ``exclude`` and
    ``follow_links`` are as the root is watched with. ``open``: its store is open; one that nobody
    used for a while is closed and opened for the next answer. ``gone_since``: when its directory
    was found deleted (seconds since 1970). ``done_bytes`` of the work in hand were read,
    ``pending_bytes`` are to be read, which takes ``seconds_left`` at the present rate (``None``:
    that cannot be told). Of the ``indexed`` traces, ``silent`` count as finished because they were
    quiet, ``truncated`` because their writer was killed.
    """

    root: str
    store: str
    state: str
    backend: str
    generation: int
    traces: int
    queued: int
    growing: int
    indexed: int
    quarantined: int
    events: int
    bad_lines: int
    trace_bytes: int
    pending_bytes: int
    reason: str = ""
    damaged: int = 0
    repairs: int = 0
    set_aside: tuple[str, ...] = ()
    valid_lines: int = 0
    fast_lines: int = 0
    open: bool = True
    gone_since: float | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow_links: bool = False
    done_bytes: int = 0
    bytes_per_second: float = 0.0
    seconds_left: float | None = None
    silent: int = 0
    truncated: int = 0


class StatusResult(_Reply, frozen=True):
    """The whole daemon at a glance. ``kernel``: the compiled parser is ``ready``, ``compiling``
    (first start of a version on a machine; parsing is slower meanwhile) or ``failed``.
    ``loop_lag_*``: by how many milliseconds the daemon's event loop was late within the last
    ``loop_lag_seconds``, as requests that came at any moment would have found it. ``config`` is the
    configuration file, empty without one; ``restart_needed`` are the keys that were changed in it
    and wait for the daemon to be started again. To guests it and ``state_dir`` are empty."""

    pid: int
    version: str
    uptime_seconds: float
    state_dir: str
    socket: str
    workers: int
    worker_restarts: int
    roots: tuple[RootStatus, ...]
    kernel: str = "ready"
    actors: dict[str, dict[str, object]] = msgspec.field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    loop_lag_p50_ms: float = 0.0
    loop_lag_p99_ms: float = 0.0
    loop_lag_max_ms: float = 0.0
    loop_lag_seconds: float = 0.0
    config: str = ""
    restart_needed: tuple[str, ...] = ()


class StatusRequest(Request[StatusResult], frozen=True, kw_only=True, tag="status"):
    """Ask for the state of every root, worker and actor."""


class WatchResult(_Reply, frozen=True):
    """The root that now covers the path, and whether it is new."""

    root: str
    added: bool


class WatchRequest(Request[WatchResult], frozen=True, kw_only=True, tag="watch"):
    """Watch a directory tree from now on, also after a restart.

    *include* and *exclude* are globs over paths below it, *follow_links* has links followed that
    lead out of it, *columns* have inverted indices. If any of these is given they replace what held
    before, and the directory is a root of its own, even below another.
    """

    path: str
    backend: WantedBackend | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    follow_links: bool | None = None
    columns: tuple[str, ...] | None = None


class UnwatchResult(_Reply, frozen=True):
    """The root that is no longer watched, and whether its store was deleted."""

    root: str
    purged: bool


class UnwatchRequest(Request[UnwatchResult], frozen=True, kw_only=True, tag="unwatch"):
    """Stop watching a root; *purge* deletes its store as well."""

    path: str
    purge: bool = False


class ListRequest(Request[AnswerHead], frozen=True, kw_only=True, tag="list"):
    """List the traces below a directory, or of all roots, one row a trace.

    Columns: ``path``, ``root``, ``state`` (queued, growing, indexed, quarantined, damaged),
    ``ending`` (end, silence, cut or null), ``events``, ``bad_lines``, ``lines``, ``bytes``,
    ``reason``. With *since*, an earlier answer's generation, only the traces that came or changed
    after it, and with the state ``removed`` those that went; *path* is then a must. *store_id* is
    that answer's: where another store answers now, the request is refused.
    """

    path: str | None = None
    since: int | None = None
    store_id: str = ""


class IndexResult(_Reply, frozen=True):
    """What an index request did: how many traces it took and which of them failed."""

    traces: int
    generation: int
    problems: tuple[TraceProblem, ...] = ()


class IndexRequest(Request[IndexResult], frozen=True, kw_only=True, tag="index"):
    """Index one trace or all below a directory ahead of others; *force* parses them anew."""

    path: str
    wait: bool = False
    force: bool = False


class WaitResult(_Reply, frozen=True):
    """Every trace below the directory is finished and indexed, or quarantined."""

    generation: int
    problems: tuple[TraceProblem, ...] = ()


class WaitRequest(Request[WaitResult], frozen=True, kw_only=True, tag="wait"):
    """Wait until every trace below a directory is finished and indexed."""

    path: str | None = None


class SyncResult(_Reply, frozen=True):
    """Every complete line that was on disk at the call is in every answer from now on."""

    generation: int
    problems: tuple[TraceProblem, ...] = ()


class SyncRequest(Request[SyncResult], frozen=True, kw_only=True, tag="sync"):
    """Wait until the index holds what is on disk now; waits neither for growth nor settling."""

    path: str | None = None


class AggregationRequest(Request[AnswerHead], frozen=True, kw_only=True, tag="aggregation"):
    """The aggregation tier of a directory, filtered by *query* and grouped by *group_by*.

    ``time_granularity`` is the width of a ``time_range`` in seconds, ``time_resolution`` the
    microseconds in one unit of the ``time`` columns.
    """

    path: str
    kind: AggregationKind = "events"
    query: str | None = None
    group_by: tuple[str, ...] | None = None
    time_granularity: float = 1.0
    time_resolution: float = 1e6
    finished_only: bool = False


class ReadRequest(Request[AnswerHead], frozen=True, kw_only=True, tag="read"):
    """The events of one trace, or of all below a directory, that *query* and *predicates* keep,
    trace by trace.

    *lines* and *bytes* are a first and one after the last: numbers of lines from 0, and where lines
    begin in the text, in each trace. *columns* are fields of events, ``trace`` (its path),
    ``line``, ``uc_offset``, ``json`` and ``args``; without them a choice of those. *raw* gives the
    lines as they are in one column ``text``: those with an event that *query* keeps, and without
    one all of them. While nothing is found, batches without rows come about once a second.
    """

    path: str
    query: str = ""
    lines: tuple[int, int] | None = None
    bytes: tuple[int, int] | None = None
    columns: tuple[str, ...] | None = None
    raw: bool = False
    finished_only: bool = False
    predicates: Predicates | None = None


class TraceReading(_Reply, frozen=True):
    """How many of a trace's chunks a query would read, and how many not for which reason."""

    path: str
    chunks: int
    read: int
    skipped: dict[str, int]


class ExplainResult(_Reply, frozen=True):
    """What reading events would read: so many of all ``chunks`` of ``traces``, and of
    ``text_bytes`` of text so many.

    ``skipped`` are the other chunks by the reason why none of their lines can match, ``tiers`` by
    what knew that: ``bloom``, ``manifest``, ``statistics``, ``postings``, ``checkpoints`` (the
    ranges) or ``query`` (it can never hold). ``details`` are of those traces of which most is read,
    the first hundred.
    """

    generation: int
    traces: int
    chunks: int
    read: int
    text_bytes: int
    read_bytes: int
    skipped: dict[str, int]
    tiers: dict[str, int]
    details: tuple[TraceReading, ...]
    warnings: tuple[str, ...] = ()


class ExplainRequest(Request[ExplainResult], frozen=True, kw_only=True, tag="explain"):
    """Tell what a read with the same arguments would read, and what not and why."""

    path: str
    query: str = ""
    lines: tuple[int, int] | None = None
    bytes: tuple[int, int] | None = None
    finished_only: bool = False
    predicates: Predicates | None = None


class SqlRequest(Request[AnswerHead], frozen=True, kw_only=True, tag="sql"):
    """The rows of one SELECT over the views (``docs/views.md``) of the traces below *path*, or of
    all roots, then with a column ``root``.

    *begin* and *end*, in nanoseconds since 1970, leave out rows of other times. More than *rows*
    rows, or more than *seconds* until the last of them is taken, are an error. *ticket* is what the
    client calls the statement when it asks how far it is.
    """

    query: str
    path: str | None = None
    begin: int | None = None
    end: int | None = None
    rows: int = 1_000_000
    seconds: float = 60.0
    ticket: str = ""


class TailRequest(Request[AnswerHead], frozen=True, kw_only=True, tag="tail"):
    """Be told what happens to the traces at or below *path*, or of all roots, from the head of the
    answer on, until the request is cancelled.

    Each row is an ``IndexEvent``. A client that does not take them in time loses the oldest and is
    told how many.
    """

    path: str | None = None


class StopResult(_Reply, frozen=True):
    """The daemon has begun to end."""

    pid: int


class StopRequest(Request[StopResult], frozen=True, kw_only=True, tag="stop"):
    """End the daemon in order: work in hand is dropped or committed whole, the store closed."""


AnyRequest: TypeAlias = (
    Hello
    | Ping
    | StatusRequest
    | WatchRequest
    | UnwatchRequest
    | ListRequest
    | IndexRequest
    | WaitRequest
    | SyncRequest
    | AggregationRequest
    | ReadRequest
    | ExplainRequest
    | CompactRequest
    | VerifyRequest
    | RebuildRequest
    | BackupRequest
    | IndexRequests
    | ClusterRequests
    | IndicesRequest
    | PartitionsRequest
    | SqlRequest
    | SqlProgressRequest
    | ViewsRequest
    | ViewsDropRequest
    | TailRequest
    | MetricsRequest
    | DebugDumpRequest
    | StopRequest
)
