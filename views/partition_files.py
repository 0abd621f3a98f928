"""Partitions on disk: Parquet files in the folder ``views`` of a store, named by what they hold.

The name of a partition's file is all that its freshness needs; a file appears whole under its name.
Two processes that build the same write the same. What no answer used for long, or has no room, is
deleted: it can always be made again. The time of last use is the file's access time, to the hour.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

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
_NAME: Final = re.compile(
    r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9]+)-([0-9a-f]{16})-([0-9a-f]{16})\.parquet"
)


class KeptPartition(NamedTuple):
    """The file of a partition: its view set, the digest of its schema, its size, and when it was
    used last, in nanoseconds since 1970."""

    path: str
    view_set: str
    schema: str
    bytes: int
    used: int


def _file_name(partition: Partition) -> str:
    begin, end, objects, schema, source = partition
    return f"{begin:016x}-{end:016x}-{objects}-{schema}-{source}.parquet"


class PartitionFolder:
    """The partitions of one instance of a view set."""

    def __init__(self, path: str) -> None:
        self.path = path

    def partitions(self) -> list[Partition]:
        """Return those that exist."""
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return []
        found = filter(None, map(_NAME.fullmatch, names))
        return [
            Partition(int(one[1], 16), int(one[2], 16), int(one[3]), one[4], one[5])
            for one in found
        ]

    def file(self, partition: Partition) -> str:
        """Return the path of the file of *partition*."""
        return os.path.join(self.path, _file_name(partition))

    def write(self, partition: Partition, table: pa.Table) -> None:
        """Write the rows of *partition*; the file appears whole."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(_TEMPORARY, dir=self.path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                pq.write_table(table, file, compression="zstd", row_group_size=1 << 17)
            os.replace(temporary, self.file(partition))
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def retire(self, partitions: Iterable[Partition]) -> None:
        """Delete *partitions*; one that is gone already is as good."""
        for partition in partitions:
            with suppress(FileNotFoundError):
                os.unlink(self.file(partition))


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
