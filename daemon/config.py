"""The configuration: one tree of structs, in which every key is declared once.

The file's tables, the variables of the environment, the options of ``dftindexd run``, the reference
and the JSON schema all come from here. Durations and sizes are kept as text. ``None`` is what is
not set.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from dftindexd.actors.file_systems import WantedBackend
from dftindexd.actors.gone_roots import GONE_SECONDS
from dftindexd.actors.open_stores import MOST_OPEN
from dftindexd.actors.parser_pool import STALL_SECONDS
from dftindexd.actors.root_options import RootOptions
from dftindexd.daemon.amounts import duration_text
from dftindexd.daemon.config_keys import Duration, Size, key, keys_of
from dftindexd.daemon.guests import known_groups, known_users
from dftindexd.daemon.time_limit import REQUEST_SECONDS
from dftindexd.index.model import (
    DEFAULT_INTERVAL_US,
    GREATEST_BLOOM_RATE,
    LEAST_BLOOM_RATE,
    TierConfig,
)
from dftindexd.index.trace_rules import TraceRules
from dftindexd.protocol.published_formats import PublishedFormat

__all__ = (
    "KEYS",
    "WATCH_KEYS",
    "Config",
    "WatchConfig",
)

_ROOT: Final = RootOptions()


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{path!a} is not UTF-8, as stores need; name another") from error
    return path


def _arguments(names: list[str]) -> list[str]:
    return list(TierConfig(arguments=tuple(names)).normal().arguments)


def _columns(names: list[str]) -> list[str]:
    return list(TierConfig(postings=tuple(names)).normal().postings)


def _patterns(patterns: list[str]) -> list[str]:
    TraceRules(include=tuple(patterns))
    return patterns


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DaemonConfig(_Section, frozen=True, kw_only=True):
    """The daemon as a whole."""

    state_dir: Annotated[
        str | None,
        key(
            "Where stores lie. Default: $DFTINDEXD_STATE_DIR, $STATE_DIRECTORY, else "
            "/var/lib/dftindexd for root and ~/.local/state/dftindexd for others.",
            kind="path",
            option="--state-dir",
            variable="DFTINDEXD_STATE_DIR",
            check=_utf8,
        ),
    ] = None


class IpcConfig(_Section, frozen=True, kw_only=True):
    """How clients reach the daemon."""

    socket: Annotated[
        str | None,
        key(
            "The unix socket to serve. Default: $DFTINDEXD_SOCKET, else in the runtime directory.",
            kind="path",
            option="--socket",
            variable="DFTINDEXD_SOCKET",
        ),
    ] = None
    allow_users: Annotated[
        list[str],
        key(
            "Let this user (name or number) in as a guest, who sees only what they may read on "
            "disk; may be given several times.",
            option="--allow-user",
            metavar="USER",
            check=known_users,
        ),
    ] = []
    allow_groups: Annotated[
        list[str],
        key(
            "Let users of this group (name or number) in as guests; may be given several times.",
            option="--allow-group",
            metavar="GROUP",
            check=known_groups,
        ),
    ] = []
    request_limit: Annotated[
        Duration,
        key(
            "How long the daemon works on one answer from its stores, or on what a read finds "
            "next; SQL has a limit of its own.",
            kind="duration",
            option="--request-limit",
            metavar="SECONDS",
            bare="s",
            least=0.1,
        ),
    ] = duration_text(REQUEST_SECONDS)


class ParserConfig(_Section, frozen=True, kw_only=True):
    """The processes that parse traces."""

    workers: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        key("Parser processes. Default: one a processor.", option="--workers"),
    ] = None
    stall: Annotated[
        Duration,
        key(
            "How long a parse may make no progress before its worker is killed.",
            kind="duration",
            option="--stall",
            metavar="SECONDS",
            bare="s",
            least=0.1,
        ),
    ] = duration_text(STALL_SECONDS)
    memory_budget: Annotated[
        Size | None,
        key(
            "Parse so much at once that the workers are expected to take no more. Default: a "
            "quarter of the memory that is available at the start, or of the control group's, at "
            "most 8192 MiB.",
            kind="size",
            option="--memory-budget",
            metavar="MIB",
            bare="MiB",
            least=1.0,
        ),
    ] = None


class StoreConfig(_Section, frozen=True, kw_only=True):
    """The stores of the roots, and their room."""

    retention: Annotated[
        Duration,
        key(
            "How long what was dropped from a store is kept.",
            kind="duration",
            option="--retention",
            metavar="SECONDS",
            bare="s",
            live=True,
        ),
    ] = duration_text(_ROOT.retention_seconds)
    limit: Annotated[
        Size | None,
        key(
            "A store that takes more becomes read-only.",
            kind="size",
            option="--store-limit",
            metavar="MIB",
            bare="MiB",
            live=True,
            least=1.0,
        ),
    ] = None
    state_limit: Annotated[
        Size | None,
        key(
            "Where all stores together take more, they become read-only.",
            kind="size",
            option="--state-limit",
            metavar="MIB",
            bare="MiB",
            live=True,
            least=1.0,
        ),
    ] = None
    open_stores: Annotated[
        Annotated[int, Meta(ge=1)],
        key(
            "So many stores stay open; others are closed while nobody uses them.",
            option="--open-stores",
            metavar="N",
        ),
    ] = MOST_OPEN
    gone_retention: Annotated[
        Duration,
        key(
            "A root that was deleted so long ago is unwatched and its index deleted.",
            kind="duration",
            option="--gone-retention",
            metavar="DAYS",
            bare="d",
            least=1.0,
        ),
    ] = duration_text(GONE_SECONDS)


class IndexingConfig(_Section, frozen=True, kw_only=True):
    """How roots are watched and indexed where a root does not say otherwise."""

    settle: Annotated[
        Duration,
        key(
            "Seconds of silence after which a trace without an end mark counts as finished.",
            kind="duration",
            option="--settle",
            bare="s",
            live=True,
        ),
    ] = duration_text(_ROOT.settle_seconds)
    backend: Annotated[
        WantedBackend,
        key(
            "How changes are noticed, where watch was not told; auto: by the type of file system.",
            option="--backend",
            live=True,
        ),
    ] = _ROOT.backend
    poll_interval: Annotated[
        Duration,
        key(
            "How often a root that is polled is looked at.",
            kind="duration",
            option="--poll-interval",
            metavar="SECONDS",
            bare="s",
            live=True,
            least=0.1,
        ),
    ] = duration_text(_ROOT.poll_seconds)
    arguments: Annotated[
        list[str],
        key(
            "Keep filters of this argument of events as well, so that args.NAME == VALUE passes "
            "over chunks without it; may be given several times. Traces are then indexed more "
            "slowly.",
            option="--argument",
            metavar="NAME",
            live=True,
            check=_arguments,
        ),
    ] = []
    columns: Annotated[
        list[str],
        key(
            "Keep an inverted index of this column of events; costs as much as a filter.",
            option="--index-column",
            metavar="NAME",
            live=True,
            check=_columns,
        ),
    ] = []
    bloom_rate: Annotated[
        Annotated[float, Meta(ge=LEAST_BLOOM_RATE, le=GREATEST_BLOOM_RATE)],
        key(
            "The greatest share of chunks that a filter may claim wrongly; less takes more room.",
            option="--bloom-rate",
            live=True,
        ),
    ] = TierConfig().bloom_rate
    interval: Annotated[
        Duration,
        key(
            "Width of a time bucket of the aggregation tier.",
            kind="duration",
            live=True,
            least=1e-6,
        ),
    ] = duration_text(DEFAULT_INTERVAL_US / 1e6)


class MetricsConfig(_Section, frozen=True, kw_only=True):
    """Where metrics go besides the socket."""

    port: Annotated[
        Annotated[int, Meta(ge=1, le=65535)] | None,
        key(
            "Serve metrics for Prometheus at http://127.0.0.1:PORT/metrics, to whoever can connect "
            "there.",
            option="--metrics-port",
            metavar="PORT",
        ),
    ] = None
    file: Annotated[
        str | None,
        key(
            "Write metrics to this file every 15 seconds, for the textfile collector of "
            "node_exporter.",
            kind="path",
            option="--metrics-file",
            metavar="FILE",
        ),
    ] = None


class LogConfig(_Section, frozen=True, kw_only=True):
    """What the daemon writes to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        key("What is less than this is not logged.", option="--log-level", live=True),
    ] = "info"


class WatchConfig(_Section, frozen=True, kw_only=True):
    """One root that is watched for as long as it stands here. What is not set is as for others."""

    path: Annotated[str, key("The directory tree to watch.", kind="path")]
    include: Annotated[
        list[str],
        key(
            "Globs over paths below it: these traces are indexed. Empty: all.",
            live=True,
            check=_patterns,
        ),
    ] = []
    exclude: Annotated[
        list[str],
        key("Globs over paths below it: these are not.", live=True, check=_patterns),
    ] = []
    follow_links: Annotated[
        bool, key("Symbolic links that lead out of it are followed, too.", live=True)
    ] = False
    backend: Annotated[WantedBackend | None, key("How changes are noticed.", live=True)] = None
    settle: Annotated[
        Duration | None,
        key(
            "Silence after which a trace without an end mark counts as finished.",
            kind="duration",
            live=True,
        ),
    ] = None
    arguments: Annotated[
        list[str] | None,
        key("Arguments of events that have filters of their own.", live=True, check=_arguments),
    ] = None
    columns: Annotated[
        list[str] | None, key("Columns with inverted indices.", live=True, check=_columns)
    ] = None
    bloom_rate: Annotated[
        Annotated[float, Meta(ge=LEAST_BLOOM_RATE, le=GREATEST_BLOOM_RATE)] | None,
        key("The greatest share of chunks that a filter may claim wrongly.", live=True),
    ] = None
    interval: Annotated[
        Duration | None,
        key(
            "Width of a time bucket of the aggregation tier.",
            kind="duration",
            live=True,
            least=1e-6,
        ),
    ] = None
    publish: Annotated[
        bool | PublishedFormat,
        key(
            "Publish the index of its directories whenever they are quiet: `true` for "
            "dftracer-utils 0.0.12, or for the tool that is named.",
            live=True,
        ),
    ] = False


class Config(_Section, frozen=True, kw_only=True):
    """The whole configuration."""

    daemon: DaemonConfig = DaemonConfig()
    ipc: IpcConfig = IpcConfig()
    parser: ParserConfig = ParserConfig()
    store: StoreConfig = StoreConfig()
    indexing: IndexingConfig = IndexingConfig()
    metrics: MetricsConfig = MetricsConfig()
    log: LogConfig = LogConfig()
    watch: tuple[WatchConfig, ...] = ()


#: Every key outside of ``[[watch]]``, in the order of the tree.
KEYS: Final = tuple(
    one
    for field in msgspec.structs.fields(Config)
    if field.name != "watch"
    for one in keys_of(field.name, field.type)
)

#: The keys of one ``[[watch]]``.
WATCH_KEYS: Final = tuple(keys_of("watch", WatchConfig))
