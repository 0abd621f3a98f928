"""The verbs of ``dftindexd-client`` for whoever runs a daemon: ``metrics`` and ``debug-dump``."""

from __future__ import annotations

import click

from dftindexd.client import cli_output as output
from dftindexd.client.cli_base import Settings as _Settings
from dftindexd.client.cli_base import verb as _verb

__all__ = ()


@_verb("metrics")
def metrics(settings: _Settings) -> None:
    """Show the daemon's metrics in the text format of Prometheus.

    Example: dftindexd-client metrics | grep loop_lag
    """
    with settings.connect() as client:
        text = client.metrics()
    if settings.json:
        output.print_document({"text": text})
    else:
        click.echo(text, nl=False)


@_verb("debug-dump")
def debug_dump(settings: _Settings) -> None:
    """Show tasks, threads, mailboxes, stores and recent errors of the daemon, as one JSON document.

    It holds no path, query or other text of a user's, so that it can be sent to whoever looks for
    a fault.

    Example: dftindexd-client debug-dump > dump.json
    """
    with settings.connect() as client:
        output.print_document(client.debug_dump())
