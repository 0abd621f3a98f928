"""What a scheduler does about damage in its store, and what it tells those who wait in vain."""

from __future__ import annotations

import os

from dftindexd.actors.actor import ActorContext
from dftindexd.actors.commands import Condemn, Remove
from dftindexd.actors.errors import ActorError
from dftindexd.actors.jobs import removals_of
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.open_stores import in_use
from dftindexd.actors.root_state import RootState
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.index.errors import CoreError, StoreDamagedError

__all__ = ("interrupted", "reclaim", "repair", "unreadable")

_log = get_log(__name__)


def interrupted(root: bytes, handle: StoreHandle) -> CoreError:
    """Return what those are told who wait in vain."""
    what = f"indexing of {os.fsdecode(root)} was interrupted"
    if handle.condemned:
        reason = f"its store is damaged and could not be set aside: {handle.condemned}"
        return StoreDamagedError(f"{what}: {reason}", "see the log")
    return CoreError(what, "ask again")


def unreadable(root: bytes, reason: str) -> CoreError:
    """Return what those are told who wait for a root that cannot be read."""
    return CoreError(
        f"{os.fsdecode(root)} cannot be read: {reason}",
        "the index is kept as it was; unwatch the root if it is gone for good",
    )


async def reclaim(handle: StoreHandle, store: Mailbox) -> None:
    """Give room of the store back; that it cannot be done now is logged."""
    try:
        async with in_use(handle, store):
            await handle.reclaim()
    except CoreError as error:
        _log.warning("reclaim_failed", store=handle.path, reason=str(error))


async def repair(
    state: RootState, handle: StoreHandle, store: Mailbox, context: ActorContext
) -> None:
    """Have damaged traces parsed anew, damaged sets that nobody needs dropped, and a store that is
    damaged again and again set aside."""
    sets = handle.registry.sets
    due = handle.damage.due(sets, state.seen, state.tiers)
    for path in due.parse:
        reason = handle.damage.of(sets[path])
        _log.warning("trace_damaged", trace=os.fsdecode(path), reason=str(reason))
    state.force(due.parse)
    for commit in removals_of(due.drop):
        removal = Remove(paths=(commit.path,), tiers=commit.tiers)
        await _ask_store(removal, handle, store, context)
    if due.condemn:
        await _ask_store(Condemn(reason=due.condemn), handle, store, context)


async def _ask_store(
    message: Remove | Condemn, handle: StoreHandle, store: Mailbox, context: ActorContext
) -> None:
    try:
        with context.protect():
            await store.ask(message)
    except (CoreError, ActorError) as error:
        _log.warning("repair_failed", store=handle.path, reason=str(error))
