"""Stores that were set aside: kept beside the one that is built anew, under a name that says why.

Nothing here opens a store. A store that is missing while others of its name were set aside is one
that has to be rebuilt, whatever interrupted it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

__all__ = (
    "MOST_A_DAY",
    "REASON_FILE",
    "Why",
    "aside_name",
    "kept_aside",
    "reason_of",
    "set_aside_within_a_day",
)

Why: TypeAlias = Literal["damaged", "outdated"]

#: Inside a store that was set aside: why, for people.
REASON_FILE: Final = "dftindexd.reason"
#: How often a damaged store is set aside within a day before its root is left alone.
MOST_A_DAY: Final = 3

_WHYS: Final[tuple[Why, ...]] = ("damaged", "outdated")
_TIME: Final = "%Y%m%dT%H%M%SZ"
_DAY_SECONDS: Final = 86_400.0


def aside_name(path: str, why: Why, now: float, taken: Iterable[str] = ()) -> str:
    """Return the path to which the store *path* is set aside at *now* (seconds since 1970), another
    than those *taken*: the next second that is free."""
    names = set(taken)
    while (name := f"{path}.{why}-{time.strftime(_TIME, time.gmtime(now))}") in names:
        now += 1
    return name


def kept_aside(path: str) -> list[str]:
    """Return the paths of the stores that were set aside for the store *path*, oldest first."""
    folder, name = os.path.split(os.path.abspath(path))
    aside = re.compile(rf"{re.escape(name)}\.(?:{'|'.join(_WHYS)})-\d{{8}}T\d{{6}}Z")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    found = [one for one in names if aside.fullmatch(one)]
    return [os.path.join(folder, one) for one in sorted(found, key=_time_of)]


def set_aside_within_a_day(kept: Iterable[str], now: float) -> list[str]:
    """Return those of *kept* that were set aside as damaged within the last day."""
    oldest = time.strftime(_TIME, time.gmtime(now - _DAY_SECONDS))
    return [path for path in kept if ".damaged-" in path and _time_of(path) >= oldest]


def reason_of(aside: str) -> str:
    """Return why the store *aside* was set aside, as far as that was noted."""
    try:
        with open(os.path.join(aside, REASON_FILE), encoding="utf-8", errors="replace") as file:
            return file.read(4096).strip()
    except OSError:
        return ""


def _time_of(path: str) -> str:
    return path.rpartition("-")[2]
