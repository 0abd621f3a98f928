"""The verb ``sql``: one SELECT over the views of traces."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from itertools import chain, islice
from typing import Literal

import click
import pyarrow as pa

from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client import table_files as files
from dftindexd.client.cli_base import Settings, meta, verb
from dftindexd.client.cli_times import begin_option, end_option
from dftindexd.client.reading import sql_request
from dftindexd.client.sql_progress import progress_bar
from dftindexd.client.sync_client import BlockingAnswerStream

__all__ = ("sql",)

_Format = Literal["table"] | files.Format


@verb("sql")
@click.argument("query")
@click.option("--root", metavar="DIR", help="Traces below DIR; else all, with a column root.")
@begin_option
@end_option
@click.option(
    "--rows", type=click.IntRange(min=1), default=1_000_000, show_default=True, metavar="N",
    help="More rows are an error.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
    metavar="S", help="A longer run is an error.",
)  # fmt: skip
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *files.FORMATS]),
    help="Default: a table; json with --json.",
)
@meta
def sql(
    settings: Settings,
    query: str,
    root: str | None,
    begin: int | None,
    end: int | None,
    rows: int,
    seconds: float,
    form: _Format | None,
    meta: bool,
) -> None:
    """Ask the views of traces in SQL: one SELECT, or EXPLAIN of one.

    docs/views.md has the views and their columns.

    \b
    Examples:
      dftindexd-client sql 'SELECT process_id, start_time FROM processes' --root /scratch/run1
      dftindexd-client sql "SELECT name, sum(duration) FROM
        view_instance('thread_spans', 'node1:77:1700000000000000:77') GROUP BY name"
    """
    chosen = _format(settings, form)
    if meta and chosen != "json":
        raise click.UsageError("--meta goes with --json")
    ticket = secrets.token_hex(8)
    request = sql_request(
        query, root, begin=begin, end=end, rows=rows, seconds=seconds, ticket=ticket
    )
    with settings.connect() as client, ExitStack() as stack:
        with progress_bar(client, ticket):
            stream = stack.enter_context(client.stream(request, timeout=None))
        output.print_head(stream.generation, stream.warnings, as_row=meta)
        if chosen == "table":
            tables.print_rows(map(_with_text, stream), below=None, most=tables.TABLE_ROWS)
        elif chosen == "json":
            output.print_json_rows(map(_with_text, stream))
        else:
            _write(stream, chosen)


def _format(settings: Settings, form: _Format | None) -> _Format:
    if settings.json and form not in (None, "json"):
        raise click.UsageError(f"--json is --format json, and not --format {form}")
    if form in ("parquet", "arrow") and sys.stdout.isatty():
        raise click.UsageError(f"{form} is nothing for a terminal; redirect it to a file")
    return "json" if settings.json else form or "table"


def _write(stream: BlockingAnswerStream, form: files.Format) -> None:
    # What the columns are is known when the first batch was asked for, also if there is none.
    first = list(islice(stream, 1))
    files.write_batches(chain(first, stream), stream.schema, sys.stdout.buffer, form)


def _with_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch with its times as text: Python has no time in nanoseconds."""
    if not any(map(pa.types.is_timestamp, batch.schema.types)):
        return batch
    columns = [
        column.cast(pa.utf8()) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
