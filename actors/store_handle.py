"""What others may know of a store, and do with it, without asking its actor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec

from dftindexd.actors.damage import Damage
from dftindexd.actors.write_trouble import WriteTrouble
from dftindexd.index.errors import CoreError
from dftindexd.index.model import TierConfig
from dftindexd.index.store.disk_use import SizeLimit
from dftindexd.index.store.layout import COLUMN_FAMILIES
from dftindexd.index.store.registry import Registry
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.writer import StoreWriter

__all__ = ("RETENTION_SECONDS", "StoreHandle", "StoreView")

#: How long a dropped segment is kept, though nobody reads it.
RETENTION_SECONDS: Final = 3600.0

#: So many deleted segments are worth a compaction.
_LEAST_RECLAIMED: Final = 256

_uses = count(1)


class StoreView(msgspec.Struct, frozen=True):
    """A store at one generation: its registry, and the rows of every segment that this names."""

    registry: Registry
    rows: RocksStore


class StoreHandle:
    """What others may know of a store without asking its actor.

    ``registry`` is always that of the last commit. Whoever reads rows does so inside :meth:`view`,
    which keeps the segments of that generation from being deleted and the store from being closed.
    """

    def __init__(
        self,
        path: str,
        root: str,
        owner: str,
        tiers: TierConfig | None = None,
        *,
        retention: float = RETENTION_SECONDS,
        limits: tuple[SizeLimit, ...] = (),
    ) -> None:
        self.path = path
        self.limits = limits
        self.retention = retention
        self.root = root
        self.owner = owner
        self.tiers = tiers
        self.trouble = WriteTrouble()
        self.condemned = ""
        """Why the store is to be set aside when it is opened next, ``""`` for not."""
        self.damage = Damage()
        self.lives = 0
        """How many times a store was opened; what was known of one before need not hold."""
        self.last_epoch = 0
        self.store_id = ""
        """Which store was opened last; its generations are those of no other."""
        self.verifying = ""
        """How far a verification has come, ``""`` where none runs."""
        self.reclaiming = 0
        """How many compactions give room back now."""
        self.vacuumed = 0
        """How many segments were deleted since the last of them began."""
        self.reclaim_wanted = False
        self.over_limit = False
        """Whether the store takes more room than it may; what frees some is let in."""
        self.is_parked = False
        """Whether the store is closed because nobody uses it, until somebody does."""
        self.last_use = next(_uses)
        """Which use of any store was the last of this one."""
        self._users = 0
        self._writer: StoreWriter | None = None
        self._last: Registry | None = None
        self._readers: Counter[int] = Counter()
        self._unread = anyio.Event()
        self._opened = anyio.Event()

    @property
    def read_only(self) -> str:
        """Why the store cannot be written now, ``""`` where it can."""
        return self.trouble.reason

    @property
    def writer(self) -> StoreWriter | None:
        """The open store; only its actor uses it."""
        return self._writer

    @writer.setter
    def writer(self, writer: StoreWriter | None) -> None:
        if self._writer is not None:
            self._last = self._writer.registry
            self.last_epoch = self._writer.epoch
        self._writer = writer
        if writer is None:
            return
        self.store_id = writer.store_id
        if self.is_parked and self._last is not None and _shows(writer, self._last):
            writer.registry = self._last  # what is known of its very records still holds
        else:
            self.lives += 1
            self.damage.forget()
        self.is_parked = False
        self._opened.set()

    @property
    def registry(self) -> Registry:
        """The registry of the last commit, also between two lives of the store's actor.

        :raises CoreError: the store was never open.
        """
        if self._writer is None and self._last is not None:
            return self._last
        return self._open_writer().registry

    @property
    def is_open(self) -> bool:
        """Whether the store is open now."""
        return self._writer is not None

    @property
    def cached_bytes(self) -> int:
        """What the store read and keeps in memory."""
        return self._writer.rocks.cached_bytes if self._writer is not None else 0

    @property
    def unflushed_bytes(self) -> int:
        """What the store's rows that are in no table yet take in memory."""
        return self._writer.rocks.unflushed_bytes if self._writer is not None else 0

    @property
    def is_known(self) -> bool:
        """Whether what is known of the store holds: not between two lives of its actor."""
        return self.is_open or self.is_parked

    @property
    def is_idle(self) -> bool:
        """Whether the store may be parked: nobody uses or reads it, and it is well."""
        return not (self._users or self._readers or self.read_only or self.rebuilding)

    def note_use(self) -> None:
        """Note that the store is used now."""
        self.last_use = next(_uses)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Keep the store from being parked for as long as the context lasts."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self.note_use()

    @property
    def rebuilding(self) -> str:
        """Why the store does not hold yet all that one before it held, ``""`` where it does."""
        return self._writer.rebuilding if self._writer is not None else self.condemned

    def _open_writer(self) -> StoreWriter:
        if self._writer is None:
            raise CoreError(f"the store of {self.root} is not open", "try again in a moment")
        return self._writer

    @property
    def oldest_read(self) -> int:
        """The oldest generation that somebody reads, the newest where nobody does."""
        return min(self._readers, default=self.registry.generation)

    def new_segment_id(self, run: int = 1) -> int:
        """Return the first of *run* ids for segments that are about to be parsed."""
        return self._open_writer().new_segment_id(run)

    @property
    def staging(self) -> str:
        """Where workers leave artifacts for this store."""
        return self._open_writer().staging

    @contextmanager
    def view(self) -> Iterator[StoreView]:
        """Read the last generation for as long as the context lasts."""
        writer = self._open_writer()
        registry = writer.registry
        generation = registry.generation
        self._readers[generation] += 1
        try:
            yield StoreView(registry, writer.rocks)
        finally:
            self._readers[generation] -= 1
            if not self._readers[generation]:
                del self._readers[generation]
            if not self._readers:
                self._unread.set()

    @property
    def reclaim_is_due(self) -> bool:
        """Whether so much was deleted that its room is to be given back without being told."""
        if self._writer is None or self.reclaiming:
            return False
        return self.reclaim_wanted or self.vacuumed >= max(
            _LEAST_RECLAIMED, len(self.registry.traces) // 4
        )

    async def reclaim(self) -> None:
        """Give the room of deleted segments back to the file system, beside reads and commits.

        :raises CoreError: the store was closed meanwhile.
        """
        with self.view() as view:
            self.vacuumed, self.reclaim_wanted = 0, False
            self.reclaiming += 1
            try:
                await anyio.to_thread.run_sync(view.rows.compact, COLUMN_FAMILIES, self._stopped)
            finally:
                self.reclaiming -= 1
        if self._writer is None:
            raise CoreError(f"compaction of the store of {self.root} was interrupted", "ask again")

    def _stopped(self) -> bool:
        anyio.from_thread.check_cancelled()
        return self._writer is None

    async def wait_known(self) -> None:
        """Wait for the next life of the store's actor, if it is between two."""
        while not self.is_known:
            self._opened = anyio.Event()
            await self._opened.wait()

    async def wait_unread(self) -> None:
        """Wait until nobody reads."""
        while self._readers:
            self._unread = anyio.Event()
            await self._unread.wait()


def _shows(writer: StoreWriter, registry: Registry) -> bool:
    """Return whether a store that was opened again is as it was when it was closed."""
    return writer.registry.generation == registry.generation and not writer.rebuilding
