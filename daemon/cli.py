"""The command ``dftindexd``: run the daemon, index without one, see it work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

import anyio
import click

from dftindexd import __version__
from dftindexd.actors.file_systems import WantedBackend
from dftindexd.actors.gone_roots import GONE_SECONDS
from dftindexd.actors.open_stores import MOST_OPEN
from dftindexd.actors.parser_pool import STALL_SECONDS
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.state_dir import default_state_dir
from dftindexd.daemon.app import RunOptions, default_workers, run_daemon
from dftindexd.daemon.cli_access import access_options, admission_of
from dftindexd.daemon.index_command import IndexOptions, index_paths
from dftindexd.daemon.logs import configure_logs
from dftindexd.daemon.memory_budget import default_budget, memory_there_is
from dftindexd.daemon.metrics_outlets import MetricsOptions
from dftindexd.daemon.without_pandas import refuse_pandas
from dftindexd.index.errors import CoreError
from dftindexd.index.model import (
    GREATEST_BLOOM_RATE,
    LEAST_BLOOM_RATE,
    AggregationTier,
    TierConfig,
)
from dftindexd.protocol.errors import DftIndexError
from dftindexd.protocol.paths import default_socket_path

__all__ = ("main",)

T = TypeVar("T")

_DAY_SECONDS = 86_400.0
_LEVELS = click.Choice(["debug", "info", "warning", "error"])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Index DFTracer traces as they are written, and serve the index as Arrow."""


def _state_dir_option(function: Callable[..., T]) -> Callable[..., T]:
    return click.option(
        "--state-dir",
        type=click.Path(file_okay=False),
        help="Where stores lie. Default: $DFTINDEXD_STATE_DIR, $STATE_DIRECTORY, else "
        "/var/lib/dftindexd for root and ~/.local/state/dftindexd for others.",
    )(function)


def _workers_option(function: Callable[..., T]) -> Callable[..., T]:
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Parser processes. Default: one a processor.",
    )(function)


def _filter_options(function: Callable[..., T]) -> Callable[..., T]:
    argument = click.option(
        "--argument",
        "arguments",
        multiple=True,
        metavar="NAME",
        callback=_checked_arguments,
        help="Keep filters of this argument of events as well, so that args.NAME == VALUE passes "
        "over chunks without it; may be given several times. Traces are then indexed more slowly.",
    )
    rate = click.option(
        "--bloom-rate",
        type=click.FloatRange(min=LEAST_BLOOM_RATE, max=GREATEST_BLOOM_RATE),
        default=TierConfig().bloom_rate,
        show_default=True,
        help="The greatest share of chunks that a filter may claim wrongly; less takes more room.",
    )
    return argument(rate(function))


def _checked_arguments(
    _context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return TierConfig(arguments=names).normal().arguments
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _state_dir(given: str | None) -> str:
    path = os.path.abspath(given or default_state_dir(os.environ, os.getuid()))
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise click.UsageError(
            f"the state directory {path!a} is not UTF-8, as stores need; "
            "name another with --state-dir"
        ) from error
    return path


@main.command()
@click.option(
    "--watch",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="A directory tree to watch; may be given several times. Watched ones are remembered.",
)
@_state_dir_option
@click.option(
    "--socket",
    type=click.Path(dir_okay=False),
    help="The unix socket to serve. Default: $DFTINDEXD_SOCKET, else in the runtime directory.",
)
@_workers_option
@click.option(
    "--retention",
    type=click.FloatRange(min=0.0),
    metavar="SECONDS",
    default=RootOptions().retention_seconds,
    show_default=True,
    help="How long what was dropped from a store is kept.",
)
@click.option(
    "--store-limit",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="A store that takes more becomes read-only.",
)
@click.option(
    "--state-limit",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Where all stores together take more, they become read-only.",
)
@click.option(
    "--open-stores",
    type=click.IntRange(min=1),
    metavar="N",
    default=MOST_OPEN,
    show_default=True,
    help="So many stores stay open; others are closed while nobody uses them.",
)
@click.option(
    "--gone-retention",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="DAYS",
    default=GONE_SECONDS / _DAY_SECONDS,
    show_default=True,
    help="A root that was deleted so long ago is unwatched and its index deleted.",
)
@click.option(
    "--settle",
    type=click.FloatRange(min=0.0),
    default=RootOptions().settle_seconds,
    show_default=True,
    help="Seconds of silence after which a trace without an end mark counts as finished.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "inotify", "poll"]),
    default=RootOptions().backend,
    show_default=True,
    help="How changes are noticed, where watch was not told; auto: by the type of file system.",
)
@click.option(
    "--poll-interval",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    default=RootOptions().poll_seconds,
    show_default=True,
    help="How often a root that is polled is looked at.",
)
@click.option(
    "--stall",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    default=STALL_SECONDS,
    show_default=True,
    help="How long a parse may make no progress before its worker is killed.",
)
@click.option(
    "--memory-budget",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="Parse so much at once that the workers are expected to take no more. Default: a quarter "
    "of the memory that is available at the start, or of the control group's, at most 8192.",
)
@_filter_options
@access_options
@click.option("--log-level", type=_LEVELS, default="info", show_default=True)
def run(
    watch: tuple[str, ...],
    state_dir: str | None,
    socket: str | None,
    workers: int | None,
    retention: float,
    store_limit: int | None,
    state_limit: int | None,
    open_stores: int,
    gone_retention: float,
    settle: float,
    backend: WantedBackend,
    poll_interval: float,
    stall: float,
    memory_budget: int | None,
    arguments: tuple[str, ...],
    bloom_rate: float,
    allow_users: tuple[str, ...],
    allow_groups: tuple[str, ...],
    metrics_port: int | None,
    metrics_file: str | None,
    log_level: str,
) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT.

    Example: dftindexd run --watch /scratch/traces
    """
    configure_logs(log_level)
    options = RunOptions(
        state_dir=_state_dir(state_dir),
        socket=os.path.abspath(socket or default_socket_path(os.environ, os.getuid())),
        watch=tuple(map(os.path.abspath, watch)),
        workers=workers or default_workers(),
        open_stores=open_stores,
        gone_seconds=gone_retention * _DAY_SECONDS,
        memory_budget=(
            default_budget(memory_there_is()) if memory_budget is None else memory_budget << 20
        ),
        stall_seconds=stall,
        admission=admission_of(allow_users, allow_groups),
        metrics=MetricsOptions(
            port=metrics_port,
            file=None if metrics_file is None else os.path.abspath(metrics_file),
        ),
        root=RootOptions(
            tiers=TierConfig(arguments=arguments, bloom_rate=bloom_rate),
            settle_seconds=settle,
            backend=backend,
            poll_seconds=poll_interval,
            retention_seconds=retention,
            store_limit_bytes=None if store_limit is None else store_limit << 20,
            state_limit_bytes=None if state_limit is None else state_limit << 20,
        ),
    )
    refuse_pandas()
    _run_loop(lambda: anyio.run(run_daemon, options, backend_options={"use_uvloop": True}))


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--aggregation", is_flag=True, help="Build the aggregation tier as well.")
@click.option(
    "--interval-ms",
    type=click.FloatRange(min=0.001),
    default=5000.0,
    show_default=True,
    help="Width of a time bucket of the aggregation tier.",
)
@_filter_options
@click.option("-f", "--force", is_flag=True, help="Parse also what is indexed already.")
@_state_dir_option
@_workers_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def index(
    paths: tuple[str, ...],
    aggregation: bool,
    interval_ms: float,
    arguments: tuple[str, ...],
    bloom_rate: float,
    force: bool,
    state_dir: str | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Index traces or directories of traces once, without a daemon.

    Example: dftindexd index --aggregation /scratch/traces/run1
    """
    configure_logs("warning")
    tier = AggregationTier(interval_us=int(interval_ms * 1000)) if aggregation else None
    options = IndexOptions(
        paths=tuple(map(os.path.abspath, paths)),
        state_dir=_state_dir(state_dir),
        workers=workers or default_workers(),
        tiers=TierConfig(aggregation=tier, arguments=arguments, bloom_rate=bloom_rate),
        force=force,
        as_json=as_json,
    )
    complete = _run_loop(
        lambda: anyio.run(index_paths, options, backend_options={"use_uvloop": True})
    )
    sys.exit(0 if complete else 1)


@main.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=1.0, max=600.0),
    default=6.0,
    show_default=True,
    help="How long the traced program runs.",
)
def demo(seconds: float) -> None:
    """See it work: a real program under the real tracer, indexed while it runs, and queried."""
    from dftindexd.daemon.demo import run_demo

    sys.exit(run_demo(seconds))


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


def _run_loop(function: Callable[[], T]) -> T:
    """Run *function*; print an error of ours and end with status 1."""
    try:
        return function()
    except* (CoreError, DftIndexError) as group:
        for error in _leaves(group):
            click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


if __name__ == "__main__":
    main()
