"""The verbs of ``dftindexd-client`` about the daemon itself."""

from __future__ import annotations

import sys
import time
from typing import Final

import click

from dftindexd import __version__
from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client.cli_base import EXIT_DEGRADED
from dftindexd.client.cli_base import Settings as _Settings
from dftindexd.client.cli_base import meta as _meta
from dftindexd.client.cli_base import print_result as _print
from dftindexd.client.cli_base import verb as _verb
from dftindexd.client.sync_client import Client
from dftindexd.protocol.errors import DaemonUnreachableError

__all__ = ()

_POLL_SECONDS: Final = 0.1


@_verb("ping")
@click.option(
    "--wait",
    "patience",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Try again for this long until a daemon answers, as while one starts.",
)
def ping(settings: _Settings, patience: float) -> None:
    """Ask whether the daemon is well; exit code 4 if it is degraded.

    \b
    Examples:
      dftindexd-client ping && echo well
      dftindexd-client ping --wait 30
    """
    with _connect_within(settings, patience) as client:
        result = client.ping()
    if settings.json:
        output.print_document(result)
    else:
        ready = "ready" if result.ready else "not ready"
        caught_up = "caught up" if result.caught_up else "indexing"
        click.echo(f"pid {result.pid}, {ready}, {caught_up}")
        for reason in result.degraded:
            click.echo(f"degraded: {reason}")
    _exit_if_degraded(result.degraded)


@_verb("status")
def status(settings: _Settings) -> None:
    """Show every root, worker and actor; exit code 4 if something is degraded.

    Example: dftindexd-client status --json | jq .roots
    """
    with settings.connect() as client:
        result = client.status()
    if settings.json:
        output.print_document(result)
    else:
        tables.print_status(result)
    _exit_if_degraded(result.degraded)


@_verb("tail")
@click.argument("directory", required=False)
@_meta
def tail(settings: _Settings, directory: str | None, meta: bool) -> None:
    """Show what happens to the traces below a directory, or of all roots, until interrupted.

    Example: dftindexd-client tail /scratch/traces
    """
    settings.check_meta(meta)
    with settings.connect() as client, client.events(directory) as events:
        output.print_head(events.generation, events.warnings, as_row=meta)
        try:
            for event in events:
                if settings.json:
                    output.print_document(event)
                else:
                    click.echo(tables.event_line(event))
        except KeyboardInterrupt:
            return


@_verb("stop")
def stop(settings: _Settings) -> None:
    """End the daemon in order.

    Example: dftindexd-client stop
    """
    with settings.connect() as client:
        result = client.stop()
    _print(settings, result, f"pid {result.pid} is ending")


@_verb("version")
def version(settings: _Settings) -> None:
    """Show the versions of the client and of the daemon, if one answers.

    Example: dftindexd-client version
    """
    daemon: str | None = None
    reason = ""
    try:
        with settings.connect() as client:
            daemon = client.daemon.version
    except DaemonUnreachableError as error:
        reason = str(error)
    if settings.json:
        output.print_document({"client": __version__, "daemon": daemon})
        return
    click.echo(f"client {__version__}")
    click.echo(f"daemon {daemon}" if daemon else f"daemon unknown: {reason}")


def _connect_within(settings: _Settings, patience: float) -> Client:
    deadline = time.monotonic() + patience
    while True:
        try:
            return settings.connect()
        except DaemonUnreachableError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)


def _exit_if_degraded(reasons: tuple[str, ...]) -> None:
    if reasons:
        sys.exit(EXIT_DEGRADED)
