"""Building an index inside the caller's process: an engine on an event loop of its own.

The loop runs on a thread for the duration of one build, so the caller may be a script without a
``__main__`` guard, ``python -c``, or code inside a running event loop.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module

from dftindexd.actors.worker_process import ForkServer
from dftindexd.compat.selection import RULES, Selection, state_dir
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import TierConfig
from dftindexd.index.tier_sets import Sets

__all__ = ("Build", "run_build")


@dataclass(frozen=True, slots=True)
class Build:
    """What to build. ``workers`` is the number of parser processes, 0 for one a processor."""

    selection: Selection
    index_dir: str
    tiers: TierConfig
    workers: int
    force: bool


def run_build(build: Build) -> Mapping[bytes, Sets]:
    """Index the selected traces as they are on disk, and forget those that are gone.

    Returns what the store holds then.

    What a trace holds never fails a build: :meth:`Indexer.resolve` tells which are not ready.

    :raises DFTUtilsIndexerError: the store or the state directory cannot be used, such as when a
        daemon has it; the message names it.
    """
    with ExitStack() as stack:
        # What forks the workers starts while the engine is imported here.
        server = ForkServer()
        stack.callback(server.end)
        import anyio.from_thread

        stack.enter_context(translated_errors())
        # A store in an index_dir is guarded by its own lock; the state directory is not ours then.
        directory = state_dir()
        if build.index_dir:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="dftindexd-"))
        portal = stack.enter_context(
            anyio.from_thread.start_blocking_portal(name="dftindexd-indexer")
        )
        return portal.call(_build, build, directory, server)


def _number_of_workers(build: Build) -> int:
    """Return how many workers are of use: no more than there are traces."""
    wanted = build.workers or len(os.sched_getaffinity(0))
    return max(1, min(wanted, len(build.selection.stamps)))


async def _build(build: Build, directory: str, server: ForkServer) -> Mapping[bytes, Sets]:
    import anyio.to_thread

    from dftindexd.actors.engine import open_engine
    from dftindexd.actors.engine_options import EngineOptions
    from dftindexd.actors.root_options import RootOptions

    options = EngineOptions(
        state_dir=directory,
        owner=f"an embedded indexer, pid {os.getpid()}",
        workers=_number_of_workers(build),
        root=RootOptions(tiers=build.tiers, follow=False, recursive=False, rules=RULES),
    )
    selection = build.selection
    async with open_engine(options, server) as engine:
        root = await engine.add_root(
            selection.root, store_path=selection.store_path(build.index_dir)
        )
        tickets = [await root.leave_ticket(path, force=build.force) for path in selection.targets]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, _import_reading)
            for ticket in tickets:
                await ticket.wait()
        return root.handle.registry.sets


def _import_reading() -> None:
    """Import what the caller will read with, while the workers are busy."""
    import_module("dftindexd.compat.reading")
