"""RocksDB as this project uses it: checked scans, synced batches, errors with a name.

rocksdict raises bare exceptions, ends an iteration silently at a corrupt block, and lets a database
live on while any handle to it lives. This module is the only one that touches it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, cast

import rocksdict

from dftindexd.index.errors import (
    CoreError,
    StoreDamagedError,
    StoreLockedError,
    StoreReadOnlyError,
)
from dftindexd.index.failpoints import failpoint
from dftindexd.index.store.layout import COLUMN_FAMILIES, DEFAULT

__all__ = ("Batch", "RocksStore", "classified_errors", "table_options")

_BLOCK_BYTES: Final = 32 << 10
#: What the blocks, indices and filters that were read of one open store take in memory.
_CACHED_BYTES: Final = 16 << 20
#: What one store's rows that are in no table yet take in memory; then some of them become one.
_UNFLUSHED_BYTES: Final = 16 << 20
#: Each family takes memory for its rows by so much.
_ARENA_BYTES: Final = 64 << 10
_COMPACTED_BYTES: Final = 64 << 20
_INGESTED_BYTES: Final = 4 << 20
_INGESTED_FILES: Final = 8


def table_options(blocks_cache: Any = None) -> Any:
    """Return the options of every column family, also for SST files that will be ingested. Blocks
    that were read are kept in *blocks_cache*, if it is given: each family would have its own."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_keep_log_file_num(4)
    options.set_max_open_files(256)
    options.set_db_write_buffer_size(_UNFLUSHED_BYTES)
    options.set_arena_block_size(_ARENA_BYTES)
    options.set_max_total_wal_size(64 << 20)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_size(_BLOCK_BYTES)
    if blocks_cache is not None:
        blocks.set_block_cache(blocks_cache)
        blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_bloom_filter(10, False)
    options.set_block_based_table_factory(blocks)
    return options


_PREFIXES: Final[tuple[tuple[str, type[CoreError], str], ...]] = (
    ("Corruption", StoreDamagedError, "the affected traces are rebuilt from disk"),
    ("IO error: No space left", StoreReadOnlyError, "free some space; writing resumes alone"),
    ("IO error: lock hold", StoreLockedError, "close the other user of this store"),
    ("IO error: While lock file", StoreLockedError, "stop the other process first"),
    ("IO error", StoreReadOnlyError, "check the file system the store lies on"),
    ("Result incomplete", StoreReadOnlyError, "the store is catching up; writing resumes alone"),
)


_MISSING: Final = "IO error: No such file"


@contextmanager
def classified_errors(
    path: str, *, missing: type[CoreError] = StoreReadOnlyError
) -> Iterator[None]:
    """Turn rocksdict's bare exceptions into errors of the core that name the store; a file that is
    not there is one of the kind *missing*."""
    try:
        yield
    except CoreError:
        raise
    except OSError as error:
        raise StoreReadOnlyError(
            f"{path}: {error.strerror or error}", "check the file system the store lies on"
        ) from error
    except Exception as error:
        if type(error) is not Exception:
            raise
        text = str(error)
        if text.startswith(_MISSING):
            raise missing(f"{path}: {text}", "see whether somebody deleted it") from error
        for prefix, kind, hint in _PREFIXES:
            if text.startswith(prefix):
                raise kind(f"{path}: {text}", hint) from error
        raise CoreError(f"{path}: {text}") from error


class Batch:
    """Puts and deletes that become visible together, over all column families."""

    __slots__ = ("_batch", "_handles")

    def __init__(self, handles: Mapping[str, Any]) -> None:
        self._handles = handles
        self._batch = rocksdict.WriteBatch(raw_mode=True)

    def put(self, family: str, key: bytes, value: bytes) -> None:
        """Set *key* in *family*."""
        self._batch.put(key, value, self._handles[family])

    def delete(self, family: str, key: bytes) -> None:
        """Remove *key* from *family*; a key that is not there is no error."""
        self._batch.delete(key, self._handles[family])

    def delete_range(self, family: str, begin: bytes, end: bytes) -> None:
        """Remove all keys in ``begin <= key < end`` from *family*."""
        self._batch.delete_range(begin, end, self._handles[family])

    @property
    def native(self) -> Any:
        """The rocksdict batch."""
        return self._batch


class RocksStore:
    """One open database with all column families. All methods block; call them off the loop.

    :param read_only: read a copy that :meth:`copy_to` made.
    """

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.path = path
        self.condemned = ""
        """Why the database takes no more writes until it is made anew: it found itself damaged."""
        access = rocksdict.AccessType.read_only() if read_only else None
        # Shared with another opening of the same tables, it would hide that they are damaged.
        blocks_cache = self._blocks_cache = rocksdict.Cache(_CACHED_BYTES)
        with classified_errors(path, missing=StoreDamagedError):
            self._db = rocksdict.Rdict(
                path,
                table_options(blocks_cache),
                column_families={
                    family: table_options(blocks_cache)
                    for family in COLUMN_FAMILIES
                    if family != DEFAULT
                },
                **({"access_type": access} if access is not None else {}),
            )
            self._families = {
                family: self._db if family == DEFAULT else self._db.get_column_family(family)
                for family in COLUMN_FAMILIES
            }
            self._handles = {
                family: self._db.get_column_family_handle(family) for family in COLUMN_FAMILIES
            }
        self._options = rocksdict.WriteOptions()
        self._options.no_slowdown = True
        self._interrupted = False

    def batch(self) -> Batch:
        """Return an empty batch for :meth:`write`."""
        return Batch(self._handles)

    def write(self, batch: Batch) -> None:
        """Apply *batch* atomically; when this returns it survives power loss.

        The sync is a call of its own: rocksdict lets other threads run during that one only. Until
        it returns, whoever reads the database may see what is not durable yet.

        :raises StoreReadOnlyError: no space, an I/O error, or a write stall; nothing was applied,
            except that after an I/O error of the log's sync the batch may be visible, and may turn
            out to be durable.
        :raises StoreDamagedError: the database is damaged and takes no writes any more.
        """
        with self._condemning():
            self._db.write(batch.native, self._options)
            failpoint("store:write:unsynced")
            self._db.flush_wal(True)

    @contextmanager
    def _condemning(self) -> Iterator[None]:
        """Note damage that was found by writing: RocksDB then refuses every other write."""
        try:
            with classified_errors(self.path, missing=StoreDamagedError):
                yield
        except StoreDamagedError as error:
            self.condemned = error.message
            raise

    def ingest(self, artifacts: Mapping[str, Sequence[str]]) -> None:
        """Move the SST files of each family into the database, a few at a time.

        rocksdict lets no other thread run meanwhile. So the files are synced before, which RocksDB
        then has not to wait for, and many are moved by several calls.
        """
        options = rocksdict.IngestExternalFileOptions()
        options.set_move_files(True)
        for family, paths in artifacts.items():
            # An artifact for a store that was set aside meanwhile is no trouble of this one.
            with classified_errors(self.path, missing=CoreError):
                sizes = {path: _synced_size(path) for path in paths}
                for some in _slices(sizes):
                    self._families[family].ingest_external_file(some, options)
                    failpoint("store:ingest:family-moved")

    @property
    def cached_bytes(self) -> int:
        """What was read and is kept in memory."""
        usage: int = self._blocks_cache.get_usage()
        return usage

    @property
    def unflushed_bytes(self) -> int:
        """What the rows that are in no table yet take in memory."""
        families = self._families.values()
        sizes = (one.property_int_value("rocksdb.cur-size-all-mem-tables") for one in families)
        return sum(size or 0 for size in sizes)

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the value of *key*, or ``None``."""
        with classified_errors(self.path, missing=StoreDamagedError):
            value: bytes | None = self._families[family].get(key)
        return value

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of *keys* in their order, ``None`` for one that is not there."""
        with classified_errors(self.path, missing=StoreDamagedError):
            return cast("list[bytes | None]", self._families[family].get(list(keys)))

    def scan(self, family: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of *family* whose keys begin with *prefix*, in order.

        :raises StoreDamagedError: a block on the way does not read back; the scan is not short.
        """
        with classified_errors(self.path, missing=StoreDamagedError):
            cursor = self._families[family].iter()
            cursor.seek(prefix)
            while cursor.valid():
                key = cursor.key()
                if not key.startswith(prefix):
                    return
                yield key, cursor.value()
                cursor.next()
            cursor.status()

    def compact(self, families: Iterable[str], cancelled: Callable[[], bool]) -> None:
        """Rewrite *families* without what was deleted, a few tables at a time, until *cancelled*
        says so.

        :raises StoreReadOnlyError: no space, or an I/O error.
        :raises StoreDamagedError: what is to be rewritten does not read back; the database takes no
            writes any more.
        """
        for family in families:
            for begin, end in pairwise([None, *self._cuts(), None]):
                if cancelled():
                    return
                with self._condemning():
                    failpoint("store:compact:begun")
                    self._families[family].compact_range(begin, end)
                    if not self._interrupted:
                        # rocksdict says nothing of a compaction that failed; any write does.
                        self._db.write(rocksdict.WriteBatch(raw_mode=True))
                    failpoint("store:compact:done")

    def _cuts(self) -> list[bytes]:
        """Return keys between which the tables of all families have some 64 MiB together."""
        cuts: list[bytes] = []
        size = 0
        with classified_errors(self.path):
            tables = sorted(self._db.live_files(), key=itemgetter("start_key"))
        for table in tables:
            size += table["size"]
            if size >= _COMPACTED_BYTES:
                cuts.append(table["end_key"])
                size = 0
        return sorted(set(cuts))

    def key_ranges(self) -> list[tuple[bytes, bytes]]:
        """Return the first and the last key of each table."""
        with classified_errors(self.path):
            return [(table["start_key"], table["end_key"]) for table in self._db.live_files()]

    def interrupt(self) -> None:
        """End a :meth:`compact` that runs in another thread, before the database is closed: no
        other work in the background is begun any more."""
        self._interrupted = True
        with classified_errors(self.path):
            self._db.cancel_all_background(True)

    def copy_to(self, path: str) -> None:
        """Make the directory *path* a copy of the database as it is now, as hard links of its
        tables; it must not exist, and lie on the same file system.

        :raises StoreDamagedError: what is to be copied is damaged; nothing is left at *path*.
        """
        with self._condemning():
            rocksdict.Checkpoint(self._db).create_checkpoint(path)

    def close(self) -> None:
        """Flush and release the database and every handle to it; the directory can be reopened.

        :raises StoreReadOnlyError: it could not be flushed. It is released all the same, and the
            log has what was written.
        """
        self._handles.clear()
        families = [self._families.pop(family) for family in COLUMN_FAMILIES if family != DEFAULT]
        self._families.clear()
        try:
            with ExitStack() as closing:
                closing.enter_context(classified_errors(self.path))
                for each in (self._db, *families):
                    closing.callback(each.close)
        except CoreError:
            if not self._interrupted:  # else it does not flush, and the log has what was written
                raise


def _slices(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the files of *sizes*, a few together, with some MiB at most."""
    some: list[str] = []
    total = 0
    for path, size in sizes.items():
        if some and (total + size > _INGESTED_BYTES or len(some) == _INGESTED_FILES):
            yield some
            some, total = [], 0
        some.append(path)
        total += size
    if some:
        yield some


def _synced_size(path: str) -> int:
    """Have the file *path* on disk, and return its size in bytes.

    :raises CoreError: it is not there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise CoreError(f"{path}: {error.strerror}", "see whether somebody deleted it") from error
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
