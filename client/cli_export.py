"""The verb ``export``: rows of views, and calls, as files of other programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dftindexd.client import cli_output as output
from dftindexd.client.cli_base import Settings, verb
from dftindexd.client.cli_times import begin_option, end_option
from dftindexd.client.exports.source import Advance, Source
from dftindexd.client.exports.statements import Choice
from dftindexd.client.exports.writing import (
    FORMATS,
    STDOUT,
    TABLE_FORMATS,
    Form,
    Order,
    form_of,
    write,
)

__all__ = ("export",)

_FORMAT_HELP = "Default: what the suffix of OUT names."
_FILTER_HELP = "Keep rows by their columns: SQL, such as \"name = 'read' AND duration > 1000\"."
_SET_HELP = "The view set, for parquet and arrow."
_PARTITION_HELP = "One directory a value, for parquet. Default: day, where rows have a time."
_SEVERAL = "may be given several times."


@verb("export")
@click.argument("directory")
@click.argument("out")
@click.option("--format", "form", type=click.Choice(FORMATS), help=_FORMAT_HELP)
@click.option("--set", "view_set", metavar="SET", help=f"{_SET_HELP} Default: events.")
@click.option("--columns", metavar="A,B", help="Columns of the set, for parquet and arrow.")
@click.option("--partition-by", metavar="A,B", help=_PARTITION_HELP)
@click.option("--filter", "condition", default="", metavar="SQL", help=_FILTER_HELP)
@begin_option
@end_option
@click.option(
    "--process", "processes", multiple=True, metavar="ID", help=f"Only this process; {_SEVERAL}"
)
@click.option(
    "--stream", "streams", multiple=True, metavar="ID", help=f"Only this thread; {_SEVERAL}"
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="N rows at most.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
    metavar="S", help="A longer run of one of the statements that it takes is an error.",
)  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Replace what an earlier export wrote.")
def export(
    settings: Settings,
    directory: str,
    out: str,
    form: Form | None,
    view_set: str | None,
    columns: str | None,
    partition_by: str | None,
    condition: str,
    begin: int | None,
    end: int | None,
    processes: tuple[str, ...],
    streams: tuple[str, ...],
    limit: int | None,
    seconds: float,
    force: bool,
) -> None:
    """Write what is known of the traces below a directory to OUT, for other programs.

    parquet: a directory partitioned as Hive does it, of any view set; arrow: an Arrow IPC file of
    one; perfetto: trace events for Perfetto; otlp: spans of OpenTelemetry, one request a line;
    folded: stacks for flame graph tools; html: a flame graph in one page. OUT - is standard output;
    OUT.gz is compressed. docs/exports.md has more.

    \b
    Examples:
      dftindexd-client export /scratch/traces/run1 run1.html
      dftindexd-client export /scratch/traces/run1 run1.json.gz --filter 'duration > 1000'
      dftindexd-client export /scratch/traces/run1 calls.parquet --set thread_spans
    """
    chosen = form or form_of(out)
    order = Order(
        form=chosen,
        out=out,
        title=os.path.basename(os.path.abspath(directory)) or directory,
        view_set=view_set or "events",
        columns=_names(columns),
        partition_by=_names(partition_by),
        force=force,
    )
    _check(settings, order, view_set)
    choice = Choice(
        directory=directory,
        condition=condition,
        processes=processes,
        streams=streams,
        begin=begin,
        end=end,
        limit=limit,
        seconds=seconds,
    )
    with settings.connect() as client, _progress() as advance:
        source = Source(client, choice, advance)
        written = write(source, order)
    for warning in source.warnings:
        click.echo(f"warning: {warning}", err=True)
    if written is None:
        click.echo(f"{source.rows:,} rows, generation {source.generation}", err=True)
    elif settings.json:
        output.print_document(written)
    else:
        click.echo(
            f"{written.rows:,} rows, {decimal(written.bytes)} in {written.path}, "
            f"generation {written.generation}"
        )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name for one in text.split(",") if (name := one.strip()))


def _check(settings: Settings, order: Order, view_set: str | None) -> None:
    if order.form not in TABLE_FORMATS and (view_set or order.columns):
        raise click.UsageError(f"--set and --columns go with {' and '.join(TABLE_FORMATS)}")
    if order.form != "parquet" and order.partition_by is not None:
        raise click.UsageError("--partition-by goes with parquet")
    if order.out.endswith(".gz") and order.form in (*TABLE_FORMATS, "html"):
        raise click.UsageError(f"{order.form} is not written as .gz")
    if order.out != STDOUT:
        return
    if order.form == "parquet":
        raise click.UsageError("parquet is a directory, and not for standard output")
    if settings.json:
        raise click.UsageError("--json tells of what was written; it does not go with -")
    if order.form == "arrow" and sys.stdout.isatty():
        raise click.UsageError("arrow is nothing for a terminal; redirect it to a file")


@contextmanager
def _progress() -> Iterator[Advance]:
    progress = Progress(
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with progress:
        bar = progress.add_task("", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
