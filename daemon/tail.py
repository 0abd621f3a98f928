"""What happens to traces as an endless table: the answer to ``tail``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final

import pyarrow as pa

from dftindexd.actors.directories import is_below
from dftindexd.actors.engine import Engine
from dftindexd.actors.events import EventBus, Listener, TraceEvent
from dftindexd.daemon.answer import ArrowAnswer, BatchStream
from dftindexd.daemon.tables import display
from dftindexd.protocol.requests import AnswerHead

__all__ = ("EVENT_SCHEMA", "event_batch", "tail")

_FIELDS: Final[list[pa.Field[Any]]] = [
    pa.field("time", pa.float64(), nullable=False),
    pa.field("kind", pa.utf8(), nullable=False),
    pa.field("root", pa.utf8(), nullable=False),
    pa.field("path", pa.utf8(), nullable=False),
    pa.field("generation", pa.uint64(), nullable=False),
    pa.field("ending", pa.utf8()),
    pa.field("events", pa.uint64(), nullable=False),
    pa.field("reason", pa.utf8(), nullable=False),
    pa.field("missed", pa.uint64(), nullable=False),
]

#: The columns are the fields of ``protocol.events.IndexEvent``.
EVENT_SCHEMA: Final = pa.schema(_FIELDS)


def tail(engine: Engine, path: bytes) -> ArrowAnswer:
    """Return what happens from now on at or below *path*, ``b""`` for all roots.

    :raises NotWatchedError: no root holds it, nor lies below it.
    """
    roots = [root for root in engine.roots.values() if not path or is_below(root.path, path)]
    roots = roots or [engine.root_of(path)] if path else roots
    newest = max((root.handle.registry.generation for root in roots), default=0)
    batches = _batches(engine.events, engine.events.listen(path))
    return ArrowAnswer(AnswerHead(generation=newest), BatchStream(EVENT_SCHEMA, batches))


async def _batches(bus: EventBus, listener: Listener) -> AsyncGenerator[pa.RecordBatch, None]:
    try:
        while True:
            missed, events = await listener.take()
            yield event_batch(events, missed)
    finally:
        bus.leave(listener)


def event_batch(events: Iterable[TraceEvent], missed: int) -> pa.RecordBatch:
    """Return *events* as rows; the first says how many were lost before it."""
    rows = [
        {
            "time": event.time,
            "kind": event.kind,
            "root": display(event.root),
            "path": display(event.path),
            "generation": event.generation,
            "ending": event.ending,
            "events": event.events,
            "reason": event.reason,
            "missed": 0 if at else missed,
        }
        for at, event in enumerate(events)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=EVENT_SCHEMA)
