"""The configuration: one tree of structs, in which every key is declared once.

The file's tables, the variables of the environment, the options of ``dftindexd run``, the reference
and the JSON schema all come from here. Durations and sizes are kept as text. ``None`` is what is
not set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal, get_type_hints

import msgspec
from msgspec import Meta

from dftindexd.actors.file_systems import WantedBackend
from dftindexd.actors.gone_roots import GONE_SECONDS
from dftindexd.actors.open_stores import MOST_OPEN
from dftindexd.actors.parser_pool import STALL_SECONDS
from dftindexd.actors.root_options import RootOptions
from dftindexd.daemon.amounts import DURATION, SIZE, duration_text
from dftindexd.daemon.guests import known_groups, known_users
from dftindexd.index.model import (
    DEFAULT_INTERVAL_US,
    GREATEST_BLOOM_RATE,
    LEAST_BLOOM_RATE,
    TierConfig,
)
from dftindexd.index.trace_rules import TraceRules

__all__ = (
    "KEYS",
    "WATCH_KEYS",
    "Config",
    "Key",
    "Note",
    "WatchConfig",
)

Duration = Annotated[str, Meta(pattern=DURATION, examples=["500ms", "30s", "12h", "30d"])]
Size = Annotated[str, Meta(pattern=SIZE, examples=["512MiB", "100GB"])]

_ROOT: Final = RootOptions()


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is besides its type.

    ``option`` of ``dftindexd run``, whose numbers without a unit have the unit ``bare``.
    ``variable``: another variable of the environment. ``live``: a reload puts it into force.
    ``least``: seconds or bytes. ``check`` returns the value in its normal form, or raises
    ``ValueError``.
    """

    kind: Literal["plain", "path", "duration", "size"] = "plain"
    option: str = ""
    metavar: str | None = None
    bare: str = ""
    variable: str = ""
    live: bool = False
    least: float = 0.0
    check: Callable[[Any], Any] | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the tree, such as ``store.retention``."""

    section: str
    name: str
    type: Any
    default: Any
    help: str
    note: Note

    @property
    def path(self) -> str:
        """Its name with that of its table."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The variable of the environment that sets it."""
        return f"DFTINDEXD_{self.section.upper()}__{self.name.upper()}"


def _utf8(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{path!a} is not UTF-8, as stores need; name another") from error
    return path


def _arguments(names: list[str]) -> list[str]:
    return list(TierConfig(arguments=tuple(names)).normal().arguments)


def _patterns(patterns: list[str]) -> list[str]:
    TraceRules(include=tuple(patterns))
    return patterns


def _key(text: str, **note: Any) -> Meta:
    return Meta(description=text, extra={"note": Note(**note)})


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DaemonConfig(_Section, frozen=True, kw_only=True):
    """The daemon as a whole."""

    state_dir: Annotated[
        str | None,
        _key(
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
        _key(
            "The unix socket to serve. Default: $DFTINDEXD_SOCKET, else in the runtime directory.",
            kind="path",
            option="--socket",
            variable="DFTINDEXD_SOCKET",
        ),
    ] = None
    allow_users: Annotated[
        list[str],
        _key(
            "Let this user (name or number) in as a guest, who sees only what they may read on "
            "disk; may be given several times.",
            option="--allow-user",
            metavar="USER",
            check=known_users,
        ),
    ] = []
    allow_groups: Annotated[
        list[str],
        _key(
            "Let users of this group (name or number) in as guests; may be given several times.",
            option="--allow-group",
            metavar="GROUP",
            check=known_groups,
        ),
    ] = []


class ParserConfig(_Section, frozen=True, kw_only=True):
    """The processes that parse traces."""

    workers: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _key("Parser processes. Default: one a processor.", option="--workers"),
    ] = None
    stall: Annotated[
        Duration,
        _key(
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
        _key(
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
        _key(
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
        _key(
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
        _key(
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
        _key(
            "So many stores stay open; others are closed while nobody uses them.",
            option="--open-stores",
            metavar="N",
        ),
    ] = MOST_OPEN
    gone_retention: Annotated[
        Duration,
        _key(
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
        _key(
            "Seconds of silence after which a trace without an end mark counts as finished.",
            kind="duration",
            option="--settle",
            bare="s",
            live=True,
        ),
    ] = duration_text(_ROOT.settle_seconds)
    backend: Annotated[
        WantedBackend,
        _key(
            "How changes are noticed, where watch was not told; auto: by the type of file system.",
            option="--backend",
            live=True,
        ),
    ] = _ROOT.backend
    poll_interval: Annotated[
        Duration,
        _key(
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
        _key(
            "Keep filters of this argument of events as well, so that args.NAME == VALUE passes "
            "over chunks without it; may be given several times. Traces are then indexed more "
            "slowly.",
            option="--argument",
            metavar="NAME",
            live=True,
            check=_arguments,
        ),
    ] = []
    bloom_rate: Annotated[
        Annotated[float, Meta(ge=LEAST_BLOOM_RATE, le=GREATEST_BLOOM_RATE)],
        _key(
            "The greatest share of chunks that a filter may claim wrongly; less takes more room.",
            option="--bloom-rate",
            live=True,
        ),
    ] = TierConfig().bloom_rate
    interval: Annotated[
        Duration,
        _key(
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
        _key(
            "Serve metrics for Prometheus at http://127.0.0.1:PORT/metrics, to whoever can connect "
            "there.",
            option="--metrics-port",
            metavar="PORT",
        ),
    ] = None
    file: Annotated[
        str | None,
        _key(
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
        _key("What is less than this is not logged.", option="--log-level", live=True),
    ] = "info"


class WatchConfig(_Section, frozen=True, kw_only=True):
    """One root that is watched for as long as it stands here. What is not set is as for others."""

    path: Annotated[str, _key("The directory tree to watch.", kind="path")]
    include: Annotated[
        list[str],
        _key(
            "Globs over paths below it: these traces are indexed. Empty: all.",
            live=True,
            check=_patterns,
        ),
    ] = []
    exclude: Annotated[
        list[str],
        _key("Globs over paths below it: these are not.", live=True, check=_patterns),
    ] = []
    follow_links: Annotated[
        bool, _key("Symbolic links that lead out of it are followed, too.", live=True)
    ] = False
    backend: Annotated[WantedBackend | None, _key("How changes are noticed.", live=True)] = None
    settle: Annotated[
        Duration | None,
        _key(
            "Silence after which a trace without an end mark counts as finished.",
            kind="duration",
            live=True,
        ),
    ] = None
    arguments: Annotated[
        list[str] | None,
        _key("Arguments of events that have filters of their own.", live=True, check=_arguments),
    ] = None
    bloom_rate: Annotated[
        Annotated[float, Meta(ge=LEAST_BLOOM_RATE, le=GREATEST_BLOOM_RATE)] | None,
        _key("The greatest share of chunks that a filter may claim wrongly.", live=True),
    ] = None
    interval: Annotated[
        Duration | None,
        _key(
            "Width of a time bucket of the aggregation tier.",
            kind="duration",
            live=True,
            least=1e-6,
        ),
    ] = None
    publish: Annotated[
        bool,
        _key(
            "Publish the index of its directories for other tools whenever they are quiet.",
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


def _keys_of(section: str, struct: type[msgspec.Struct]) -> Iterator[Key]:
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        (meta,) = (one for one in hints[field.name].__metadata__ if one.extra)
        default = field.default_factory() if callable(field.default_factory) else field.default
        yield Key(
            section=section,
            name=field.name,
            type=field.type,
            default=default,
            help=meta.description,
            note=meta.extra["note"],
        )


#: Every key outside of ``[[watch]]``, in the order of the tree.
KEYS: Final = tuple(
    key
    for field in msgspec.structs.fields(Config)
    if field.name != "watch"
    for key in _keys_of(field.name, field.type)
)

#: The keys of one ``[[watch]]``.
WATCH_KEYS: Final = tuple(_keys_of("watch", WatchConfig))
