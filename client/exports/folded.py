"""Calls as folded stacks, which flame graph tools read: one line a stack, and how long it took.

``process;thread;outer;inner N``: N is the microseconds that the calls of this stack took outside of
the calls in them, so that all numbers together are the time that threads spent in calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from dftindexd.client.exports.call_stacks import Frame

__all__ = ("folded_stacks",)

_MICROSECOND: Final = 1000
#: What separates frames or lines cannot be in a name.
_SEPARATORS: Final = re.compile(r"[;\s]+")


def folded_stacks(whole: Frame) -> Iterator[bytes]:
    """Yield one line for each stack in *whole*, which is no frame itself, that has own time."""
    pending = [("", frame) for frame in reversed(whole.inner.values())]
    while pending:
        outer, frame = pending.pop()
        stack = f"{outer};{_plain(frame.name)}" if outer else _plain(frame.name)
        if own := frame.own // _MICROSECOND:
            yield f"{stack} {own}\n".encode()
        pending += [(stack, inner) for inner in reversed(frame.inner.values())]


def _plain(name: str) -> str:
    return _SEPARATORS.sub(lambda found: ":" if ";" in found[0] else " ", name) or "?"
