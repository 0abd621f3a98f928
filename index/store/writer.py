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

The in-memory registry changes only after step 4, so a failed command leaves the store as it was.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from dftindexd.index.errors import StoreDamagedError
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


class StoreWriter:
    """An open store: its registry in memory, and the commands that change it.

    All methods block and none may run beside another; reads through :attr:`rocks` may.

    :param path: the store's directory; created if it does not exist.
    :param root: the watched directory, noted in a new store.
    :param owner: who we are, for whoever finds the store locked.
    :raises ForeignStoreError: the directory holds something else.
    :raises StoreLockedError: another process has it open.
    :raises StoreDamagedError: what is in it does not read back.
    """

    def __init__(self, path: str, *, root: str, owner: str) -> None:
        self.path = path
        check_identity(path, root)
        self._lock = acquire_lock(os.path.join(path, LOCK_FILE), owner)
        try:
            self.rocks = RocksStore(path)
            try:
                self._load()
            except BaseException:
                self.rocks.close()
                raise
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
        self._sweep()

    def _record(self, key: bytes, value: bytes) -> TraceRecord:
        try:
            return decode_record(value)
        except ValueError as error:
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
        return len(self._garbage)

    def new_segment_id(self) -> int:
        """Return an id that no segment of this store ever had."""
        self._serial += 1
        return segment_id(self._epoch, self._serial)

    def write(self, rows: Iterable[Row], commits: Sequence[Commit]) -> Plan:
        """Write small segments' *rows* and make them visible, in one synced batch."""
        batch = self.rocks.batch()
        for family, key, value in rows:
            batch.put(family, key, value)
        return self._commit(batch, commits)

    def ingest(self, artifacts: Mapping[str, Sequence[str]], commits: Sequence[Commit]) -> Plan:
        """Take SST files in and make their segments visible, as the module says."""
        intent = _INTENT_PREFIX + _U64.pack(self.registry.generation + 1)
        segments = [
            segment.segment_id
            for commit in commits
            if isinstance(commit, CommitParsed)
            for segment in commit.parsed.segments
        ]
        announcement = self.rocks.batch()
        announcement.put(DEFAULT, intent, b"".join(map(_U64.pack, segments)))
        self.rocks.write(announcement)
        self.rocks.ingest(artifacts)
        batch = self.rocks.batch()
        batch.delete(DEFAULT, intent)
        return self._commit(batch, commits)

    def _commit(self, batch: Batch, commits: Sequence[Commit]) -> Plan:
        todo = plan(self.registry, commits)
        for record in todo.changed:
            batch.put(DEFAULT, trace_key(record.file_id), encode_record(record))
            batch.put(AGGREGATION, completion_marker(record.file_id), b"")
        for record in todo.removed:
            batch.delete(DEFAULT, trace_key(record.file_id))
            batch.delete(AGGREGATION, completion_marker(record.file_id))
        generation = _U64.pack(todo.registry.generation)
        for segment in todo.dropped:
            batch.put(DEFAULT, garbage_key(segment), generation)
        batch.put(DEFAULT, _GENERATION, generation)
        batch.put(DEFAULT, _NEXT_FILE_ID, _U64.pack(todo.registry.next_file_id))
        self.rocks.write(batch)
        self.registry = todo.registry
        self._garbage.update(dict.fromkeys(todo.dropped, todo.registry.generation))
        return todo

    def vacuum(self, oldest_read: int) -> int:
        """Delete dropped segments that no reader of generation *oldest_read* or later can see.

        Returns the number of segments deleted.
        """
        dead = [segment for segment, since in self._garbage.items() if since <= oldest_read]
        if not dead:
            return 0
        batch = self.rocks.batch()
        for segment in dead:
            _delete_segment(batch, segment)
            batch.delete(DEFAULT, garbage_key(segment))
        self.rocks.write(batch)
        for segment in dead:
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
