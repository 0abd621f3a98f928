"""What publishes: ``dftindexd-client publish`` calls :func:`main`, and a daemon that publishes by
itself runs ``python -m dftindexd.compat.publish_command ORDER``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import msgspec

from dftindexd.client.cli_output import print_document, print_error
from dftindexd.compat.publishing import Order, Published, publish
from dftindexd.protocol.errors import DaemonUnreachableError, DftIndexError, NotFoundError

__all__ = ("main",)

_EXIT_ERROR = 1
_EXIT_UNREACHABLE = 3
_EXIT_NOT_FOUND = 5


def main(arguments: Sequence[str]) -> int:
    """Publish as an order in JSON says; return the exit code of the client's command."""
    order = msgspec.json.decode(arguments[0], type=Order)
    try:
        published = _with_progress(order)
    except DftIndexError as error:
        print_error(error)
        if isinstance(error, DaemonUnreachableError):
            return _EXIT_UNREACHABLE
        return _EXIT_NOT_FOUND if isinstance(error, NotFoundError) else _EXIT_ERROR
    if order.json:
        print_document(published)
    else:
        _print(published)
    return 0


def _with_progress(order: Order) -> Published:
    if order.json or not sys.stderr.isatty():
        return publish(order)
    from rich.console import Console  # only here: it takes a while to import
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    # Its thread begins with the first progress, after the workers were forked.
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
    task = bar.add_task("publishing", total=None)

    def show(done: int, everything: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=everything)

    try:
        return publish(order, show)
    finally:
        bar.stop()


def _print(published: Published) -> None:
    click.echo(
        f"published {published.traces:,} traces with {published.events:,} events: "
        f"{published.path}, {published.bytes:,} bytes"
    )
    if published.aside:
        click.echo(f"what was there is kept as {published.aside}")
    for path, why in published.left_out.items():
        click.echo(f"warning: {path} is left out: {why}", err=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
