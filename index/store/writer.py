"""The writing half of a store, without any concurrency of its own: the store actor drives it.

Order of an ingest, and what a crash leaves at each step:

==  =======================================  ==============================================
    step                                     after a crash here
==  =======================================  ==============================================
1   workers wrote SST files into ``staging``  swept at the next open
2   the *intent* names the coming segments    swept: nothing of them is there yet
3   SST files move into the database          swept: the intent names the rows to delete
4   one synced batch: trace records,          the commit is whole or not there; without it
    generation, garbage, the intent's end     step 3 is swept
==  =======================================  ==============================================

The in-memory registry changes only after step 4, so a failed command leaves the store as it was. A
commit whose write failed may yet turn out to be in the log; the next write therefore sets whatever
it touched back to what the registry says.
"""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Final

from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.failpoints import failpoint
from dftindexd.index.model import Row, TierConfig, TraceRecord
from dftindexd.index.store.identity import (
    IDENTITY_FILE,
    LOCK_FILE,
    acquire_lock,
    check_identity,
    copy_identity,
    note_rebuilt,
    read_identity,
    require_database,
)
from dftindexd.index.store.layout import DEFAULT, garbage_key, segment_id
from dftindexd.index.store.registry import Commit, CommitParsed, Gone, Plan, Registry, plan
from dftindexd.index.store.registry_rows import (
    DROPPED,
    EPOCH,
    GARBAGE_PREFIX,
    GENERATION,
    GONE_PREFIX,
    INTENT_PREFIX,
    KNOWN_SINCE,
    NEXT_FILE_ID,
    TRACE_PREFIX,
    delete_record,
    delete_segment,
    put_gone,
    put_record,
    read_dropped,
    read_record,
    record_key,
)
from dftindexd.index.store.rocks import Batch, RocksStore, classified_errors
from dftindexd.index.tier_sets import find_set

__all__ = ("COPIES", "STAGING", "StoreWriter")

#: The folder inside a store in which workers leave their artifacts.
STAGING: Final = "staging"
#: The folder inside a store that holds copies of it, to verify or to back up.
COPIES: Final = "copies"

_U64: Final = struct.Struct(">Q")

#: How many segments one batch deletes.
_VACUUM_SEGMENTS: Final = 1000


class StoreWriter:
    """An open store: its registry in memory, and the commands that change it.

    All methods block and none may run beside another; reads through :attr:`rocks` may.

    :param path: the store's directory; created if it does not exist.
    :param root: the watched directory, noted in a new store.
    :param owner: who we are, for whoever finds the store locked.
    :param wanted: the tiers that whoever opens it asks for: of them the registry shows and counts.
    :param least_epoch: the epoch of this opening is at least so much.
    :param clock: the wall clock in seconds, by which dropped segments grow old.
    :raises ForeignStoreError: the directory holds something else.
    :raises StoreLockedError: another process has it open.
    :raises StoreDamagedError: what is in it does not read back.
    :raises StoreReadOnlyError: the directory cannot be made or written.
    """

    def __init__(
        self,
        path: str,
        *,
        root: str,
        owner: str,
        wanted: TierConfig | None = None,
        least_epoch: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._least_epoch = least_epoch
        self._clock = clock
        self._wanted = wanted
        try:
            failpoint("store:open:begun")
            check_identity(path, root)
            failpoint("store:open:identity-written")
            self._lock = acquire_lock(os.path.join(path, LOCK_FILE), owner)
        except OSError as error:
            raise _cannot_open(path, error) from error
        try:
            require_database(path)
            self._identity = read_identity(path)
            failpoint("store:open:locked")
            self.rocks = RocksStore(path)
            try:
                failpoint("store:open:opened")
                self._load()
            except BaseException:
                with suppress(CoreError):  # what is raised already says more
                    self.rocks.close()
                raise
        except OSError as error:
            os.close(self._lock)
            raise _cannot_open(path, error) from error
        except BaseException:
            os.close(self._lock)
            raise

    def _load(self) -> None:
        shared = (self._wanted or TierConfig()).normal()
        self.registry = Registry.of(
            max(self._identity.first_generation, self._number(GENERATION)),
            max(1, self._number(NEXT_FILE_ID)),
            (
                read_record(self.path, key, value, shared)
                for key, value in self.rocks.scan(DEFAULT, TRACE_PREFIX)
            ),
            self._wanted,
            gone=(
                (key[1:], Gone(*read_dropped(self.path, key, value)))
                for key, value in self.rocks.scan(DEFAULT, GONE_PREFIX)
            ),
            known_since=max(self._identity.first_generation, self._number(KNOWN_SINCE)),
        )
        self._garbage: dict[int, tuple[int, int]] = {
            _U64.unpack(key[1:])[0]: read_dropped(self.path, key, value)
            for key, value in self.rocks.scan(DEFAULT, GARBAGE_PREFIX)
        }
        self._epoch = max(self._least_epoch, self._number(EPOCH) + 1)
        self._serial = 0
        # What failed commands left: segments without a commit, intents, and what a write that
        # failed may yet have changed: trace records by their key, and garbage marks.
        self._orphans: set[int] = set()
        self._stale_intents: set[bytes] = set()
        self._doubtful_records: dict[bytes, TraceRecord] = {}
        self._doubtful_garbage: set[int] = set()
        failpoint("store:open:loaded")
        self._sweep()

    def _number(self, key: bytes) -> int:
        value = self.rocks.get(DEFAULT, key)
        return 0 if value is None else int.from_bytes(value, "big")

    def _sweep(self) -> None:
        """Begin a new epoch and remove what an interrupted ingest left."""
        batch = self.rocks.batch()
        batch.put(DEFAULT, EPOCH, _U64.pack(self._epoch))
        announced: set[int] = set()
        for key, value in self.rocks.scan(DEFAULT, INTENT_PREFIX):
            announced.update(segment for (segment,) in _U64.iter_unpack(value))
            batch.delete(DEFAULT, key)
        for segment in announced - self._visible() if announced else ():
            delete_segment(batch, segment)
        self.rocks.write(batch)
        failpoint("store:open:swept")
        os.makedirs(self.staging, mode=0o700, exist_ok=True)
        for name in os.listdir(self.staging):
            os.unlink(os.path.join(self.staging, name))
        if os.path.isdir(self._copies):
            shutil.rmtree(self._copies)

    def _visible(self) -> set[int]:
        return {
            segment.segment_id
            for sets in self.registry.sets.values()
            for record in sets
            for segment in record.segments
        }

    @property
    def staging(self) -> str:
        """The folder for artifacts; on the same file system as the database."""
        return os.path.join(self.path, STAGING)

    @property
    def _copies(self) -> str:
        return os.path.join(self.path, COPIES)

    @property
    def epoch(self) -> int:
        """Which opening of the store this is."""
        return self._epoch

    @property
    def store_id(self) -> str:
        """Which store it is, whatever its path; ``""`` for one of before there were ids."""
        return self._identity.id

    @property
    def rebuilding(self) -> str:
        """Why the store does not hold yet all that one before it held, ``""`` where it does."""
        return self._identity.rebuilding

    def note_rebuilt(self) -> None:
        """Note durably that the store holds all again that there is on disk."""
        try:
            self._identity = note_rebuilt(self.path)
        except OSError as error:
            raise StoreReadOnlyError(
                f"cannot write {os.path.join(self.path, IDENTITY_FILE)}: {error.strerror}",
                "check its directory's owner, mode and file system",
            ) from error

    def copy(self, name: str) -> str:
        """Make a copy of the store as it is now, a store in itself, and return its path. It takes
        no room but that of its own small files while the tables it shares live; whoever asked for
        it deletes it, or the next opening does."""
        target = os.path.join(self._copies, name)
        try:
            os.makedirs(self._copies, mode=0o700, exist_ok=True)
            self.rocks.copy_to(target)
            copy_identity(self.path, target)
        except OSError as error:
            raise StoreReadOnlyError(
                f"cannot copy the store to {target}: {error.strerror}",
                "check its directory's owner, mode and file system",
            ) from error
        return target

    @property
    def garbage_segments(self) -> int:
        """How many segments were dropped and still take room."""
        return len(self._garbage) + len(self._orphans)

    @property
    def oldest_garbage(self) -> float:
        """When the first of the segments that are still there was dropped (seconds since 1970),
        infinity where there is none."""
        return min((when for _, when in self._garbage.values()), default=float("inf"))

    def new_segment_id(self, run: int = 1) -> int:
        """Return the first of *run* ids that no segment of this store ever had."""
        first = self._serial + 1
        self._serial += run
        return segment_id(self._epoch, first)

    def write(self, rows: Iterable[Row], commits: Sequence[Commit]) -> Plan:
        """Write small segments' *rows* and make them visible, in one synced batch."""
        batch = self.rocks.batch()
        for family, key, value in rows:
            batch.put(family, key, value)
        try:
            return self._commit(batch, commits)
        except BaseException:
            self._orphans |= self._offered(commits)
            raise

    def ingest(self, artifacts: Mapping[str, Sequence[str]], commits: Sequence[Commit]) -> Plan:
        """Take SST files in and make their segments visible, as the module says."""
        intent = INTENT_PREFIX + _U64.pack(self.new_segment_id())
        segments = self._offered(commits)
        announcement = self.rocks.batch()
        announcement.put(DEFAULT, intent, b"".join(map(_U64.pack, segments)))
        try:
            self._step("ingest:begun")
            self.rocks.write(announcement)
            self._step("ingest:announced")
            self.rocks.ingest(artifacts)
            self._step("ingest:moved")
            batch = self.rocks.batch()
            batch.delete(DEFAULT, intent)
            return self._commit(batch, commits)
        except BaseException:
            self._orphans |= segments
            self._stale_intents.add(intent)
            _unlink_all(path for paths in artifacts.values() for path in paths)
            raise

    def _step(self, name: str) -> None:
        with classified_errors(self.path):
            failpoint(f"store:{name}")

    def _offered(self, commits: Sequence[Commit]) -> set[int]:
        """Return the segments that *commits* bring and that are not visible yet."""
        offered = set()
        for commit in commits:
            if isinstance(commit, CommitParsed):
                old = self._find(commit.path, commit.tiers)
                visible = {segment.segment_id for segment in old.segments} if old else set()
                offered |= {one.segment_id for one in commit.parsed.segments} - visible
        return offered

    def _find(self, path: bytes, tiers: TierConfig) -> TraceRecord | None:
        return find_set(self.registry.sets.get(path, ()), tiers)

    def _commit(self, batch: Batch, commits: Sequence[Commit]) -> Plan:
        offered = self._offered(commits)
        now = int(self._clock())
        todo = plan(self.registry, commits, self._garbage.keys(), now=now)
        orphans = self._mend(batch, spared=offered)
        for record in todo.removed:
            delete_record(batch, record)
        for record in todo.changed:
            put_record(batch, record)
        generation = todo.registry.generation
        put_gone(batch, todo.registry, (one.path for one in (*todo.changed, *todo.removed)))
        dropped = (generation, now)
        for segment in todo.dropped:
            batch.put(DEFAULT, garbage_key(segment), DROPPED.pack(*dropped))
        batch.put(DEFAULT, GENERATION, _U64.pack(generation))
        batch.put(DEFAULT, NEXT_FILE_ID, _U64.pack(todo.registry.next_file_id))
        try:
            self._step("commit:begun")
            self.rocks.write(batch)
            self._step("commit:written")
        except BaseException:
            touched = (*todo.changed, *todo.removed)
            self._doubtful_records |= {record_key(record): record for record in touched}
            self._doubtful_garbage.update(todo.dropped)
            raise
        self._mended(orphans)
        self.registry = todo.registry
        self._garbage.update(dict.fromkeys(todo.dropped, dropped))
        self._step("commit:taken")
        return todo

    def _mend(self, batch: Batch, spared: Set[int] = frozenset()) -> set[int]:
        """Have *batch* undo what failed commands left; return the segments it marks as garbage.

        *spared* are about to be committed after all.
        """
        for doubtful in self._doubtful_records.values():
            record = self._find(doubtful.path, doubtful.tiers)
            if record is not None and record.file_id == doubtful.file_id:
                put_record(batch, record)
            else:
                delete_record(batch, doubtful)
        doubtful_paths = {record.path for record in self._doubtful_records.values()}
        put_gone(batch, self.registry, doubtful_paths)
        for segment in self._doubtful_garbage - self._garbage.keys():
            batch.delete(DEFAULT, garbage_key(segment))
        orphans = self._orphans - spared
        for segment in orphans:
            batch.put(DEFAULT, garbage_key(segment), DROPPED.pack(self.registry.generation, 0))
        for intent in self._stale_intents:
            batch.delete(DEFAULT, intent)
        return orphans

    def _mended(self, orphans: set[int]) -> None:
        # Nobody ever saw them, so there is nothing to keep them for.
        self._garbage.update(dict.fromkeys(orphans, (self.registry.generation, 0)))
        self._doubtful_records.clear()
        self._doubtful_garbage.clear()
        self._orphans.clear()
        self._stale_intents.clear()

    def vacuum(self, oldest_read: int, dropped_before: float = float("inf")) -> int:
        """Delete segments that were dropped before a time (seconds since 1970) and that no reader
        of generation *oldest_read* or later can see.

        Returns the number of segments deleted.
        """
        if self._orphans or self._stale_intents:
            batch = self.rocks.batch()
            orphans = self._mend(batch)
            self.rocks.write(batch)
            self._mended(orphans)
        dead = [
            segment
            for segment, (generation, when) in self._garbage.items()
            if generation <= oldest_read and when < dropped_before
        ]
        for first in range(0, len(dead), _VACUUM_SEGMENTS):
            batch = self.rocks.batch()
            for segment in dead[first : first + _VACUUM_SEGMENTS]:
                delete_segment(batch, segment)
                batch.delete(DEFAULT, garbage_key(segment))
            self._step("vacuum:begun")
            self.rocks.write(batch)
            self._step("vacuum:written")
            for segment in dead[first : first + _VACUUM_SEGMENTS]:
                del self._garbage[segment]
        self._forget_gone(dropped_before)
        return len(dead)

    def _forget_gone(self, before: float) -> None:
        old = [path for path, gone in self.registry.gone.items() if gone.when < before]
        if not old:
            return
        registry = self.registry.forgetting(old)
        batch = self.rocks.batch()
        put_gone(batch, registry, old)
        batch.put(DEFAULT, KNOWN_SINCE, _U64.pack(registry.known_since))
        self.rocks.write(batch)
        self.registry = registry

    def touch(self) -> None:
        """Write something that changes nothing, to see whether writing works."""
        batch = self.rocks.batch()
        batch.put(DEFAULT, EPOCH, _U64.pack(self._epoch))
        self.rocks.write(batch)

    def close(self) -> None:
        """Flush, close the database and release the lock."""
        try:
            self.rocks.close()
        finally:
            os.close(self._lock)


def _unlink_all(paths: Iterable[str]) -> None:
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def _cannot_open(path: str, error: OSError) -> StoreReadOnlyError:
    return StoreReadOnlyError(
        f"the store {path} cannot be opened: {error.strerror or error}",
        "check its directory's owner, mode and file system",
    )
