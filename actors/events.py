"""What happens to traces and stores, told to whoever listens, as it happens.

Publishing never waits: each listener has a backlog of its own, and one that is too slow loses the
oldest events and is told how many. Nothing depends on events; what is indexed says ``list``.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable
from typing import Final
from weakref import WeakSet

import anyio
import msgspec

from dftindexd.actors.directories import is_below
from dftindexd.index.model import Ending, TraceRecord
from dftindexd.protocol.events import EventKind

__all__ = (
    "MOST_BACKLOG",
    "Backlog",
    "EventBus",
    "Listener",
    "RootEvents",
    "TraceEvent",
    "outcome_of",
)

#: How many events are kept for a listener that does not take them.
MOST_BACKLOG: Final = 4096


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened to the trace *path* (absolute), or where this is empty to the store
    of *root*. ``time`` is in seconds since 1970; ``generation`` is the store's by then."""

    time: float
    kind: EventKind
    root: bytes
    path: bytes = b""
    generation: int
    ending: Ending | None = None
    events: int = 0
    reason: str = ""


class Backlog:
    """The events that one listener has not taken yet, *most* at most: the oldest go first."""

    def __init__(self, most: int = MOST_BACKLOG) -> None:
        self._events: deque[TraceEvent] = deque(maxlen=most)
        self._missed = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    def add(self, event: TraceEvent) -> None:
        """Take an event in."""
        self._missed += len(self._events) == self._events.maxlen
        self._events.append(event)

    def take(self) -> tuple[int, list[TraceEvent]]:
        """Return how many events were lost since this was called last, and those that are left."""
        missed, events = self._missed, list(self._events)
        self._missed = 0
        self._events.clear()
        return missed, events


class Listener:
    """One that listens to what happens at or below a path."""

    def __init__(self, below: bytes) -> None:
        self._below = below.rstrip(b"/")
        self._backlog = Backlog()
        self._wake = anyio.Event()

    def offer(self, event: TraceEvent) -> None:
        """Take in *event* if it is of the path, or of a store that holds the path."""
        if event.path:
            wanted = is_below(event.path, self._below)
        else:
            wanted = is_below(event.root, self._below) or is_below(self._below, event.root)
        if wanted:
            self._backlog.add(event)
            self._wake.set()

    async def take(self) -> tuple[int, list[TraceEvent]]:
        """Wait for events; return how many were lost before them, and them."""
        while not self._backlog:
            self._wake = anyio.Event()
            await self._wake.wait()
        return self._backlog.take()


class EventBus:
    """Passes on what happens in all roots of an engine."""

    def __init__(self) -> None:
        self._listeners: WeakSet[Listener] = WeakSet()

    @property
    def heard(self) -> bool:
        """Whether somebody listens."""
        return len(self._listeners) > 0

    def listen(self, below: bytes = b"") -> Listener:
        """Return who is told what happens at or below the absolute path *below*, or everywhere,
        until :meth:`leave`, or until nobody holds it any more."""
        listener = Listener(below)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Tell *listener* nothing any more."""
        self._listeners.discard(listener)

    def publish(self, event: TraceEvent) -> None:
        """Tell all who listen."""
        for listener in self._listeners:
            listener.offer(event)


def outcome_of(record: TraceRecord | None) -> EventKind:
    """Return what a commit did to a trace that is now as in *record* (``None``: it is gone)."""
    if record is None:
        return "removed"
    if record.quarantined:
        return "quarantined"
    return "grew" if record.ending is None else "indexed"


class RootEvents:
    """Tells what happens in one root."""

    def __init__(self, bus: EventBus, root: bytes) -> None:
        self._bus = bus
        self._root = root
        self._store_state = ""

    def tell(
        self, kind: EventKind, paths: Iterable[bytes], generation: int, reason: str = ""
    ) -> None:
        """Tell that something happened to the traces *paths* (relative to the root)."""
        if self._bus.heard:
            for path in paths:
                self._publish(kind, path, generation, reason=reason)

    def committed(self, path: bytes, record: TraceRecord | None, generation: int) -> None:
        """Tell what a commit did to a trace that is now as in *record*."""
        if not self._bus.heard:
            return
        kind = outcome_of(record)
        if record is None:
            self._publish(kind, path, generation)
            return
        self._publish(
            kind,
            path,
            generation,
            ending=record.ending,
            events=record.complete_events,
            reason=record.quarantined or record.reason,
        )

    def store_is(self, state: str, generation: int) -> None:
        """Tell what the store is at, if it was something else before."""
        if state != self._store_state:
            self._store_state = state
            if self._bus.heard:
                self._publish("store", b"", generation, reason=state)

    def _publish(
        self,
        kind: EventKind,
        path: bytes,
        generation: int,
        *,
        ending: Ending | None = None,
        events: int = 0,
        reason: str = "",
    ) -> None:
        self._bus.publish(
            TraceEvent(
                time=time.time(),
                kind=kind,
                root=self._root,
                path=os.path.join(self._root, path) if path else b"",
                generation=generation,
                ending=ending,
                events=events,
                reason=reason,
            )
        )
