"""Which files a store of dftracer-utils 0.0.12 is of, and how it sees that one has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from dftindexd.index.model import FileStamp
from dftindexd.index.publish import families as to
from dftindexd.index.publish.encoding import fnv1a, u32, u64
from dftindexd.index.publish.families import PublishedRow

__all__ = ("content_hash", "file_rows", "hash_rows", "registry_rows", "stored_mtime")

_SCHEMA_VERSION: Final = 2
_HASHED: Final = 65_536
#: Blooms, manifest, summary and checkpoints are there, and indexing is complete.
_ALL: Final = b"\x1f" + bytes(7)
#: What its clocks lose when it converts a time.
_LOST_NS: Final = 100
_SECOND: Final = 10**9


class Bytes(Protocol):
    """A file that is read at places."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return up to *length* bytes from *offset*."""
        ...


def stored_mtime(stamp: FileStamp) -> int:
    """Return the second of modification as it is compared: that of a whole second is the one
    before."""
    return max(stamp.mtime_ns - _LOST_NS, 0) // _SECOND


def content_hash(file: Bytes) -> int:
    """Return the hash of a file's size, its beginning and its end."""
    state = fnv1a(file.read(0, min(file.size, _HASHED)), fnv1a(str(file.size).encode()))
    if file.size > _HASHED:
        state = fnv1a(file.read(file.size - _HASHED, _HASHED), state)
    return state


def file_rows(file_id: int, name: bytes, stamp: FileStamp, content: int) -> list[PublishedRow]:
    """Return the registration of the file called *name*."""
    value = u32(file_id) + _ALL + u64(stored_mtime(stamp)) + u64(content) + u64(stamp.size)
    number = u32(file_id)
    return [(to.DEFAULT, b"f|" + name, value), (to.DEFAULT, b"r|" + number, name)]


def registry_rows(next_file_id: int) -> list[PublishedRow]:
    """Return the rows of the registry that belong to no file."""
    return [
        (to.DEFAULT, b"_schema_version", u32(_SCHEMA_VERSION)),
        (to.DEFAULT, b"_next_file_id", u32(next_file_id)),
    ]


def hash_rows(tables: Iterable[Mapping[str, str]]) -> list[PublishedRow]:
    """Return what hashes stand for, of files, hosts, other texts and processes, in this order; of
    the hashes of one name the last one is found by it."""
    rows: dict[bytes, bytes] = {}
    for kind, table in enumerate(tables):
        for hash_, name in table.items():
            there, back = bytes([kind]) + hash_.encode(), bytes([kind + 4]) + name.encode()
            rows[there], rows[back] = name.encode(), hash_.encode()
    return [(to.HASH_TABLES, key, value) for key, value in rows.items()]
