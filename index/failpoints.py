"""Failpoints: places where a test has a process fail, die or dawdle.

``DFTINDEXD_FAILPOINTS`` names them, separated by ``;``: ``<name>=<action>[:<value>][@<part>]``. The
actions are ``kill`` (SIGKILL to this process), ``raise`` (an ``OSError`` with the message
*value*) and ``sleep`` (*value* seconds). With *part*, only where the detail contains it. Without
the variable a failpoint does nothing.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import Final, NamedTuple

__all__ = ("VARIABLE", "failpoint")

VARIABLE: Final = "DFTINDEXD_FAILPOINTS"


class _Point(NamedTuple):
    action: str
    value: str
    part: bytes


def failpoint(name: str, detail: bytes = b"") -> None:
    """Do what the environment asks for at the place *name*, for *detail* such as a path."""
    text = os.environ.get(VARIABLE)
    if not text:
        return
    for point in _points(text, name):
        if point.part in detail:
            _act(name, point)


def _points(text: str, wanted: str) -> list[_Point]:
    points = []
    for item in filter(None, text.split(";")):
        name, _, what = item.partition("=")
        if name != wanted:
            continue
        how, _, part = what.partition("@")
        action, _, value = how.partition(":")
        points.append(_Point(action, value, os.fsencode(part)))
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
