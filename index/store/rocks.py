"""RocksDB as this project uses it: checked scans, synced batches, errors with a name.

rocksdict raises bare exceptions, ends an iteration silently at a corrupt block, and lets a database
live on while any handle to it lives. This module is the only one that touches it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import rocksdict

from dftindexd.index.errors import (
    CoreError,
    StoreDamagedError,
    StoreLockedError,
    StoreReadOnlyError,
)
from dftindexd.index.store.layout import COLUMN_FAMILIES, DEFAULT

__all__ = ("Batch", "RocksStore", "classified_errors", "table_options")

_BLOCK_BYTES: Final = 32 << 10


def table_options() -> Any:
    """Return the options of every column family, also for SST files that will be ingested."""
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(rocksdict.DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_compression_type(rocksdict.DBCompressionType.lz4())
    options.set_keep_log_file_num(4)
    options.set_max_open_files(256)
    options.set_write_buffer_size(16 << 20)
    options.set_max_total_wal_size(64 << 20)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_size(_BLOCK_BYTES)
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


@contextmanager
def classified_errors(path: str) -> Iterator[None]:
    """Turn rocksdict's bare exceptions into errors of the core that name the store."""
    try:
        yield
    except CoreError:
        raise
    except Exception as error:
        if type(error) is not Exception:
            raise
        text = str(error)
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
    """One open database with all column families. All methods block; call them off the loop."""

    def __init__(self, path: str) -> None:
        self.path = path
        with classified_errors(path):
            self._db = rocksdict.Rdict(
                path,
                table_options(),
                column_families={
                    family: table_options() for family in COLUMN_FAMILIES if family != DEFAULT
                },
            )
            self._families = {
                family: self._db if family == DEFAULT else self._db.get_column_family(family)
                for family in COLUMN_FAMILIES
            }
            self._handles = {
                family: self._db.get_column_family_handle(family) for family in COLUMN_FAMILIES
            }
        self._synced = rocksdict.WriteOptions()
        self._synced.sync = True
        self._synced.no_slowdown = True

    def batch(self) -> Batch:
        """Return an empty batch for :meth:`write`."""
        return Batch(self._handles)

    def write(self, batch: Batch) -> None:
        """Apply *batch* atomically; when this returns it survives power loss.

        :raises StoreReadOnlyError: no space, an I/O error, or a write stall; nothing was applied,
            except that after an I/O error of the log's sync the batch may turn out to be durable.
        """
        with classified_errors(self.path):
            self._db.write(batch.native, self._synced)

    def ingest(self, artifacts: Mapping[str, Sequence[str]]) -> None:
        """Move the SST files of each family into the database; all or none of one family."""
        options = rocksdict.IngestExternalFileOptions()
        options.set_move_files(True)
        for family, paths in artifacts.items():
            with classified_errors(self.path):
                self._families[family].ingest_external_file(list(paths), options)

    def get(self, family: str, key: bytes) -> bytes | None:
        """Return the value of *key*, or ``None``."""
        with classified_errors(self.path):
            value: bytes | None = self._families[family].get(key)
        return value

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of *keys* in their order, ``None`` for one that is not there."""
        with classified_errors(self.path):
            return cast("list[bytes | None]", self._families[family].get(list(keys)))

    def scan(self, family: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of *family* whose keys begin with *prefix*, in order.

        :raises StoreDamagedError: a block on the way does not read back; the scan is not short.
        """
        with classified_errors(self.path):
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
        """Rewrite *families* without what was deleted, one at a time, until *cancelled* says so."""
        for family in families:
            if cancelled():
                return
            with classified_errors(self.path):
                self._families[family].compact_range(None, None)

    def close(self) -> None:
        """Flush and release the database and every handle to it; the directory can be reopened."""
        self._handles.clear()
        families = [self._families.pop(family) for family in COLUMN_FAMILIES if family != DEFAULT]
        self._families.clear()
        for family in families:
            family.close()
        with classified_errors(self.path):
            self._db.close()
