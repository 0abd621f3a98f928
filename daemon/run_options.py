"""What ``dftindexd run`` does, from the configuration that holds."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from dftindexd.actors.gone_roots import GONE_SECONDS
from dftindexd.actors.open_stores import MOST_OPEN
from dftindexd.actors.parser_pool import STALL_SECONDS
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.state_dir import RootSettings
from dftindexd.daemon.amounts import bytes_of, seconds_of
from dftindexd.daemon.callers import Admission
from dftindexd.daemon.config import Config, WatchConfig
from dftindexd.daemon.guests import admission_of
from dftindexd.daemon.memory_budget import default_budget, memory_there_is
from dftindexd.daemon.metrics_outlets import MetricsOptions
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.time_limit import REQUEST_SECONDS
from dftindexd.index.model import AggregationTier, TierConfig
from dftindexd.index.trace_rules import TraceRules
from dftindexd.protocol.published_formats import FOR_UTILITIES, PublishedFormat

__all__ = (
    "RunOptions",
    "configured_roots",
    "default_workers",
    "root_options",
    "run_options",
    "tier_config",
)


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the daemon was told; paths are absolute. ``configured`` are the roots of the
    configuration, ``watch`` those of the command line."""

    state_dir: str
    socket: str
    watch: tuple[str, ...] = ()
    workers: int = 2
    open_stores: int = MOST_OPEN
    gone_seconds: float = GONE_SECONDS
    memory_budget: int
    stall_seconds: float = STALL_SECONDS
    root: RootOptions = RootOptions()
    admission: Admission = msgspec.field(default_factory=Admission)
    request_seconds: float = REQUEST_SECONDS
    metrics: MetricsOptions = MetricsOptions()
    configured: Mapping[bytes, RootSettings] = {}


def default_workers() -> int:
    """Return the number of parser processes where none is given: one a processor we may use."""
    return len(os.sched_getaffinity(0))


def run_options(config: Config, watch: tuple[str, ...]) -> RunOptions:
    """Return what a complete *config* says; *watch* are the directories of the command line."""
    store, parser, metrics = config.store, config.parser, config.metrics
    budget = _bytes(parser.memory_budget)
    if config.daemon.state_dir is None or config.ipc.socket is None:
        raise ValueError("a configuration is complete only after resolve()")
    return RunOptions(
        state_dir=config.daemon.state_dir,
        socket=config.ipc.socket,
        watch=watch,
        workers=parser.workers or default_workers(),
        open_stores=store.open_stores,
        gone_seconds=seconds_of(store.gone_retention),
        memory_budget=default_budget(memory_there_is()) if budget is None else budget,
        stall_seconds=seconds_of(parser.stall),
        root=root_options(config),
        admission=admission_of(config.ipc.allow_users, config.ipc.allow_groups),
        request_seconds=seconds_of(config.ipc.request_limit),
        metrics=MetricsOptions(port=metrics.port, file=metrics.file),
        configured=configured_roots(config),
    )


def root_options(config: Config) -> RootOptions:
    """Return how roots are indexed where nothing else is said of them."""
    indexing, store = config.indexing, config.store
    return RootOptions(
        tiers=tier_config(
            indexing.arguments,
            indexing.columns,
            indexing.bloom_rate,
            seconds_of(indexing.interval),
        ),
        settle_seconds=seconds_of(indexing.settle),
        backend=indexing.backend,
        poll_seconds=seconds_of(indexing.poll_interval),
        retention_seconds=seconds_of(store.retention),
        store_limit_bytes=_bytes(store.limit),
        state_limit_bytes=_bytes(store.state_limit),
    )


def configured_roots(config: Config) -> dict[bytes, RootSettings]:
    """Return the roots that *config* names, by their real paths, and how they are watched."""
    return {request_path(root.path): _settings(root, config) for root in config.watch}


def _settings(root: WatchConfig, config: Config) -> RootSettings:
    indexing = config.indexing
    tiers = tier_config(
        indexing.arguments if root.arguments is None else root.arguments,
        indexing.columns if root.columns is None else root.columns,
        indexing.bloom_rate if root.bloom_rate is None else root.bloom_rate,
        seconds_of(root.interval or indexing.interval),
    )
    return RootSettings(
        backend=root.backend,
        rules=TraceRules(
            include=tuple(root.include),
            exclude=tuple(root.exclude),
            follow_links=root.follow_links,
        ),
        settle_seconds=None if root.settle is None else seconds_of(root.settle),
        tiers=tiers,
        publish=_format(root.publish),
    )


def _format(publish: bool | PublishedFormat) -> PublishedFormat | None:
    if isinstance(publish, bool):
        return FOR_UTILITIES if publish else None
    return publish


def tier_config(
    arguments: list[str], columns: list[str], bloom_rate: float, interval_seconds: float
) -> TierConfig:
    """Return the tiers of a root: all of them."""
    return TierConfig(
        aggregation=AggregationTier(interval_us=round(interval_seconds * 1e6)),
        arguments=tuple(arguments),
        postings=tuple(columns),
        bloom_rate=bloom_rate,
    )


def _bytes(size: str | None) -> int | None:
    return None if size is None else bytes_of(size)
