"""Building an index inside the caller's process: an engine on an event loop of its own.

The loop runs on a thread for the duration of one build, so the caller may be a script without a
``__main__`` guard, ``python -c``, or code inside a running event loop.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass

import anyio.from_thread
import structlog

from dftindexd.actors.engine import EngineOptions, open_engine
from dftindexd.actors.scheduler import RootOptions
from dftindexd.compat.selection import Selection, state_dir
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import TierConfig

__all__ = ("Build", "run_build")


@dataclass(frozen=True, slots=True)
class Build:
    """What to build. ``workers`` is the number of parser processes, 0 for one a processor."""

    selection: Selection
    index_dir: str
    tiers: TierConfig
    workers: int
    force: bool


def run_build(build: Build) -> None:
    """Index the selected traces as they are on disk, and forget those that are gone.

    What a trace holds never fails a build: :meth:`Indexer.resolve` tells which are not ready.

    :raises DFTUtilsIndexerError: the store or the state directory cannot be used, such as when a
        daemon has it; the message names it.
    """
    _quieten_logs()
    with ExitStack() as stack:
        stack.enter_context(translated_errors())
        # A store in an index_dir is guarded by its own lock; the state directory is not ours then.
        directory = state_dir()
        if build.index_dir:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="dftindexd-"))
        portal = stack.enter_context(
            anyio.from_thread.start_blocking_portal(name="dftindexd-indexer")
        )
        portal.call(_build, build, directory)


async def _build(build: Build, directory: str) -> None:
    options = EngineOptions(
        state_dir=directory,
        owner=f"an embedded indexer, pid {os.getpid()}",
        workers=build.workers or len(os.sched_getaffinity(0)),
        root=RootOptions(tiers=build.tiers, follow=False, recursive=False),
    )
    selection = build.selection
    async with open_engine(options) as engine:
        root = await engine.add_root(
            selection.root, store_path=selection.store_path(build.index_dir)
        )
        tickets = [await root.leave_ticket(path, force=build.force) for path in selection.targets]
        for ticket in tickets:
            await ticket.wait()


def _quieten_logs() -> None:
    """Keep the engine's log off the caller's standard output, unless the caller set logs up."""
    if structlog.is_configured():
        return
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
