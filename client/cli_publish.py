"""The verb ``publish`` of ``dftindexd-client``.

What carries it out needs the libraries of the daemon, and is imported by name when they are there:
the client stands on the protocol alone.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec

import click
import msgspec

from dftindexd.client.cli_base import Settings as _Settings
from dftindexd.client.cli_base import verb as _verb
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.published_formats import FOR_UTILITIES, FORMATS

__all__ = ()

_MODULE = "dftindexd.compat.publish_command"


@_verb("publish")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--to",
    "out",
    metavar="OUT",
    type=click.Path(exists=True, file_okay=False),
    help="Where the store goes, as OUT/.dftindex; else beside the traces.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=FOR_UTILITIES,
    help="For which tool it is.",
)
@click.option(
    "--interval-ms",
    type=click.FloatRange(min=0.001),
    help="Width of a time bucket; else 1 s for dfanalyzer, and that of the daemon otherwise.",
)
@click.option("--force", is_flag=True, help="Keep a store of somebody else's aside.")
@click.option("--unfinished", is_flag=True, help="Publish traces that are still written, too.")
def publish(
    settings: _Settings,
    directory: str,
    out: str | None,
    form: str,
    interval_ms: float | None,
    force: bool,
    unfinished: bool,
) -> None:
    """Write the index of the traces in DIRECTORY for other tools: a .dftindex that dftracer-utils
    0.0.12 and dfanalyzer read instead of indexing.

    The files are yours. Traces are read again only where dftracer-utils sets checkpoints, as in
    one large gzip member, and for another --interval-ms than the daemon's. What was published
    before is replaced; what another tool made is not, without --force.

    \b
    Examples:
      dftindexd-client publish ~/traces/run1
      dftindexd-client publish ~/traces/run1 --format dfanalyzer-0.0.9
    """
    if find_spec("rocksdict") is None:
        raise InvalidArgumentError(
            "publishing needs what a daemon needs", "pip install 'dftindexd[daemon]'"
        )
    order = {
        "directory": os.path.abspath(directory),
        "out": None if out is None else os.path.abspath(out),
        "format": form,
        "interval_us": None if interval_ms is None else round(1000 * interval_ms),
        "force": force,
        "unfinished": unfinished,
        "socket": settings.socket,
        "json": settings.json,
    }
    sys.exit(import_module(_MODULE).main([msgspec.json.encode(order).decode()]))
