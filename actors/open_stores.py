"""Which stores are open: no more than so many, but for those in use.

A store that nobody uses can be *parked*: its RocksDB is closed, which frees its files, threads and
buffers, while the registry stays, since every look at the disk is compared with it. Its actor opens
it again for the next command or reader. Each store's actor asks here whether its store is to be
parked, so that nobody has to be told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final, Generic, NamedTuple, TypeVar

from dftindexd.actors.commands import Open
from dftindexd.actors.errors import ActorError
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.index.errors import CoreError

__all__ = ("MOST_OPEN", "OpenStores", "Usage", "in_use", "surplus")

#: How many stores stay open unless told.
MOST_OPEN: Final = 64

T = TypeVar("T")


class Usage(NamedTuple, Generic[T]):
    """An open store, when it was used last (a count, not a time), and whether nobody uses it."""

    store: T
    last_use: int
    idle: bool


def surplus(stores: Iterable[Usage[T]], most: int) -> list[T]:
    """Return which of the open *stores* to park so that at most *most* stay: of the idle ones the
    least recently used."""
    every = list(stores)
    idle = sorted((one for one in every if one.idle), key=lambda one: one.last_use)
    return [one.store for one in idle[: max(0, len(every) - most)]]


class OpenStores:
    """The open stores of one engine, of which at most *most* stay open while nobody uses them."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self.most = most
        self._open: set[StoreHandle] = set()

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, handle: StoreHandle) -> None:
        """Take in that a store was opened."""
        self._open.add(handle)

    def closed(self, handle: StoreHandle) -> None:
        """Take in that a store is about to be closed."""
        self._open.discard(handle)

    def is_surplus(self, handle: StoreHandle) -> bool:
        """Return whether a store is to be parked now."""
        if len(self._open) <= self.most or not handle.is_idle:
            return False
        usages = (Usage(one, one.last_use, one.is_idle) for one in self._open)
        return handle in surplus(usages, self.most)


@asynccontextmanager
async def in_use(handle: StoreHandle, store: Mailbox) -> AsyncIterator[None]:
    """Have the actor behind *store* open its store if it is parked, and keep it from being parked
    for as long as the context lasts.

    :raises CoreError: it cannot be opened now.
    """
    with handle.using():
        if handle.is_parked:
            try:
                await store.ask_control(Open())
            except ActorError as error:
                raise CoreError(
                    f"the store of {handle.root} cannot be opened: {error}",
                    "see the log, then ask again",
                ) from error
        yield
