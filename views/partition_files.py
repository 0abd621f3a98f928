"""Partitions on disk: Parquet files in the folder ``views`` of a store, named by what they hold.

The name of a partition's file is all that its freshness needs, and has the checksum of its bytes:
the engine would take many a flipped bit for another number. A file appears whole under its name.
Two processes that build the same write the same. What no answer used for long, or has no room, is
deleted: it can always be made again. The time of last use is the file's access time, to the hour.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dftindexd.index.errors import CoreError
from dftindexd.views.freshness import Partition, to_evict

__all__ = ("LONGEST_UNUSED", "MOST_BYTES", "KeptPartition", "PartitionFolder", "ViewFiles")

#: The views of a store take no more room on disk than this, in bytes.
MOST_BYTES: Final = 4 << 30
#: A partition that no answer used for so many seconds is deleted: a week.
LONGEST_UNUSED: Final = 7 * 86_400.0

#: A temporary file that is older than this, in seconds, is what an end by force left.
_ABANDONED: Final = 86_400.0
#: How exactly it is remembered when a partition was used, in nanoseconds: an hour.
_USE_GRAIN: Final = 3_600_000_000_000
_TEMPORARY: Final = ".new"
_PART_BYTES: Final = 1 << 20
_NAME: Final = re.compile(
    r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9]+)-([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{8})\.parquet"
)


class KeptPartition(NamedTuple):
    """The file of a partition: its view set, the digest of its schema, its size, and when it was
    used last, in nanoseconds since 1970."""

    path: str
    view_set: str
    schema: str
    bytes: int
    used: int


class PartitionFolder:
    """The partitions of one instance of a view set."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._names: dict[Partition, str] = {}

    def partitions(self) -> list[Partition]:
        """Return those that exist, and delete those that are not as they were written."""
        try:
            names = sorted(os.listdir(self.path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        self._names = {
            Partition(int(found[1], 16), int(found[2], 16), int(found[3]), found[4], found[5]): name
            for name in names
            if (found := _NAME.fullmatch(name)) is not None
            and _is_whole(os.path.join(self.path, name), int(found[6], 16))
        }
        return list(self._names)

    def file(self, partition: Partition) -> str:
        """Return the path of the file of *partition*, which was found or written."""
        return os.path.join(self.path, self._names[partition])

    def write(self, partition: Partition, table: pa.Table) -> None:
        """Write the rows of *partition*; the file appears whole.

        :raises CoreError: it cannot be written.
        """
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            self._write(partition, table)
        except OSError as error:
            raise CoreError(
                f"views cannot be kept: {error.strerror or error}",
                "see that the state directory can be written and has room",
            ) from error

    def _write(self, partition: Partition, table: pa.Table) -> None:
        descriptor, temporary = tempfile.mkstemp(_TEMPORARY, dir=self.path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                pq.write_table(table, file, compression="zstd", row_group_size=1 << 17)
            begin, end, objects, schema, source = partition
            made_of = f"{begin:016x}-{end:016x}-{objects}-{schema}-{source}"
            name = f"{made_of}-{_checksum(temporary):08x}.parquet"
            os.replace(temporary, os.path.join(self.path, name))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        self._names[partition] = name

    def retire(self, partitions: Iterable[Partition]) -> None:
        """Delete *partitions*; one that is gone already is as good."""
        for partition in partitions:
            with suppress(FileNotFoundError):
                os.unlink(self.file(partition))


#: The files that this process found whole, as they were then.
_whole: set[tuple[str, int, int, int]] = set()


def _is_whole(path: str, checksum: int) -> bool:
    """Return whether a file is as it was written, which is looked at once for each process, and
    again where the file changed; delete one that is not."""
    try:
        stat = os.stat(path)
        key = path, stat.st_ino, stat.st_mtime_ns, stat.st_size
        if key in _whole:
            return True
        if _checksum(path) == checksum:
            _whole.add(key)
            return True
        os.unlink(path)
    except FileNotFoundError:
        pass  # as good as deleted
    return False


def _checksum(path: str) -> int:
    found = 0
    with open(path, "rb") as file:
        while part := file.read(_PART_BYTES):
            found = zlib.crc32(part, found)
    return found


class ViewFiles:
    """All partitions of the views of one store, below *folder*."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def instance(self, view_set: str, instance: str) -> PartitionFolder:
        """Return the folder of an instance of a view set, which need not exist."""
        name = hashlib.blake2b(instance.encode(), digest_size=16).hexdigest()
        return PartitionFolder(os.path.join(self.folder, view_set, name))

    def kept(self) -> Iterator[KeptPartition]:
        """Yield what is kept, of whatever version."""
        for path in self._paths():
            found = _NAME.fullmatch(os.path.basename(path))
            if found is None:
                continue
            with suppress(FileNotFoundError):
                stat = os.stat(path)
                view_set = os.path.relpath(path, self.folder).partition(os.sep)[0]
                yield KeptPartition(path, view_set, found[4], stat.st_size, stat.st_atime_ns)

    def note_use(self, files: Iterable[str]) -> None:
        """Remember that *files* were used now, where that is not known within the hour."""
        now = time.time_ns()
        for path in files:
            with suppress(FileNotFoundError):
                stat = os.stat(path)
                if not 0 <= now - stat.st_atime_ns < _USE_GRAIN:
                    os.utime(path, ns=(now, stat.st_mtime_ns))

    def evict(self, keep: Iterable[str] = ()) -> None:
        """Delete what was not used for long or has no room, but nothing of *keep*."""
        kept, now = set(keep), time.time()
        files: list[tuple[str, int, float]] = []
        for path in self._paths():
            with suppress(FileNotFoundError):
                stat = os.stat(path)
                if not path.endswith(_TEMPORARY):
                    files.append((path, stat.st_size, now if path in kept else stat.st_atime))
                elif now - stat.st_mtime > _ABANDONED:
                    os.unlink(path)
        for path in to_evict(files, now, MOST_BYTES, LONGEST_UNUSED):
            if path not in kept:
                with suppress(FileNotFoundError):
                    os.unlink(path)

    def _paths(self) -> Iterable[str]:
        for folder, _, names in os.walk(self.folder):
            yield from (os.path.join(folder, name) for name in names)
