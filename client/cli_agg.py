"""The verb ``agg``: the aggregation of traces as a table, a file, or a picture."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from typing import Final, Literal, cast

import click
import pyarrow as pa

from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client import table_files as files
from dftindexd.client.cli_base import Settings, finished_only, meta, verb
from dftindexd.client.sync_client import BlockingAnswerStream
from dftindexd.protocol.requests import AggregationKind, AggregationRequest

__all__ = ("agg",)

_Format = Literal["table"] | files.Format
#: So many events are read in a second or two.
_FEW_OPERATIONS: Final = 50_000
_OUT_HELP = "Write to FILE, which appears whole; its suffix is the format unless --format is given."
_PLOT_HELP = "Draw bandwidth and operations over time: .png, .svg or .pdf. Needs dftindexd[plot]."


@verb("agg")
@click.argument("directory")
@click.option(
    "--kind",
    type=click.Choice(["events", "profiles", "system"]),
    default="events",
    show_default=True,
)
@click.option("--query", metavar="Q", help="""A filter, such as 'cat == "posix"'.""")
@click.option("--group-by", metavar="A,B", help="Columns to group by.")
@finished_only
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print N rows at most.")
@click.option("--sort", metavar="COL", help="Sort by a column, downwards as -COL. Tables: -time.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *files.FORMATS]),
    help="Default: a table; json with --json.",
)
@click.option("-o", "--output", "out", metavar="FILE", help=_OUT_HELP)
@click.option("--plot", metavar="FILE", help=_PLOT_HELP)
@meta
def agg(
    settings: Settings,
    directory: str,
    kind: AggregationKind,
    query: str | None,
    group_by: str | None,
    finished_only: bool,
    limit: int | None,
    sort: str | None,
    form: _Format | None,
    out: str | None,
    plot: str | None,
    meta: bool,
) -> None:
    """Aggregate the traces below a directory.

    \b
    Examples:
      dftindexd-client agg /scratch/traces/run1 --group-by func_name --sort -time --limit 20
      dftindexd-client agg /scratch/traces/run1 --query 'cat == "posix"' -o posix.parquet
      dftindexd-client agg /scratch/traces/run1 --plot run1.png
    """
    columns = None if group_by is None else tuple(name.strip() for name in group_by.split(","))
    request = AggregationRequest(
        path=directory, kind=kind, query=query, group_by=columns, finished_only=finished_only
    )
    if plot is not None:
        if any(given is not None for given in (group_by, limit, sort, form, out)):
            raise click.UsageError("--plot goes with --query, --kind and --finished-only alone")
        _plot(settings, request, plot)
        return
    chosen = _format(settings, form, out)
    if meta and (chosen != "json" or out is not None):
        raise click.UsageError("--meta goes with --json")
    with settings.connect() as client, client.stream(request) as stream:
        output.print_head(stream.generation, stream.warnings, as_row=meta)
        batches = _arranged(stream, sort, limit, is_table=chosen == "table")
        if chosen == "table":
            tables.print_rows(batches, below=None, most=limit or tables.TABLE_ROWS)
        elif chosen == "json" and out is None:
            output.print_json_rows(batches)
        else:
            _write(batches, chosen, out)


def _format(settings: Settings, form: _Format | None, out: str | None) -> _Format:
    """Return the format that the options say together."""
    if settings.json:
        if form not in (None, "json"):
            raise click.UsageError(f"--json is --format json, and not --format {form}")
        return "json"
    if out is None:
        chosen: _Format = form or "table"
        if chosen in ("parquet", "arrow") and sys.stdout.isatty():
            raise click.UsageError(f"{chosen} is nothing for a terminal; give -o FILE")
        return chosen
    if form == "table":
        raise click.UsageError("a table is for the screen; -o takes another --format")
    return form or files.format_of(out)


def _arranged(
    stream: BlockingAnswerStream, sort: str | None, limit: int | None, *, is_table: bool
) -> Iterable[pa.RecordBatch]:
    batches: Iterable[pa.RecordBatch] = stream
    if sort is not None:
        batches = output.sort_batches(batches, sort)
    elif is_table:
        batches = output.slowest_first(batches)
    return batches if limit is None else output.limit_rows(batches, limit)


def _write(batches: Iterable[pa.RecordBatch], form: _Format, out: str | None) -> None:
    rest = iter(batches)
    first = next(rest, None)
    schema = pa.schema([]) if first is None else first.schema
    every = rest if first is None else chain([first], rest)
    kind = cast("files.Format", form)
    if out is None:
        files.write_batches(every, schema, sys.stdout.buffer, kind)
        return
    with files.beside(out) as target:
        rows = files.write_batches(every, schema, target, kind)
    click.echo(f"{rows:,} {'row' if rows == 1 else 'rows'} in {out}", err=True)


def _plot(settings: Settings, request: AggregationRequest, path: str) -> None:
    from dftindexd.client import plot

    drawing = plot.require_plotting(path)
    with settings.connect() as client:
        with client.stream(request) as stream:
            output.print_head(stream.generation, stream.warnings, as_row=False)
            activity = plot.activity_of(stream)
        # The two kinds of filters have different fields: one of rows is none of events.
        is_all = request.query is None and request.kind == "events"
        if is_all and activity.operations <= _FEW_OPERATIONS:
            with client.read(
                request.path,
                query=plot.EVENT_QUERY,
                columns=plot.EVENT_COLUMNS,
                finished_only=request.finished_only,
            ) as events:
                activity = plot.activity_of_events(events, activity)
    with files.beside(path) as target:
        plot.draw(activity, request.path, target, drawing)
    if settings.json:
        output.print_document({"plot": path, "operations": activity.operations})
        return
    click.echo(f"{activity.operations:,} operations over {activity.seconds:,.3g} s in {path}")
