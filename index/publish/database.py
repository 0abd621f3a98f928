"""Writing a RocksDB database that dftracer-utils 0.0.12 opens.

It has no codec but zlib and ZSTD, and reads tables of format version 5. Its merge operators are
needed by nobody: every row is whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import rocksdict

from dftindexd.index.publish.families import DEFAULT, FAMILIES, PublishedRow
from dftindexd.index.store.identity import sync_path
from dftindexd.index.store.rocks import classified_errors
from dftindexd.index.store.sst import write_ssts

__all__ = ("PublishedDatabase", "write_tables")

_BLOCK_BYTES: Final = 32 << 10
_FORMAT_VERSION: Final = 5
#: So many bytes of rows are written at once.
_BATCH_BYTES: Final = 4 << 20


def _options() -> Any:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_compression_type(rocksdict.DBCompressionType.zstd())
    options.set_compression_options(-14, 1, 0, 0)
    # Rows are written once and read never: they are sorted when they go to disk, not before.
    options.set_memtable_factory(rocksdict.MemtableFactory.vector())
    options.set_allow_concurrent_memtable_write(False)
    options.set_write_buffer_size(64 << 20)
    options.set_keep_log_file_num(1)
    blocks = rocksdict.BlockBasedOptions()
    blocks.set_block_size(_BLOCK_BYTES)
    blocks.set_format_version(_FORMAT_VERSION)
    options.set_block_based_table_factory(blocks)
    return options


def write_tables(rows: Iterable[PublishedRow], folder: str, stem: str) -> dict[str, str]:
    """Write *rows* as tables in *folder* and return the path of that of each family.

    :raises CoreError: one cannot be written, or two rows have one key; no file is left then.
    """
    return write_ssts(rows, folder, stem, _options)


class PublishedDatabase:
    """A new database at *path*, where nothing is. Whatever raises, what is there is of no use.

    :raises CoreError: it cannot be written, such as on a full disk.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._held: list[PublishedRow] = []
        self._size = 0
        with classified_errors(path):
            families = {name: _options() for name in FAMILIES if name != DEFAULT}
            self._database = rocksdict.Rdict(path, _options(), column_families=families)
            self._handles = {
                name: self._database.get_column_family_handle(name) for name in FAMILIES
            }
        options: Any = rocksdict.WriteOptions()
        options.disable_wal = True
        self._unlogged = options

    def put(self, rows: Iterable[PublishedRow]) -> None:
        """Write *rows*; of equal keys the last one counts."""
        for row in rows:
            self._held.append(row)
            self._size += len(row[1]) + len(row[2])
            if self._size > _BATCH_BYTES:
                self._write()

    def _write(self) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for family, rows in groupby(self._held, itemgetter(0)):
            handle = self._handles[family]
            for _, key, value in rows:
                batch.put(key, value, handle)
        with classified_errors(self.path):
            self._database.write(batch, self._unlogged)
        self._held, self._size = [], 0

    def ingest(self, tables: Iterable[Mapping[str, str]]) -> None:
        """Take in tables of :func:`write_tables`, which go from their places; no two of a family
        overlap, and the families have no other rows."""
        options = rocksdict.IngestExternalFileOptions()
        options.set_move_files(True)
        with classified_errors(self.path):
            for some in tables:
                for family, path in some.items():
                    self._database.get_column_family(family).ingest_external_file([path], options)

    def flush(self) -> None:
        """Bring what was written so far to disk."""
        self._write()
        with classified_errors(self.path):
            for family in FAMILIES:
                self._database.get_column_family(family).flush(True)

    def close(self) -> None:
        """Finish the database, so that it is on disk."""
        self.flush()
        with classified_errors(self.path):
            self._handles = {}
            self._database.close()
        for name in os.listdir(self.path):
            sync_path(os.path.join(self.path, name))
        sync_path(self.path)
