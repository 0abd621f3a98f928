"""The verb ``views``: what is kept of view sets, and its deletion."""

from __future__ import annotations

import os
import time
from typing import Final

import click
import msgspec
import pyarrow as pa

from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client.cli_base import Settings, verb
from dftindexd.protocol.view_requests import ViewStatus

__all__ = ("views",)

_SECOND: Final = 1_000_000_000


@verb("views")
@click.argument("action", type=click.Choice(["drop"]), required=False)
@click.option("--root", metavar="DIR", help="The root that holds DIR; else all.")
def views(settings: Settings, action: str | None, root: str | None) -> None:
    """Show what is kept of each view set; `drop` deletes it.

    What is deleted is made again when it is asked for. `facts` is kept for other views, and is none
    itself.

    \b
    Examples:
      dftindexd-client views
      dftindexd-client views drop --root /scratch/run1
    """
    with settings.connect() as client:
        if action is None:
            _print_views(client.views(root), as_json=settings.json)
            return
        dropped = client.drop_views(root)
    if settings.json:
        output.print_document(dropped)
        return
    click.echo(f"deleted {dropped.partitions} partitions, {tables.size_text(dropped.bytes)}")


def _print_views(kept: tuple[ViewStatus, ...], *, as_json: bool) -> None:
    if as_json:
        output.print_document(kept)
        return
    several = len({one.root for one in kept}) > 1
    rows = []
    for one in kept:
        row = msgspec.structs.asdict(one)
        del row["root"]
        used = None if one.used is None else tables.age_text(time.time() - one.used / _SECOND)
        name = os.path.join(one.root, one.view) if several else one.view
        rows.append(row | {"view": name, "used": used})
    batches = [pa.RecordBatch.from_pylist(rows)] if rows else []
    tables.print_rows(batches, below=None, most=len(rows))
