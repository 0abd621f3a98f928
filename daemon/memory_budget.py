"""How much memory the parser workers may take together where nobody says: a share of what there is.

There is what the kernel calls available when the daemon starts, or the limit of its control group
(version 1 or 2), or of one that this lies in, where that is less.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ("MOST_BUDGET", "default_budget", "memory_there_is")

#: However much there is, the workers take no more: it is enough for 56 of them with large jobs.
MOST_BUDGET: Final = 8 << 30

_SHARE: Final = 4
#: Where the groups of each version are mounted, and the file of a group's limit.
_V1: Final = ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
_V2: Final = ("sys/fs/cgroup", "memory.max")


def default_budget(memory: int) -> int:
    """Return how many bytes the workers may take together where there are *memory*: a quarter. The
    rest is for the daemon, the page cache, and those who analyse."""
    return min(memory // _SHARE, MOST_BUDGET)


def memory_there_is(machine: str = "/") -> int:
    """Return how many bytes this process and its children may take.

    :param machine: the directory in which ``proc`` and ``sys`` lie.
    """
    sizes = [_available(os.path.join(machine, "proc/meminfo"))]
    for line in _text(os.path.join(machine, "proc/self/cgroup")).splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            sizes += _limits(os.path.join(machine, _V2[0]), _V2[1], group)
        elif "memory" in controllers.split(","):
            sizes += _limits(os.path.join(machine, _V1[0]), _V1[1], group)
    return min(sizes)


def _available(meminfo: str) -> int:
    with open(meminfo, encoding="ascii") as lines:
        values = dict(line.split(":", 1) for line in lines)
    return int(values["MemAvailable"].split()[0]) << 10


def _limits(mount: str, file: str, group: str) -> list[int]:
    """Return the limits of *group* and of those that it lies in; one that is not there, as within
    a container whose own group is mounted as the outermost, has none."""
    names = group.strip("/").split("/")
    texts = (
        _text(os.path.join(mount, *names[:depth], file)) for depth in range(len(names), -1, -1)
    )
    return [int(text) for text in texts if text.isdigit()]


def _text(path: str) -> str:
    """Return the text of a file of the kernel, ``""`` where it has no such file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
