"""Taking in what a cluster's workers built of a root's traces: checked, ingested, told.

The rows come into the store as those of the root's own workers do, by its actor. One delivery of a
root is taken in at a time, so that one that comes twice finds what the first left.
"""

from __future__ import annotations

import os
import secrets
import shutil
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread

from dftindexd.actors.commands import CommitResult, Ingest, Write
from dftindexd.index.artifacts.batch import read_delivery, read_metadata
from dftindexd.index.artifacts.files import unlink_all
from dftindexd.index.artifacts.taking import (
    Taking,
    check_key_ranges,
    not_taken,
    plan_taking,
    registration,
    take_files,
)
from dftindexd.index.store.writer import COPIES

if TYPE_CHECKING:
    from dftindexd.actors.root import Root

__all__ = ("Taken", "register", "take_in")


class Taken(NamedTuple):
    """How many batches were taken in, and the traces that are not as a batch showed them."""

    batches: int
    incomplete: dict[bytes, str]


class _Prepared(NamedTuple):
    """What the store's actor is asked to ingest."""

    batches: int
    taking: Taking
    artifacts: dict[str, tuple[str, ...]]


async def register(root: Root, names: tuple[bytes, ...]) -> list[int]:
    """Return the file ids of the traces *names* of *root*, new ones for those that have none."""
    async with root.taking, root.in_use():
        held = root.handle.registry.sets
        new = [registration(name) for name in dict.fromkeys(names) if name not in held]
        if new:
            await root.store.ask(Write(commits=tuple(new)))
        return [root.handle.registry.sets[name][0].file_id for name in names]


async def take_in(root: Root, path: str) -> Taken:
    """Take in the delivery at *path*, all in one commit.

    :raises ArtifactError: a file is missing, not as it was written, or not to be trusted; nothing
        is taken then.
    :raises RootError: a trace does not lie below the root.
    :raises StoreReadOnlyError: the store takes nothing now.
    """
    async with root.taking, root.in_use():
        prepared = await anyio.to_thread.run_sync(_prepare, root, path)
        if not prepared.batches:
            return Taken(0, {})
        try:
            # Whoever asked may go away; what is half on its way in is finished.
            with anyio.CancelScope(shield=True):
                done = await root.store.ask(
                    Ingest(commits=tuple(prepared.taking.commits), artifacts=prepared.artifacts)
                )
                await root.note_taken(tuple(prepared.taking.planned))
        finally:
            unlink_all(path for paths in prepared.artifacts.values() for path in paths)
        return Taken(prepared.batches, _incomplete(prepared.taking, done))


def _prepare(root: Root, path: str) -> _Prepared:
    """Look at a delivery, and have its files in the store's staging folder."""
    delivery = read_delivery(path)
    registry, staging = root.handle.registry, root.handle.staging
    batches = not_taken(map(read_metadata, delivery.batches), registry)
    taking = plan_taking(batches, registry, root.path)
    artifacts = take_files(batches, delivery.files, staging)
    if not artifacts:
        return _Prepared(len(batches), taking, artifacts)
    scratch = os.path.join(root.store_path, COPIES, f"delivery-{secrets.token_hex(4)}")
    try:
        os.makedirs(os.path.dirname(scratch), mode=0o700, exist_ok=True)
        check_key_ranges(batches, artifacts, scratch)
    except BaseException:
        unlink_all(path for paths in artifacts.values() for path in paths)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _Prepared(len(batches), taking, artifacts)


def _incomplete(taking: Taking, done: CommitResult) -> dict[bytes, str]:
    """Return the traces that are not whole, and those that the root changed meanwhile."""
    overtaken = {
        taking.planned[name]: reason for name, reason in done.refused if name in taking.planned
    }
    return taking.incomplete | overtaken
