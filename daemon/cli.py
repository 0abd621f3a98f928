"""The command ``dftindexd``: run the daemon, index without one, see it work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import click
from msgspec.structs import replace

from dftindexd import __version__
from dftindexd.daemon import config_show
from dftindexd.daemon.app import run_daemon
from dftindexd.daemon.config_load import ConfigError, Loaded, read_config
from dftindexd.daemon.config_options import given_options, key_options
from dftindexd.daemon.index_command import IndexOptions, index_paths
from dftindexd.daemon.install_service import install, installation, own_command
from dftindexd.daemon.logs import configure_logs
from dftindexd.daemon.reload import Configuration
from dftindexd.daemon.run_options import run_options
from dftindexd.daemon.without_pandas import refuse_pandas
from dftindexd.index.errors import CoreError
from dftindexd.index.model import AggregationTier
from dftindexd.protocol.errors import DftIndexError

__all__ = ("main",)

T = TypeVar("T")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Index DFTracer traces as they are written, and serve the index as Arrow."""


_config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False),
    help="The configuration file. Default: config.toml in $CONFIGURATION_DIRECTORY, else "
    "/etc/dftindexd for root and ~/.config/dftindexd for others, if it is there.",
)


@main.command()
@_config_option
@click.option(
    "--watch",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="A directory tree to watch besides those of the configuration; may be given several "
    "times. Watched ones are remembered.",
)
@key_options()
def run(config_file: str | None, watch: tuple[str, ...], **options: Any) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT; SIGHUP reloads the configuration.

    Times and sizes may have units, as in the configuration file: 30s, 12h, 512MiB.

    Example: dftindexd run --watch /scratch/traces
    """
    given = given_options(options)
    loaded = _loaded(config_file, given)
    configure_logs(loaded.config.log.level)
    configuration = Configuration(loaded, lambda: read_config(config_file, given))
    daemon = run_options(loaded.config, tuple(map(os.path.abspath, watch)))
    refuse_pandas()
    _run_loop(
        lambda: anyio.run(run_daemon, daemon, configuration, backend_options={"use_uvloop": True})
    )


@main.command("check-config")
@_config_option
def check_config(config_file: str | None) -> None:
    """Say whether the configuration can be used: exit code 2 and what is wrong with it if not.

    Example: dftindexd check-config --config /etc/dftindexd/config.toml
    """
    loaded = _loaded(config_file, {})
    click.echo(f"{loaded.file or 'no configuration file'}: all well")


@main.command("print-config")
@_config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@key_options()
def print_config(config_file: str | None, as_json: bool, **options: Any) -> None:
    """Print the configuration that a run with these options has, and where each value is from.

    Example: dftindexd print-config
    """
    loaded = _loaded(config_file, given_options(options))
    show = config_show.as_json if as_json else config_show.as_toml
    click.echo(show(loaded).rstrip())


def _loaded(config_file: str | None, given: dict[str, Any]) -> Loaded:
    """Read the configuration; print what is wrong with it and end with status 2."""
    try:
        return read_config(config_file, given)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        sys.exit(2)


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
@key_options("indexing.arguments", "indexing.columns", "indexing.bloom_rate")
@click.option("-f", "--force", is_flag=True, help="Parse also what is indexed already.")
@key_options("daemon.state_dir", "parser.workers")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def index(
    paths: tuple[str, ...],
    aggregation: bool,
    interval_ms: float,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Index traces or directories of traces once, without a daemon.

    Example: dftindexd index --aggregation /scratch/traces/run1
    """
    configure_logs("warning")
    tier = AggregationTier(interval_us=int(interval_ms * 1000)) if aggregation else None
    config = _loaded(None, given_options(options)).config
    daemon = run_options(config, ())
    what = IndexOptions(
        paths=tuple(map(os.path.abspath, paths)),
        state_dir=daemon.state_dir,
        workers=daemon.workers,
        tiers=replace(daemon.root.tiers, aggregation=tier),
        force=force,
        as_json=as_json,
    )
    complete = _run_loop(lambda: anyio.run(index_paths, what, backend_options={"use_uvloop": True}))
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


@main.command("install-service")
@click.option("--user", is_flag=True, help="A daemon of your own, without root.")
@click.option("--dry-run", is_flag=True, help="Print the files, and write nothing.")
def install_service(user: bool, dry_run: bool) -> None:
    """Write the units for systemd, and say what they are and how they are put to use.

    Files that were there are replaced: what you change belongs into `systemctl edit dftindexd`.

    Example: dftindexd install-service --user
    """
    service = installation(own_command(), os.environ, user=user)
    if dry_run:
        for file in service.files:
            click.echo(f"# {file.path}: {file.purpose}\n{file.text}")
    else:
        results = _run_loop(lambda: install(service))
        for file, result in zip(service.files, results, strict=True):
            click.echo(f"{file.path} ({result}): {file.purpose}")
    click.echo("# To put them to use:" if dry_run else "To put them to use:")
    for command in service.commands:
        click.echo(f"  {command}")


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


def _run_loop(function: Callable[[], T]) -> T:
    """Run *function*; print an error of ours and end with status 1."""
    errors: list[Exception] = []
    try:
        return function()
    except* (CoreError, DftIndexError) as group:
        errors = _leaves(group)
    # Not in the clause: what is raised there becomes a group, which ends with a traceback.
    for error in errors:
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
