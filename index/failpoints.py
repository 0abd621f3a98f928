"""Failpoints: places where a test has a process fail, die or dawdle.

``DFTINDEXD_FAILPOINTS`` names them, separated by ``;``:
``<name>=<action>[:<value>][@<part>][#<n>]``. The actions are ``kill`` (SIGKILL to this process),
``raise`` (an ``OSError`` with the message *value*) and ``sleep`` (*value* seconds). With *part*,
only where the detail contains it; with *n*, only the n-th time that this process comes there, from
1. Without the variable a failpoint does nothing.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from typing import Final, NamedTuple

__all__ = ("STORE_FAILPOINTS", "VARIABLE", "failpoint")

VARIABLE: Final = "DFTINDEXD_FAILPOINTS"

#: Every failpoint of a store, in the order of its life: open, write, ingest, vacuum, compaction.
STORE_FAILPOINTS: Final = (
    "store:open:begun",
    "store:open:identity-written",
    "store:open:locked",
    "store:open:opened",
    "store:open:loaded",
    "store:open:swept",
    "store:write:unsynced",
    "store:ingest:begun",
    "store:ingest:announced",
    "store:ingest:family-moved",
    "store:ingest:moved",
    "store:commit:begun",
    "store:commit:written",
    "store:commit:taken",
    "store:vacuum:begun",
    "store:vacuum:written",
    "store:compact:begun",
    "store:compact:done",
)


class _Point(NamedTuple):
    name: str
    action: str
    value: str
    part: bytes
    turn: int


_visits: Counter[_Point] = Counter()


def failpoint(name: str, detail: bytes = b"") -> None:
    """Do what the environment asks for at the place *name*, for *detail* such as a path."""
    text = os.environ.get(VARIABLE)
    if not text:
        return
    for point in _points(text, name):
        if point.part not in detail:
            continue
        _visits[point] += 1
        if not point.turn or _visits[point] == point.turn:
            _act(name, point)


def _points(text: str, wanted: str) -> list[_Point]:
    points = []
    for item in filter(None, text.split(";")):
        name, _, what = item.partition("=")
        if name != wanted:
            continue
        where, _, turn = what.partition("#")
        how, _, part = where.partition("@")
        action, _, value = how.partition(":")
        points.append(_Point(name, action, value, os.fsencode(part), int(turn or 0)))
    return points


def _act(name: str, point: _Point) -> None:
    match point.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise OSError(errno.EIO, point.value or f"failpoint {name}")
        case "sleep":
            time.sleep(float(point.value))
        case _:
            raise ValueError(
                f"{VARIABLE}: {name} has the unknown action {point.action!r}: "
                "use kill, raise or sleep"
            )
