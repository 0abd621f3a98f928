"""The verbs ``read`` and ``explain``: single events, and what finding them takes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

import click
import pyarrow as pa

from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client.cli_base import Settings, finished_only, meta, verb
from dftindexd.protocol.requests import ExplainResult

__all__ = ("explain", "read")

_Range = tuple[int, int]

#: The end of a range that has none.
_NO_END: Final = 2**63 - 1
#: What people are shown of an event unless they name columns.
_SHOWN: Final = ("trace", "line", "cat", "name", "pid", "tid", "ts", "dur", "args")


def _between(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> _Range | None:
    """Return the range that ``A:B`` says; either may be left out."""
    if value is None:
        return None
    begin, colon, end = value.partition(":")
    try:
        first, last = int(begin or 0), int(end) if end else _NO_END
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no range A:B of numbers") from error
    if not colon or not 0 <= first <= last:
        raise click.BadParameter(f"{value!r} is no range A:B of numbers from 0, A not over B")
    return first, last


_query = click.option("--query", default="", metavar="Q", help="""Such as 'dur > 1000'.""")
_lines = click.option(
    "--lines",
    callback=_between,
    metavar="A:B",
    help="Lines A to B (not in) of each trace, from 0.",
)
_bytes = click.option(
    "--bytes",
    "text",
    callback=_between,
    metavar="A:B",
    help="Lines that begin there in the text.",
)


@verb("read")
@click.argument("path")
@_query
@_lines
@_bytes
@click.option("--columns", metavar="A,B", help="Fields of events, or trace, line, json, args.")
@click.option("--raw", is_flag=True, help="Print the lines as they are in the trace.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print N events at most.")
@finished_only
@meta
def read(
    settings: Settings,
    path: str,
    query: str,
    lines: _Range | None,
    text: _Range | None,
    columns: str | None,
    raw: bool,
    limit: int | None,
    finished_only: bool,
    meta: bool,
) -> None:
    """Read the events of one trace, or of all traces below a directory.

    Only those parts of a trace are read that can hold what the query keeps; explain tells which.

    \b
    Examples:
      dftindexd-client read /scratch/traces/run1/app-1.pfw.gz --limit 20
      dftindexd-client read /scratch/traces --query 'name == "read" and dur > 10000' --json
      dftindexd-client read app.pfw.gz --lines 1000:1010 --raw
    """
    settings.check_meta(meta)
    if raw and (settings.json or columns is not None):
        raise click.UsageError("--raw goes with neither --json nor --columns")
    names = _names(columns, _SHOWN if not settings.json else None)
    with (
        settings.connect() as client,
        client.read(
            path,
            query=query,
            lines=lines,
            bytes=text,
            columns=None if raw else names,
            raw=raw,
            finished_only=finished_only,
        ) as stream,
    ):
        output.print_head(stream.generation, stream.warnings, as_row=meta)
        batches: Iterable[pa.RecordBatch] = (batch for batch in stream if batch.num_rows)
        if limit is not None:
            batches = output.limit_rows(batches, limit)
        if raw:
            _print_lines(batches)
        elif settings.json:
            output.print_json_rows(batches)
        else:
            tables.print_rows(batches, below=None, most=limit or tables.TABLE_ROWS, count=False)


def _names(columns: str | None, default: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if columns is None:
        return default
    return tuple(name.strip() for name in columns.split(","))


def _print_lines(batches: Iterable[pa.RecordBatch]) -> None:
    out = sys.stdout.buffer
    for batch in batches:
        out.writelines(b"%b\n" % line.as_py() for line in batch.column(0))
        out.flush()


@verb("explain")
@click.argument("path")
@_query
@_lines
@_bytes
@finished_only
def explain(
    settings: Settings,
    path: str,
    query: str,
    lines: _Range | None,
    text: _Range | None,
    finished_only: bool,
) -> None:
    """Tell how much of the traces a read would read, and what spares the rest.

    Example: dftindexd-client explain /scratch/traces --query 'name == "read" and dur > 10000'
    """
    with settings.connect() as client:
        result = client.explain(
            path, query=query, lines=lines, bytes=text, finished_only=finished_only
        )
    if settings.json:
        output.print_document(result)
        return
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    _print_explanation(result)


def _print_explanation(result: ExplainResult) -> None:
    click.echo(
        f"{result.read:,} of {result.chunks:,} chunks are read, "
        f"{tables.size_text(result.read_bytes)} of {tables.size_text(result.text_bytes)} of text, "
        f"in {result.traces:,} {'trace' if result.traces == 1 else 'traces'}"
    )
    for reason, count in sorted(result.skipped.items(), key=lambda pair: -pair[1]):
        click.echo(f"{count:,} passed over by {reason}")
    shown = [trace for trace in result.details if trace.read]
    for trace in shown:
        click.echo(f"{trace.read:,} of {trace.chunks:,} chunks of {trace.path}")
    hidden = result.traces - len(result.details)
    if hidden > 0 and len(shown) == len(result.details):
        click.echo(f"{hidden:,} more traces, of which less is read; --json has no more", err=True)
