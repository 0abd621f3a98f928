"""The end of a rebuilding: a store that took the place of another holds all that is on disk."""

from __future__ import annotations

import os

import anyio

from dftindexd.actors.commands import NoteRebuilt
from dftindexd.actors.errors import ActorError
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.tickets import Leave, Ticket
from dftindexd.index.errors import CoreError

__all__ = ("end_rebuilding",)

_log = get_log(__name__)

_RETRY_SECONDS = 2.0


async def end_rebuilding(store: Mailbox, scheduler: Mailbox) -> None:
    """Wait until *scheduler* has all indexed that was on disk, then have *store* note that;
    whatever prevents it is waited out."""
    while True:
        ticket = Ticket(b"")
        try:
            await scheduler.tell(Leave(ticket))
            problems = await ticket.wait()
            await store.ask(NoteRebuilt())
        except (CoreError, ActorError) as error:
            _log.info("rebuilding_goes_on", store=store.name, reason=str(error))
            await anyio.sleep(_RETRY_SECONDS)
            continue
        _log.info("store_rebuilt", store=store.name, problems=len(problems))
        for path, reason in problems.items():
            _log.warning("not_rebuilt", trace=os.fsdecode(path), reason=reason)
        return
