"""``dftindexd index``: index once, in this process and its workers, without a daemon."""

from __future__ import annotations

import os
import sys

import anyio
import anyio.to_thread
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dftindexd.actors.engine import Engine, open_engine
from dftindexd.actors.engine_options import EngineOptions
from dftindexd.actors.root import Root
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.tickets import Ticket
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.tables import damage_of, directory_of, display
from dftindexd.index.errors import StoreLockedError
from dftindexd.index.model import TierConfig
from dftindexd.index.store.registry import sets_below

__all__ = ("IndexOptions", "index_paths")

_PROGRESS_SECONDS = 0.1


class IndexOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command was told."""

    paths: tuple[str, ...]
    state_dir: str
    workers: int
    tiers: TierConfig
    force: bool
    as_json: bool


class IndexedPath(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one path of the command line.

    ``parsed`` of the ``traces`` were read now, the others were indexed before. ``problems`` are
    traces that are not in the index as they lie on disk; ``warnings`` are those that are, but are
    damaged.
    """

    path: str
    store: str
    traces: int
    parsed: int
    events: int
    bad_lines: int
    problems: dict[str, str]
    warnings: dict[str, str]


async def index_paths(options: IndexOptions) -> bool:
    """Index every path, show progress on a terminal, print a summary; return whether all went well.

    :raises StoreLockedError: a daemon works in the state directory.
    """
    engine_options = EngineOptions(
        state_dir=options.state_dir,
        owner=f"dftindexd index, pid {os.getpid()}",
        workers=options.workers,
        root=RootOptions(tiers=options.tiers, follow=False),
    )
    try:
        async with open_engine(engine_options) as engine:
            with _progress() as progress:
                done = [await _index(engine, path, options, progress) for path in options.paths]
    except StoreLockedError as error:
        raise StoreLockedError(
            error.message, "ask that daemon: dftindexd-client index PATH --wait"
        ) from error
    _report(done, options)
    return not any(entry.problems for entry in done)


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} traces"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


async def _index(
    engine: Engine, path: str, options: IndexOptions, progress: Progress
) -> IndexedPath:
    real = request_path(path)
    root = await engine.add_root(await anyio.to_thread.run_sync(directory_of, real))
    before = _contents(root, real)
    ticket = await root.leave_ticket(real, force=options.force)
    problems = await _wait(root, ticket, progress, path)
    records = root.records(real)
    return IndexedPath(
        path=path,
        store=root.store_path,
        traces=len(records),
        parsed=sum(before.get(path) != now for path, now in _contents(root, real).items()),
        events=sum(record.complete_events for record in records),
        bad_lines=sum(record.lines.bad for record in records),
        problems={_name(root, name): why for name, why in sorted(problems.items())},
        warnings={
            _name(root, record.path): text for record in records if (text := damage_of(record))
        },
    )


def _contents(root: Root, path: bytes) -> dict[bytes, tuple[object, ...]]:
    """Return for each trace what changes only by parsing it."""
    return {
        sets[0].path: tuple((record.stamp, record.segments) for record in sets)
        for sets in sets_below(root.handle.registry, root.relative(path))
    }


def _name(root: Root, path: bytes) -> str:
    return display(os.path.join(root.path, path))


async def _wait(root: Root, ticket: Ticket, progress: Progress, label: str) -> dict[bytes, str]:
    bar = progress.add_task(label, total=0)
    problems: dict[bytes, str] = {}

    async def wait() -> None:
        problems.update(await ticket.wait())
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while True:
            owed = root.state.queued + len(root.state.in_flight)
            progress.update(bar, total=ticket.traces, completed=max(0, ticket.traces - owed))
            await anyio.sleep(_PROGRESS_SECONDS)
    progress.update(bar, total=ticket.traces, completed=ticket.traces)
    return problems


def _report(done: list[IndexedPath], options: IndexOptions) -> None:
    if options.as_json:
        sys.stdout.write(msgspec.json.encode({"indexed": done}).decode() + "\n")
        return
    for entry in done:
        sys.stdout.write(
            f"{entry.path}: {entry.traces:,} traces, {entry.parsed:,} of them parsed now, "
            f"{entry.events:,} events, {entry.bad_lines:,} bad lines\n  in {entry.store}\n"
        )
        for path, reason in (entry.warnings | entry.problems).items():
            sys.stderr.write(f"warning: {path}: {reason}\n")
