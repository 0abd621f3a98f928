"""Traces that others read for a root: its scheduler leaves them alone for a while.

A hold ends by itself, so that whoever died with it costs no more than its time.
"""

from __future__ import annotations

from dftindexd.actors.root_state import RootState, Traces
from dftindexd.protocol.message import Request

__all__ = ("Hold", "hold")


class Hold(Request[None], frozen=True, kw_only=True):
    """Leave the traces *paths*, relative to the root, alone for *seconds* from now on; with none of
    them, see anew what they need."""

    paths: tuple[bytes, ...]
    seconds: float


def hold(state: RootState, traces: Traces, message: Hold, *, now: float, wall_ns: int) -> None:
    """Have *state* do what *message* says; *traces* are those of the store."""
    state.retries.rest(message.paths, now + message.seconds)
    if message.seconds > 0:
        return
    for path in message.paths:
        if path in state.seen:  # else the next look finds out
            state.evaluate(path, traces, now=now, wall_ns=wall_ns)
