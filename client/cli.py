"""The command ``dftindexd-client``: one verb a request.

Exit codes: 0 done, 1 error, 2 usage, 3 daemon unreachable, 4 degraded (``status`` and ``ping``
only), 5 not found.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import click
import msgspec
import pyarrow as pa

from dftindexd import __version__
from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client.sync_client import Client, connect
from dftindexd.protocol.errors import DaemonUnreachableError, DftIndexError, NotFoundError
from dftindexd.protocol.message import Request
from dftindexd.protocol.requests import (
    AggregationKind,
    AggregationRequest,
    AnswerHead,
    ListRequest,
    TraceProblem,
)

__all__ = ("cli", "main")

EXIT_ERROR = 1
EXIT_UNREACHABLE = 3
EXIT_DEGRADED = 4
EXIT_NOT_FOUND = 5

F = TypeVar("F", bound=Callable[..., Any])

_SOCKET_HELP = "The daemon's socket; else DFTINDEXD_SOCKET, else the runtime directories."
_SINCE_HELP = "Only what changed after an earlier answer's generation, removed traces too."
_JSON_HELP = "Print JSON and nothing else."


class _Settings(msgspec.Struct):
    """What the options before and after the verb say together."""

    socket: str | None = None
    json: bool = False

    def connect(self) -> Client:
        return connect(self.socket)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--socket", metavar="S", help=_SOCKET_HELP)
@click.pass_context
def cli(ctx: click.Context, socket: str | None) -> None:
    """Ask the indexing daemon for DFTracer traces."""
    ctx.obj = _Settings(socket=socket)


def _verb(name: str) -> Callable[[F], click.Command]:
    """Make a verb: options that all have, and errors told with their exit codes."""

    def decorate(function: F) -> click.Command:
        def command(settings: _Settings, socket: str | None, as_json: bool, **given: Any) -> None:
            settings.socket = socket or settings.socket
            settings.json = as_json
            try:
                function(settings, **given)
            except DftIndexError as error:
                _fail(error)

        # Takes over the help text and the options of the verb itself.
        functools.update_wrapper(command, function)
        with_json = click.option("--json", "as_json", is_flag=True, help=_JSON_HELP)(command)
        with_socket = click.option("--socket", metavar="S", help=_SOCKET_HELP)(with_json)
        return cli.command(name)(click.pass_obj(with_socket))

    return decorate


def _fail(error: DftIndexError) -> NoReturn:
    output.print_error(error)
    if isinstance(error, DaemonUnreachableError):
        sys.exit(EXIT_UNREACHABLE)
    sys.exit(EXIT_NOT_FOUND if isinstance(error, NotFoundError) else EXIT_ERROR)


_meta = click.option(
    "--meta", is_flag=True, help="With --json: the first line is the generation and warnings."
)
_timeout = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this long."
)


@_verb("ping")
def ping(settings: _Settings) -> None:
    """Ask whether the daemon is well; exit code 4 if it is degraded."""
    with settings.connect() as client:
        result = client.ping()
    if settings.json:
        output.print_document(result)
    else:
        ready = "ready" if result.ready else "not ready"
        caught_up = "caught up" if result.caught_up else "indexing"
        click.echo(f"pid {result.pid}, {ready}, {caught_up}")
        for reason in result.degraded:
            click.echo(f"degraded: {reason}")
    _exit_if_degraded(result.degraded)


@_verb("status")
def status(settings: _Settings) -> None:
    """Show every root, worker and actor; exit code 4 if something is degraded."""
    with settings.connect() as client:
        result = client.status()
    if settings.json:
        output.print_document(result)
    else:
        tables.print_status(result)
    _exit_if_degraded(result.degraded)


def _exit_if_degraded(reasons: tuple[str, ...]) -> None:
    if reasons:
        sys.exit(EXIT_DEGRADED)


@_verb("watch")
@click.argument("directory")
def watch(settings: _Settings, directory: str) -> None:
    """Watch a directory tree from now on, also after a restart."""
    with settings.connect() as client:
        result = client.watch(directory)
    _print(settings, result, f"{'watching' if result.added else 'already watching'} {result.root}")


@_verb("unwatch")
@click.argument("directory")
@click.option("--purge", is_flag=True, help="Delete its store as well.")
def unwatch(settings: _Settings, directory: str, purge: bool) -> None:
    """Stop watching a directory tree."""
    with settings.connect() as client:
        result = client.unwatch(directory, purge=purge)
    purged = ", its store is deleted" if result.purged else ""
    _print(settings, result, f"no longer watching {result.root}{purged}")


@_verb("list")
@click.argument("directory", required=False)
@click.option("--since", type=click.IntRange(min=0), metavar="GENERATION", help=_SINCE_HELP)
@_meta
def list_traces(settings: _Settings, directory: str | None, since: int | None, meta: bool) -> None:
    """List the traces below a directory, or of all roots."""
    if since is not None and directory is None:
        raise click.UsageError("--since goes with a directory")
    request = ListRequest(path=directory, since=since)
    _print_rows(settings, request, meta=meta, below=directory)


@_verb("index")
@click.argument("path")
@click.option("--wait", is_flag=True, help="Return when it is done.")
@click.option("-f", "--force", is_flag=True, help="Parse traces anew that are indexed already.")
def index(settings: _Settings, path: str, wait: bool, force: bool) -> None:
    """Index one trace, or all below a directory, ahead of others."""
    with settings.connect() as client:
        result = client.index(path, wait=wait, force=force)
    done = "indexed" if wait else "queued"
    text = f"{result.traces} traces {done}, generation {result.generation}"
    _print(settings, result, text, result.problems)


@_verb("wait")
@click.argument("directory", required=False)
@_timeout
def wait(settings: _Settings, directory: str | None, timeout: float | None) -> None:
    """Wait until every trace is finished and indexed."""
    with settings.connect() as client:
        result = client.wait(directory, timeout=timeout)
    _print(settings, result, f"all indexed, generation {result.generation}", result.problems)


@_verb("sync")
@click.argument("directory", required=False)
@_timeout
def sync(settings: _Settings, directory: str | None, timeout: float | None) -> None:
    """Wait until every complete line that is on disk now is in every answer."""
    with settings.connect() as client:
        result = client.sync(directory, timeout=timeout)
    _print(settings, result, f"in sync, generation {result.generation}", result.problems)


@_verb("agg")
@click.argument("directory")
@click.option(
    "--kind",
    type=click.Choice(["events", "profiles", "system"]),
    default="events",
    show_default=True,
)
@click.option("--query", metavar="Q", help="""A filter, such as 'cat == "posix"'.""")
@click.option("--group-by", metavar="A,B", help="Columns to group by.")
@click.option("--finished-only", is_flag=True, help="Leave growing traces out.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print N rows at most.")
@click.option("--sort", metavar="COL", help="Sort by a column, downwards as -COL. Tables: -time.")
@_meta
def agg(
    settings: _Settings,
    directory: str,
    kind: AggregationKind,
    query: str | None,
    group_by: str | None,
    finished_only: bool,
    limit: int | None,
    sort: str | None,
    meta: bool,
) -> None:
    """Aggregate the traces below a directory."""
    columns = None if group_by is None else tuple(name.strip() for name in group_by.split(","))
    request = AggregationRequest(
        path=directory, kind=kind, query=query, group_by=columns, finished_only=finished_only
    )
    _print_rows(settings, request, meta=meta, limit=limit, sort=sort)


@_verb("compact")
@click.argument("directory")
@click.option("--now", is_flag=True, help="Delete also what is within the retention time.")
def compact(settings: _Settings, directory: str, now: bool) -> None:
    """Delete what was dropped from a directory's store, and give its room back."""
    with settings.connect() as client:
        result = client.compact(directory, now=now)
    text = (
        f"{result.segments_deleted} segments deleted, {result.segments_kept} kept, "
        f"{result.bytes_before:,} bytes before, {result.bytes_after:,} now"
    )
    _print(settings, result, text)


@_verb("verify")
@click.argument("directory")
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    metavar="N",
    help="Parse so many traces again and compare.",
)
@_timeout
def verify(settings: _Settings, directory: str, sample: int, timeout: float | None) -> None:
    """Check what the store holds of a directory's traces; exit code 1 if something is damaged.

    What is damaged is rebuilt from the traces; sync waits for that.
    """
    with settings.connect() as client:
        result = client.verify(directory, sample=sample, timeout=timeout)
    found = len(result.problems)
    text = (
        f"{result.traces} traces verified, {result.sampled} parsed again, "
        f"{found} {'problem' if found == 1 else 'problems'}, generation {result.generation}"
    )
    _print(settings, result, text)
    if not settings.json:
        for problem in result.problems:
            click.echo(f"{problem.path}: {problem.state}: {problem.reason}", err=True)
    if found:
        sys.exit(EXIT_ERROR)


@_verb("rebuild")
@click.argument("directory")
@_timeout
def rebuild(settings: _Settings, directory: str, timeout: float | None) -> None:
    """Parse all traces of a directory anew, and wait for it."""
    with settings.connect() as client:
        result = client.rebuild(directory, timeout=timeout)
    text = f"{result.traces} traces rebuilt, generation {result.generation}"
    _print(settings, result, text, result.problems)


@_verb("backup")
@click.argument("directory")
@click.argument("out")
def backup(settings: _Settings, directory: str, out: str) -> None:
    """Copy the store of a directory, as it is now, to the new directory OUT."""
    with settings.connect() as client:
        result = client.backup(directory, out)
    text = f"{result.bytes:,} bytes in {result.path}, generation {result.generation}"
    _print(settings, result, text)


@_verb("tail")
@click.argument("directory", required=False)
def tail(settings: _Settings, directory: str | None) -> None:
    """Show what happens to the traces below a directory, or of all roots, until interrupted."""
    with settings.connect() as client, client.events(directory) as events:
        try:
            for event in events:
                if settings.json:
                    output.print_document(event)
                else:
                    click.echo(tables.event_line(event))
        except KeyboardInterrupt:
            return


@_verb("stop")
def stop(settings: _Settings) -> None:
    """End the daemon in order."""
    with settings.connect() as client:
        result = client.stop()
    _print(settings, result, f"pid {result.pid} is ending")


@_verb("version")
def version(settings: _Settings) -> None:
    """Show the versions of the client and of the daemon, if one answers."""
    daemon: str | None = None
    reason = ""
    try:
        with settings.connect() as client:
            daemon = client.daemon.version
    except DaemonUnreachableError as error:
        reason = str(error)
    if settings.json:
        output.print_document({"client": __version__, "daemon": daemon})
        return
    click.echo(f"client {__version__}")
    click.echo(f"daemon {daemon}" if daemon else f"daemon unknown: {reason}")


def _print(
    settings: _Settings, result: msgspec.Struct, text: str, problems: Iterable[TraceProblem] = ()
) -> None:
    if settings.json:
        output.print_document(result)
        return
    click.echo(text)
    output.print_problems(problems)


def _print_rows(
    settings: _Settings,
    request: Request[AnswerHead],
    *,
    meta: bool,
    below: str | None = None,
    limit: int | None = None,
    sort: str | None = None,
) -> None:
    if meta and not settings.json:
        raise click.UsageError("--meta goes with --json")
    with settings.connect() as client, client.stream(request) as stream:
        output.print_head(stream.generation, stream.warnings, as_row=meta)
        batches: Iterable[pa.RecordBatch] = stream
        if sort is not None:
            batches = output.sort_batches(batches, sort)
        elif not settings.json:
            batches = output.slowest_first(batches)
        if limit is not None:
            batches = output.limit_rows(batches, limit)
        if settings.json:
            output.print_json_rows(batches)
        else:
            tables.print_rows(batches, below=below, most=limit or tables.TABLE_ROWS)


def main() -> None:
    """Run the command."""
    cli(prog_name="dftindexd-client")


if __name__ == "__main__":
    main()
