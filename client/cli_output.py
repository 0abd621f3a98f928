"""What ``dftindexd-client`` prints: one JSON document, JSON lines, or tables for people.

Rows and documents go to standard output, everything about them to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Literal

import click
import msgspec
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dftindexd.protocol.errors import DftIndexError, InvalidArgumentError
from dftindexd.protocol.requests import StatusResult, TraceProblem

__all__ = (
    "limit_rows",
    "print_document",
    "print_error",
    "print_head",
    "print_json_rows",
    "print_problems",
    "print_status",
    "print_table",
    "sort_batches",
)

# A table for people has to be measured whole before its first line is printed.
_TABLE_ROWS = 200
_UNFOLDED = 10_000
_ROOT_COLUMNS = (
    "root",
    "state",
    "generation",
    "traces",
    "indexed",
    "growing",
    "queued",
    "quarantined",
    "events",
    "reason",
)

# Values that JSON does not know, such as NaN, become null.
_JSON = msgspec.json.Encoder()


def print_document(document: object) -> None:
    """Print one JSON document on one line."""
    click.echo(_JSON.encode(document))


def print_error(error: DftIndexError) -> None:
    """Tell of an error on standard error."""
    click.echo(f"error: {error}", err=True)


def print_head(generation: int, warnings: Iterable[str], *, as_row: bool) -> None:
    """Print what precedes rows: the first JSON line if *as_row*, else text on standard error."""
    if as_row:
        print_document({"generation": generation, "warnings": list(warnings)})
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"generation {generation}", err=True)


def print_json_rows(batches: Iterable[pa.RecordBatch]) -> None:
    """Print one JSON object a line, batch by batch."""
    for batch in batches:
        if batch.num_rows:
            click.echo(b"\n".join(map(_JSON.encode, batch.to_pylist())))


def print_table(batches: Iterable[pa.RecordBatch]) -> None:
    """Print rows as a table; past the first few hundred only their number is told."""
    table: Table | None = None
    shown = total = 0
    for batch in batches:
        if table is None:
            table = _headed(batch.schema)
        for row in batch.slice(0, _TABLE_ROWS - shown).to_pylist():
            table.add_row(*map(_cell, row.values()))
            shown += 1
        total += batch.num_rows
    if table is not None:
        _console().print(table)
    click.echo(f"{total} rows", err=True)
    if total > shown:
        click.echo(f"{total - shown} of them not shown; use --limit, or --json for all", err=True)


def print_status(status: StatusResult) -> None:
    """Print the daemon's state as text and its roots as a table."""
    console = _console()
    console.print(
        f"dftindexd {status.version}, pid {status.pid}, up {status.uptime_seconds:.0f} s",
        highlight=False,
    )
    console.print(f"state in {status.state_dir}", highlight=False, soft_wrap=True)
    console.print(f"{status.workers} workers, {status.worker_restarts} restarted", highlight=False)
    for reason in status.degraded:
        console.print(f"degraded: {reason}", style="yellow", highlight=False, soft_wrap=True)
    table = _grid(_ROOT_COLUMNS)
    for root in status.roots:
        table.add_row(*(_cell(getattr(root, column)) for column in _ROOT_COLUMNS))
    console.print(table)


def print_problems(problems: Iterable[TraceProblem]) -> None:
    """Print traces that are not in the index as they lie on disk, on standard error."""
    for problem in problems:
        click.echo(f"warning: {problem.path} is {problem.state}: {problem.reason}", err=True)


def limit_rows(batches: Iterable[pa.RecordBatch], limit: int) -> Iterable[pa.RecordBatch]:
    """Yield the first *limit* rows, and ask for nothing beyond them."""
    left = limit
    for batch in batches:
        yield batch.slice(0, left)
        left -= batch.num_rows
        if left <= 0:
            return


def sort_batches(batches: Iterable[pa.RecordBatch], column: str) -> list[pa.RecordBatch]:
    """Sort all rows by *column*, downwards if it begins with a minus.

    Raises:
        InvalidArgumentError: there is no such column.
    """
    collected = list(batches)
    if not collected:
        return []
    name = column.removeprefix("-")
    table = pa.Table.from_batches(collected)
    if name not in table.column_names:
        raise InvalidArgumentError(
            f"there is no column {name!r} to sort by",
            f"the columns are {', '.join(table.column_names)}",
        )
    order: Literal["ascending", "descending"] = (
        "descending" if column.startswith("-") else "ascending"
    )
    return table.sort_by([(name, order)]).to_batches()


def _console() -> Console:
    # What is not read from a terminal is not folded to the width of one.
    return Console() if sys.stdout.isatty() else Console(width=_UNFOLDED)


def _headed(schema: pa.Schema) -> Table:
    return _grid(schema.names)


def _grid(columns: Iterable[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cell(value: Any) -> Text:
    # As text, since the name of a trace may look like markup of rich.
    return Text("" if value is None else str(value))
