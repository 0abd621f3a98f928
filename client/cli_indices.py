"""The verb ``indices``: which columns have an inverted index, what it holds, and what it spares."""

from __future__ import annotations

import click

from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client.cli_base import Settings, finished_only, meta, verb
from dftindexd.protocol.inverted_requests import IndicesRequest, PartitionsRequest, Scalar
from dftindexd.protocol.message import AnswerHead, Request

__all__ = ("indices",)


@verb("indices")
@click.option("--root", metavar="DIR", help="Traces below DIR; else all, with absolute paths.")
@click.option("--column", metavar="C", help="The index of this column.")
@click.option("--value", "values", multiple=True, metavar="V", help="Only this value; repeatable.")
@click.option("--null", is_flag=True, help="Only the chunks with events that lack the column.")
@click.option("--query", metavar="Q", help="The chunks that can hold what Q keeps.")
@finished_only
@meta
def indices(
    settings: Settings,
    root: str | None,
    column: str | None,
    values: tuple[str, ...],
    null: bool,
    query: str | None,
    finished_only: bool,
    meta: bool,
) -> None:
    """Show which chunks of traces hold a value of a column: the inverted indices.

    Without --column: which columns have an index. A chunk is TRACE#NUMBER.

    \b
    Examples:
      dftindexd-client indices --root /scratch/run1
      dftindexd-client indices --root /scratch/run1 --column name --value read
      dftindexd-client indices --root /scratch/run1 --query 'pid == 77 and cat == "posix"'
    """
    settings.check_meta(meta)
    wanted: tuple[Scalar, ...] = (*values, *([None] if null else []))
    if (wanted and column is None) or (query is not None and (column is not None or root is None)):
        raise click.UsageError(
            "--value and --null go with --column, --query goes with --root and without them"
        )
    request: Request[AnswerHead]
    if query is not None and root is not None:
        request = PartitionsRequest(path=root, query=query, finished_only=finished_only)
    else:
        request = IndicesRequest(
            path=root, column=column, values=wanted or None, finished_only=finished_only
        )
    with settings.connect() as client, client.stream(request) as stream:
        output.print_head(stream.generation, stream.warnings, as_row=meta)
        if settings.json:
            output.print_json_rows(stream)
        else:
            tables.print_rows(stream, below=None, most=tables.TABLE_ROWS)
