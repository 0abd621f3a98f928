"""What ``dftindexd-client`` prints: one JSON document, JSON lines, and what is to be said of them.

Rows and documents go to standard output, everything about them to standard error.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from dftindexd.protocol.errors import DftIndexError, InvalidArgumentError

if TYPE_CHECKING:
    import pyarrow as pa

    from dftindexd.protocol.requests import TraceProblem

__all__ = (
    "limit_rows",
    "print_document",
    "print_error",
    "print_head",
    "print_json_rows",
    "print_problems",
    "slowest_first",
    "sort_batches",
)

# Values that JSON does not know, such as NaN, become null.
_JSON = msgspec.json.Encoder()


def print_document(document: object) -> None:
    """Print one JSON document on one line."""
    click.echo(_JSON.encode(document))


def print_error(error: DftIndexError) -> None:
    """Tell of an error on standard error."""
    click.echo(f"error: {error}", err=True)


def print_head(
    generation: int, warnings: Iterable[str], *, as_row: bool, store_id: str = ""
) -> None:
    """Print what precedes rows: the first JSON line if *as_row*, else text on standard error."""
    if as_row:
        store = {"store_id": store_id} if store_id else {}
        print_document({"generation": generation, "warnings": list(warnings), **store})
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"generation {generation}", err=True)


def print_json_rows(batches: Iterable[pa.RecordBatch]) -> None:
    """Print one JSON object a line, batch by batch."""
    for batch in batches:
        if batch.num_rows:
            click.echo(b"\n".join(map(_JSON.encode, batch.to_pylist())))


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
    import pyarrow as pa  # which takes as long to import as most verbs take
    from pyarrow import compute

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
    keys: pa.ChunkedArray[Any] = table.column(name)
    if pa.types.is_dictionary(keys.type):
        # Arrow sorts no dictionaries.
        keys = keys.cast(keys.type.value_type)
    return table.take(compute.sort_indices(keys, sort_keys=[(name, order)])).to_batches()


def slowest_first(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
    """Sort rows by their time, the longest first, where they have a time."""
    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        return []
    every = chain([first], stream)
    return sort_batches(every, "-time") if "time" in first.schema.names else every
