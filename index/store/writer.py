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
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Final

import msgspec

from dftindexd.index.errors import StoreDamagedError, StoreReadOnlyError
from dftindexd.index.failpoints import failpoint
from dftindexd.index.model import Row, TraceRecord
from dftindexd.index.store.identity import LOCK_FILE, acquire_lock, check_identity
from dftindexd.index.store.layout import (
    AGGREGATION,
    DEFAULT,
    SEGMENT_FAMILIES,
    completion_marker,
    garbage_key,
    segment_bounds,
    segment_id,
    trace_key,
)
from dftindexd.index.store.registry import (
    Commit,
    CommitParsed,
    Plan,
    Registry,
    decode_record,
    encode_record,
    plan,
)
from dftindexd.index.store.rocks import Batch, RocksStore

__all__ = ("STAGING", "StoreWriter")

#: The folder inside a store in which workers leave their artifacts.
STAGING: Final = "staging"

_GENERATION: Final = b"meta:generation"
_NEXT_FILE_ID: Final = b"meta:next_file_id"
_EPOCH: Final = b"meta:epoch"
_TRACE_PREFIX: Final = b"t"
_GARBAGE_PREFIX: Final = b"g"
_INTENT_PREFIX: Final = b"i"
_U64: Final = struct.Struct(">Q")

#: How many segments one batch deletes.
_VACUUM_SEGMENTS: Final = 1000


class StoreWriter:
    """An open store: its registry in memory, and the commands that change it.

    All methods block and none may run beside another; reads through :attr:`rocks` may.

    :param path: the store's directory; created if it does not exist.
    :param root: the watched directory, noted in a new store.
    :param owner: who we are, for whoever finds the store locked.
    :raises ForeignStoreError: the directory holds something else.
    :raises StoreLockedError: another process has it open.
    :raises StoreDamagedError: what is in it does not read back.
    :raises StoreReadOnlyError: the directory cannot be made or written.
    """

    def __init__(self, path: str, *, root: str, owner: str) -> None:
        self.path = path
        try:
            check_identity(path, root)
            self._lock = acquire_lock(os.path.join(path, LOCK_FILE), owner)
        except OSError as error:
            raise _cannot_open(path, error) from error
        try:
            self.rocks = RocksStore(path)
            try:
                self._load()
            except BaseException:
                self.rocks.close()
                raise
        except OSError as error:
            os.close(self._lock)
            raise _cannot_open(path, error) from error
        except BaseException:
            os.close(self._lock)
            raise

    def _load(self) -> None:
        self.registry = Registry.of(
            self._number(_GENERATION),
            max(1, self._number(_NEXT_FILE_ID)),
            (self._record(key, value) for key, value in self.rocks.scan(DEFAULT, _TRACE_PREFIX)),
        )
        self._garbage: dict[int, int] = {
            _U64.unpack(key[1:])[0]: _U64.unpack(value)[0]
            for key, value in self.rocks.scan(DEFAULT, _GARBAGE_PREFIX)
        }
        self._epoch = self._number(_EPOCH) + 1
        self._serial = 0
        # What failed commands left: segments without a commit, intents, and what a write that
        # failed may yet have changed: trace records (file id to path) and garbage marks.
        self._orphans: set[int] = set()
        self._stale_intents: set[bytes] = set()
        self._doubtful_records: dict[int, bytes] = {}
        self._doubtful_garbage: set[int] = set()
        self._sweep()

    def _record(self, key: bytes, value: bytes) -> TraceRecord:
        try:
            return decode_record(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreDamagedError(
                f"{self.path}: the trace record {key.hex()} does not read back: {error}",
                "rebuild the store from the traces",
            ) from error

    def _number(self, key: bytes) -> int:
        value = self.rocks.get(DEFAULT, key)
        return 0 if value is None else int.from_bytes(value, "big")

    def _sweep(self) -> None:
        """Begin a new epoch and remove what an interrupted ingest left."""
        visible = {
            segment.segment_id
            for record in self.registry.traces.values()
            for segment in record.segments
        }
        batch = self.rocks.batch()
        batch.put(DEFAULT, _EPOCH, _U64.pack(self._epoch))
        for key, value in self.rocks.scan(DEFAULT, _INTENT_PREFIX):
            for (segment,) in _U64.iter_unpack(value):
                if segment not in visible:
                    _delete_segment(batch, segment)
            batch.delete(DEFAULT, key)
        self.rocks.write(batch)
        os.makedirs(self.staging, mode=0o700, exist_ok=True)
        for name in os.listdir(self.staging):
            os.unlink(os.path.join(self.staging, name))

    @property
    def staging(self) -> str:
        """The folder for artifacts; on the same file system as the database."""
        return os.path.join(self.path, STAGING)

    @property
    def garbage_segments(self) -> int:
        """How many segments were dropped and still take room."""
        return len(self._garbage) + len(self._orphans)

    def new_segment_id(self) -> int:
        """Return an id that no segment of this store ever had."""
        self._serial += 1
        return segment_id(self._epoch, self._serial)

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
        intent = _INTENT_PREFIX + _U64.pack(self.new_segment_id())
        segments = self._offered(commits)
        announcement = self.rocks.batch()
        announcement.put(DEFAULT, intent, b"".join(map(_U64.pack, segments)))
        try:
            self.rocks.write(announcement)
            failpoint("store:ingest:announced")
            self.rocks.ingest(artifacts)
            failpoint("store:ingest:moved")
            batch = self.rocks.batch()
            batch.delete(DEFAULT, intent)
            return self._commit(batch, commits)
        except BaseException:
            self._orphans |= segments
            self._stale_intents.add(intent)
            _unlink_all(path for paths in artifacts.values() for path in paths)
            raise

    def _offered(self, commits: Sequence[Commit]) -> set[int]:
        """Return the segments that *commits* bring and that are not visible yet."""
        offered = set()
        for commit in commits:
            if isinstance(commit, CommitParsed):
                old = self.registry.traces.get(commit.path)
                visible = {segment.segment_id for segment in old.segments} if old else set()
                offered |= {one.segment_id for one in commit.parsed.segments} - visible
        return offered

    def _commit(self, batch: Batch, commits: Sequence[Commit]) -> Plan:
        offered = self._offered(commits)
        todo = plan(self.registry, commits, self._garbage.keys())
        orphans = self._mend(batch, spared=offered)
        for record in todo.removed:
            batch.delete(DEFAULT, trace_key(record.file_id))
            batch.delete(AGGREGATION, completion_marker(record.file_id))
        for record in todo.changed:
            _put_record(batch, record)
        generation = _U64.pack(todo.registry.generation)
        for segment in todo.dropped:
            batch.put(DEFAULT, garbage_key(segment), generation)
        batch.put(DEFAULT, _GENERATION, generation)
        batch.put(DEFAULT, _NEXT_FILE_ID, _U64.pack(todo.registry.next_file_id))
        try:
            self.rocks.write(batch)
        except BaseException:
            touched = (*todo.changed, *todo.removed)
            self._doubtful_records |= {record.file_id: record.path for record in touched}
            self._doubtful_garbage.update(todo.dropped)
            raise
        self._mended(orphans)
        self.registry = todo.registry
        self._garbage.update(dict.fromkeys(todo.dropped, todo.registry.generation))
        failpoint("store:commit:written")
        return todo

    def _mend(self, batch: Batch, spared: Set[int] = frozenset()) -> set[int]:
        """Have *batch* undo what failed commands left; return the segments it marks as garbage.

        *spared* are about to be committed after all.
        """
        for file_id, path in self._doubtful_records.items():
            record = self.registry.traces.get(path)
            if record is not None and record.file_id == file_id:
                _put_record(batch, record)
            else:
                batch.delete(DEFAULT, trace_key(file_id))
                batch.delete(AGGREGATION, completion_marker(file_id))
        for segment in self._doubtful_garbage - self._garbage.keys():
            batch.delete(DEFAULT, garbage_key(segment))
        orphans = self._orphans - spared
        for segment in orphans:
            batch.put(DEFAULT, garbage_key(segment), _U64.pack(self.registry.generation))
        for intent in self._stale_intents:
            batch.delete(DEFAULT, intent)
        return orphans

    def _mended(self, orphans: set[int]) -> None:
        self._garbage.update(dict.fromkeys(orphans, self.registry.generation))
        self._doubtful_records.clear()
        self._doubtful_garbage.clear()
        self._orphans.clear()
        self._stale_intents.clear()

    def vacuum(self, oldest_read: int) -> int:
        """Delete dropped segments that no reader of generation *oldest_read* or later can see.

        Returns the number of segments deleted.
        """
        if self._orphans or self._stale_intents:
            batch = self.rocks.batch()
            orphans = self._mend(batch)
            self.rocks.write(batch)
            self._mended(orphans)
        dead = [segment for segment, since in self._garbage.items() if since <= oldest_read]
        for first in range(0, len(dead), _VACUUM_SEGMENTS):
            batch = self.rocks.batch()
            for segment in dead[first : first + _VACUUM_SEGMENTS]:
                _delete_segment(batch, segment)
                batch.delete(DEFAULT, garbage_key(segment))
            self.rocks.write(batch)
            for segment in dead[first : first + _VACUUM_SEGMENTS]:
                del self._garbage[segment]
        return len(dead)

    def reclaim(self, cancelled: Callable[[], bool]) -> None:
        """Give the room of deleted rows back to the file system; *cancelled* is asked between."""
        self.rocks.compact((*SEGMENT_FAMILIES, DEFAULT), cancelled)

    def close(self) -> None:
        """Flush, close the database and release the lock."""
        try:
            self.rocks.close()
        finally:
            os.close(self._lock)


def _delete_segment(batch: Batch, segment: int) -> None:
    begin, end = segment_bounds(segment)
    for family in SEGMENT_FAMILIES:
        batch.delete_range(family, begin, end)


def _put_record(batch: Batch, record: TraceRecord) -> None:
    batch.put(DEFAULT, trace_key(record.file_id), encode_record(record))
    marker = completion_marker(record.file_id)
    if record.quarantined:
        batch.delete(AGGREGATION, marker)
    else:
        batch.put(AGGREGATION, marker, b"")


def _unlink_all(paths: Iterable[str]) -> None:
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def _cannot_open(path: str, error: OSError) -> StoreReadOnlyError:
    return StoreReadOnlyError(
        f"the store {path} cannot be opened: {error.strerror or error}",
        "check its directory's owner, mode and file system",
    )
