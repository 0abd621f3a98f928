"""On which file system a directory lies, and how traces there are best noticed."""

from __future__ import annotations

import os
import re
from typing import Final, Literal, TypeAlias

from dftindexd.index.errors import CoreError

__all__ = (
    "Backend",
    "PseudoFileSystemError",
    "WantedBackend",
    "backend_for",
    "backend_of",
    "file_system_at",
)

#: How a root is watched: by the kernel's events, or by looking again and again.
Backend: TypeAlias = Literal["inotify", "poll"]
WantedBackend: TypeAlias = Literal["auto", "inotify", "poll"]

#: Written by this machine alone. Whatever is not named here may be shared with others, of whose
#: writes inotify tells nothing.
_LOCAL: Final = frozenset(
    (
        *("bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "msdos"),
        *("nilfs2", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "vfat"),
        *("xfs", "zfs"),
    )
)

#: What is shown there are no files.
_PSEUDO: Final = frozenset(
    (
        *("binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
        *("efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "resctrl"),
        *("rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs"),
    )
)

_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")


class PseudoFileSystemError(CoreError):
    """A directory of a pseudo file system was to be watched."""

    code = "invalid-argument"


def file_system_at(path: bytes, mountinfo: bytes) -> str:
    """Return the type of the file system that holds the real *path*, ``""`` where that is not told.

    :param mountinfo: ``/proc/self/mountinfo``.
    """
    longest, found = -1, ""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(b" - ")
        place = _ESCAPED.sub(lambda hit: bytes([int(hit[1], 8)]), fields.split(b" ")[4])
        inside = path == place or path.startswith(place.rstrip(b"/") + b"/")
        # Of several mounts at one place the last one is seen.
        if inside and len(place) >= longest:
            longest, found = len(place), os.fsdecode(rest.split(b" ")[0])
    return found


def backend_for(file_system: str, wanted: WantedBackend) -> Backend:
    """Return how a root on a file system of this type is watched."""
    if wanted != "auto":
        return wanted
    return "inotify" if file_system in _LOCAL else "poll"


def backend_of(root: bytes, wanted: WantedBackend) -> Backend:
    """Return how *root*, a real path, is watched.

    :raises PseudoFileSystemError: there are no files there.
    """
    with open("/proc/self/mountinfo", "rb") as file:
        found = file_system_at(root, file.read())
    if found in _PSEUDO:
        raise PseudoFileSystemError(
            f"{os.fsdecode(root)} lies on {found}, a pseudo file system without files",
            "watch a directory that traces are written to",
        )
    return backend_for(found, wanted)
