"""What a function does to a file, as the analyzer numbers it.

``analyzer`` is the table that dfanalyzer applies to raw traces, with the vectored calls of newer
kernels; ``0.0.12`` is the narrower one of dftracer-utils 0.0.12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

__all__ = (
    "IO_CATEGORY_TABLES",
    "IPC",
    "METADATA",
    "OTHER",
    "PCTL",
    "READ",
    "SYNC",
    "WRITE",
    "IoCategoryTable",
)

READ: Final = 1
WRITE: Final = 2
METADATA: Final = 3
PCTL: Final = 4
IPC: Final = 5
OTHER: Final = 6
SYNC: Final = 7

IoCategoryTable: TypeAlias = Literal["analyzer", "0.0.12"]


def _table(categories: Mapping[int, str]) -> Mapping[str, int]:
    return {name: category for category, names in categories.items() for name in names.split()}


_NARROW: Final = _table(
    {
        READ: "read pread readv preadv fread",
        WRITE: "write pwrite writev pwritev fwrite",
        SYNC: "fsync fdatasync msync sync",
        METADATA: (
            "open open64 close fopen fopen64 fclose stat fstat lstat fstatat __xstat __xstat64 "
            "__lxstat __lxstat64 __fxstat __fxstat64 access lseek lseek64 fseek ftell seek fcntl "
            "ftruncate mkdir rmdir unlink remove rename link readlink opendir closedir readdir"
        ),
    }
)

_ADDED: Final = _table(
    {
        READ: "pread64 preadv64 preadv2",
        WRITE: "pwrite64 pwritev64 pwritev2",
        METADATA: (
            "fseeko fseeko64 ftello ftello64 stat64 fstat64 lstat64 fstatat64 ftruncate64 readdir64"
        ),
        PCTL: "exec exit fork kill pipe wait",
        IPC: "msgctl msgget msgrcv msgsnd semctl semget semop shmat shmctl shmdt shmget",
    }
)

#: Function to category; a function that is not in a table is ``OTHER``.
IO_CATEGORY_TABLES: Final[Mapping[IoCategoryTable, Mapping[str, int]]] = {
    "analyzer": {**_NARROW, **_ADDED},
    "0.0.12": _NARROW,
}
