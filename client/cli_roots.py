"""The verbs of ``dftindexd-client`` about directories: watching, indexing, upkeep of stores."""

from __future__ import annotations

import sys

import click

from dftindexd.client import cli_output as output
from dftindexd.client import cli_tables as tables
from dftindexd.client.cli_base import EXIT_ERROR
from dftindexd.client.cli_base import Settings as _Settings
from dftindexd.client.cli_base import meta as _meta
from dftindexd.client.cli_base import print_result as _print
from dftindexd.client.cli_base import verb as _verb
from dftindexd.protocol.requests import ListRequest, WantedBackend

__all__ = ()

_INCLUDE_HELP = "Index only such traces; may be given several times."
_SINCE_HELP = (
    "Only what changed after an earlier answer's generation, removed traces too. With @ and that "
    "answer's store_id (--meta), it is refused where another store answers now."
)
_timeout = click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Give up after this long."
)


@_verb("watch")
@click.argument("directory")
@click.option(
    "--backend",
    type=click.Choice(["auto", "inotify", "poll"]),
    help="How changes are noticed; auto: by the type of the file system.",
)
@click.option("--include", multiple=True, metavar="GLOB", help=_INCLUDE_HELP)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out such traces.")
@click.option("--follow-links", is_flag=True, help="Follow links that lead out of the directory.")
@click.option(
    "--index-column", "columns", multiple=True, metavar="NAME",
    help="Keep an inverted index of this column of events; may be given several times.",
)  # fmt: skip
def watch(
    settings: _Settings,
    directory: str,
    backend: WantedBackend | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow_links: bool,
    columns: tuple[str, ...],
) -> None:
    """Watch a directory tree from now on, also after a restart.

    Options, if any are given, replace what was given before. A GLOB is held against paths below the
    directory; one without a slash against every name on them.

    Example: dftindexd-client watch /scratch/traces --exclude tmp
    """
    with settings.connect() as client:
        result = client.watch(
            directory,
            backend=backend,
            include=include or None,
            exclude=exclude or None,
            follow_links=follow_links or None,
            columns=columns or None,
        )
    _print(settings, result, f"{'watching' if result.added else 'already watching'} {result.root}")


@_verb("unwatch")
@click.argument("directory")
@click.option("--purge", is_flag=True, help="Delete its store as well.")
def unwatch(settings: _Settings, directory: str, purge: bool) -> None:
    """Stop watching a directory tree.

    Example: dftindexd-client unwatch /scratch/traces --purge
    """
    with settings.connect() as client:
        result = client.unwatch(directory, purge=purge)
    purged = ", its store is deleted" if result.purged else ""
    _print(settings, result, f"no longer watching {result.root}{purged}")


def _checked_since(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> tuple[int, str] | None:
    if text is None:
        return None
    generation, _, store_id = text.partition("@")
    if not generation.isdecimal():
        raise click.BadParameter(f"{text!r} does not begin with a generation")
    return int(generation), store_id


@_verb("list")
@click.argument("directory", required=False)
@click.option("--since", metavar="GENERATION[@ID]", callback=_checked_since, help=_SINCE_HELP)
@_meta
def list_traces(
    settings: _Settings, directory: str | None, since: tuple[int, str] | None, meta: bool
) -> None:
    """List the traces below a directory, or of all roots.

    Example: dftindexd-client list /scratch/traces/run1
    """
    if since is not None and directory is None:
        raise click.UsageError("--since goes with a directory")
    settings.check_meta(meta)
    generation, store_id = since or (None, "")
    request = ListRequest(path=directory, since=generation, store_id=store_id)
    with settings.connect() as client, client.stream(request) as stream:
        output.print_head(stream.generation, stream.warnings, as_row=meta, store_id=stream.store_id)
        if settings.json:
            output.print_json_rows(stream)
        else:
            tables.print_rows(stream, below=directory, most=tables.TABLE_ROWS)


@_verb("index")
@click.argument("path")
@click.option("--wait", is_flag=True, help="Return when it is done.")
@click.option("-f", "--force", is_flag=True, help="Parse traces anew that are indexed already.")
def index(settings: _Settings, path: str, wait: bool, force: bool) -> None:
    """Index one trace, or all below a directory, ahead of others.

    Example: dftindexd-client index /scratch/traces/run1 --wait
    """
    with settings.connect() as client:
        result = client.index(path, wait=wait, force=force)
    done = "indexed" if wait else "queued"
    text = f"{result.traces} traces {done}, generation {result.generation}"
    _print(settings, result, text, result.problems)


@_verb("wait")
@click.argument("directory", required=False)
@_timeout
def wait(settings: _Settings, directory: str | None, timeout: float | None) -> None:
    """Wait until every trace is finished and indexed.

    Example: dftindexd-client wait /scratch/traces/run1 --timeout 600
    """
    with settings.connect() as client:
        result = client.wait(directory, timeout=timeout)
    _print(settings, result, f"all indexed, generation {result.generation}", result.problems)


@_verb("sync")
@click.argument("directory", required=False)
@_timeout
def sync(settings: _Settings, directory: str | None, timeout: float | None) -> None:
    """Wait until every complete line that is on disk now is in every answer.

    Example: dftindexd-client sync /scratch/traces/run1
    """
    with settings.connect() as client:
        result = client.sync(directory, timeout=timeout)
    _print(settings, result, f"in sync, generation {result.generation}", result.problems)


@_verb("compact")
@click.argument("directory")
@click.option("--now", is_flag=True, help="Delete also what is within the retention time.")
def compact(settings: _Settings, directory: str, now: bool) -> None:
    """Delete what was dropped from a directory's store, and give its room back.

    Example: dftindexd-client compact /scratch/traces --now
    """
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

    Example: dftindexd-client verify /scratch/traces --sample 16
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
    """Parse all traces of a directory anew, and wait for it.

    Example: dftindexd-client rebuild /scratch/traces/run1
    """
    with settings.connect() as client:
        result = client.rebuild(directory, timeout=timeout)
    text = f"{result.traces} traces rebuilt, generation {result.generation}"
    _print(settings, result, text, result.problems)


@_verb("backup")
@click.argument("directory")
@click.argument("out")
def backup(settings: _Settings, directory: str, out: str) -> None:
    """Copy the store of a directory, as it is now, to the new directory OUT.

    Example: dftindexd-client backup /scratch/traces /backup/traces-monday
    """
    with settings.connect() as client:
        result = client.backup(directory, out)
    text = f"{result.bytes:,} bytes in {result.path}, generation {result.generation}"
    _print(settings, result, text)
