"""Tables for people: what ``dftindexd-client`` prints without ``--json``.

Columns that only programs need, and columns without a value, are left out; numbers are aligned,
and sizes and times have units. Scripts read ``--json``.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from dftindexd.protocol.events import IndexEvent
from dftindexd.protocol.requests import RootStatus, StatusResult

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("TABLE_ROWS", "age_text", "event_line", "print_rows", "print_status", "size_text")

#: How many rows are printed unless told: a table is measured whole before its first line.
TABLE_ROWS: Final = 200
_UNFOLDED = 10_000
_FOR_PROGRAMS = frozenset(
    {
        *("acc_pat", "file_hash", "host_hash", "io_cat", "proc_name", "root", "size_sq", "time_sq"),
        *("size_call_min", "size_call_max", "time_call_min", "time_call_max"),
    }
)
#: Columns that say nothing where they are 0.
_SELDOM = ("bad_lines", "damaged", "growing", "quarantined", "queued", "silent", "truncated")
_ROOT_COLUMNS: Final = (
    "root",
    "state",
    "generation",
    "traces",
    "indexed",
    "silent",
    "truncated",
    "growing",
    "queued",
    "quarantined",
    "damaged",
    "events",
    "bad_lines",
    "fast",
    "trace_bytes",
    "reason",
)

Row = dict[str, Any]


def print_rows(
    batches: Iterable[pa.RecordBatch], *, below: str | None, most: int, count: bool = True
) -> None:
    """Print *most* rows as a table; of the others only their number is told, or without *count*
    that there are some: then no more is taken than is printed.

    Paths of traces are printed relative to the directory *below* that was asked for.
    """
    rows: list[Row] = []
    names: Sequence[str] = ()
    total = 0
    for batch in batches:
        names = batch.schema.names
        rows += batch.slice(0, most - len(rows)).to_pylist()
        total += batch.num_rows
        if total > most and not count:
            break
    if below is not None:
        _shorten_paths(rows, below)
    _print_grid([name for name in names if name not in _FOR_PROGRAMS], rows)
    hidden = total - len(rows)
    told = total if count else len(rows)
    click.echo(f"{told:,} {'row' if told == 1 else 'rows'}", err=True)
    if hidden:
        which = f"{hidden:,} of them not shown" if count else "there are more"
        click.echo(f"{which}; use --limit, or --json for all", err=True)


def print_status(status: StatusResult) -> None:
    """Print the daemon's state as text and its roots as a table."""
    restarted = f", {status.worker_restarts} restarted" if status.worker_restarts else ""
    click.echo(
        f"dftindexd {status.version}, pid {status.pid}, up {age_text(status.uptime_seconds)}"
    )
    click.echo(f"socket {status.socket}")
    if status.state_dir:
        click.echo(f"state in {status.state_dir}")
    click.echo(f"{status.workers} workers{restarted}")
    click.echo(
        f"event loop late by {status.loop_lag_p99_ms:.0f} ms at the 99th percentile, "
        f"at most {status.loop_lag_max_ms:.0f} ms"
    )
    if status.restart_needed:
        click.secho(f"changed, but waits for a restart: {', '.join(status.restart_needed)}")
    for reason in status.degraded:
        click.secho(f"degraded: {reason}", fg="yellow")
    if not status.roots:
        click.echo("nothing is watched; dftindexd-client watch DIRECTORY")
        return
    click.echo()
    _print_grid(_ROOT_COLUMNS, [_root_row(root) for root in status.roots])
    for root in status.roots:
        if root.pending_bytes:
            click.echo(f"{root.root}: {_progress(root)}")
        for path in root.set_aside:
            click.echo(f"set aside, delete it when you like: {path}")


def event_line(event: IndexEvent) -> str:
    """Return one event as a line: when, what, whose, and what there is to say of it."""
    when = time.strftime("%H:%M:%S", time.localtime(event.time))
    told = (
        f"{event.missed:,} events missed" if event.missed else "",
        event.ending or "",
        f"{event.events:,} events" if event.kind in ("grew", "indexed") else "",
        event.reason,
    )
    return f"{when} {event.kind:<11} {_plain(event.path or event.root)}  {_plain(_joined(told))}"


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(filter(None, texts))


def _root_row(root: RootStatus) -> Row:
    row = {column: getattr(root, column) for column in _ROOT_COLUMNS if column != "fast"}
    return row | {"fast": _share(root.fast_lines, root.valid_lines)}


def _progress(root: RootStatus) -> str:
    left = "" if root.seconds_left is None else f", {age_text(root.seconds_left)} left"
    return (
        f"{decimal(root.done_bytes)} read, {decimal(root.pending_bytes)} to read, "
        f"{decimal(int(root.bytes_per_second))}/s{left}"
    )


def _share(part: int, whole: int) -> str:
    """Return a share in percent, rounded down: all of it is all of it."""
    return f"{math.floor(1000 * part / whole) / 10:g} %" if whole else ""


def _shorten_paths(rows: Iterable[Row], below: str) -> None:
    real = os.fsencode(os.path.realpath(below)).decode("utf-8", "backslashreplace")
    prefix = real.rstrip("/") + "/"
    for row in rows:
        if isinstance(row.get("path"), str):
            row["path"] = row["path"].removeprefix(prefix)


def _print_grid(columns: Iterable[str], rows: Sequence[Row]) -> None:
    filled = [name for name in columns if not rows or any(_says(name, row[name]) for row in rows)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in filled:
        numeric = any(isinstance(row[name], int | float) for row in rows)
        table.add_column(
            name.replace("trace_bytes", "bytes"),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in filled))
    # What is not read from a terminal is not folded to the width of one.
    console = Console() if sys.stdout.isatty() else Console(width=_UNFOLDED)
    console.print(table)


def _says(name: str, value: Any) -> bool:
    return value not in (None, "") and not (name in _SELDOM and value == 0)


def _cell(name: str, value: Any) -> Text:
    # As text, since the name of a trace may look like markup of rich.
    return Text("" if value is None else _FORMATS.get(name, _plain)(value))


def _plain(value: Any) -> str:
    if isinstance(value, str):
        # A line break in a name would break the table.
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    return f"{value:,.0f}"


def size_text(value: Any) -> str:
    """Return a number of bytes with its unit."""
    return decimal(int(value)) if value >= 0 else str(value)


def _seconds(value: Any) -> str:
    if value == 0:
        return "0 s"
    if value < 1e-3:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1e3:.3g} ms" if value < 1.0 else f"{value:,.3f} s"


def _since_origin(value: Any) -> str:
    return f"{value / 1e6:,.3f} s"


def age_text(seconds: float) -> str:
    """Return a time for people."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


_FORMATS: Final[dict[str, Callable[[Any], str]]] = {
    **dict.fromkeys(
        ("bad_lines", "count", "events", "generation", "indexed", "lines", "traces"), _number
    ),
    **dict.fromkeys(("bytes", "trace_bytes", "size", "size_min", "size_max"), size_text),
    **dict.fromkeys(("time", "time_min", "time_max"), _seconds),
    **dict.fromkeys(("time_start", "time_end"), _since_origin),
}
