"""What happens to traces as an endless table: the answer to ``tail``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Final

import anyio.to_thread
import pyarrow as pa

from dftindexd.actors.directories import is_below
from dftindexd.actors.engine import Engine
from dftindexd.actors.events import Listener, TraceEvent
from dftindexd.actors.root import Root
from dftindexd.daemon.answer import ArrowAnswer, BatchStream
from dftindexd.daemon.sight import Sight
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


def tail(engine: Engine, path: bytes, visible: Sequence[Root], sight: Sight) -> ArrowAnswer:
    """Return what happens from now on at or below *path*, ``b""`` for all *visible* roots, to what
    *sight* shows by then.

    :raises NotWatchedError: no root holds it, nor lies below it.
    """
    roots = [root for root in visible if not path or is_below(root.path, path)]
    roots = roots or [engine.root_of(path)] if path else roots
    newest = max((root.handle.registry.generation for root in roots), default=0)
    batches = _batches(engine, engine.events.listen(path), path, sight)
    return ArrowAnswer(AnswerHead(generation=newest), BatchStream(EVENT_SCHEMA, batches))


async def _batches(
    engine: Engine, listener: Listener, base: bytes, sight: Sight
) -> AsyncGenerator[pa.RecordBatch, None]:
    try:
        while True:
            missed, events = await listener.take()
            if not sight.is_whole:
                # As the disk is by now, not as it was when the answer began.
                now, roots = sight.anew(), dict(engine.roots)
                events = await anyio.to_thread.run_sync(_seen, events, roots, base, now)
                # How many others' traces had events is not told.
                missed = min(missed, 1)
            if events or missed:
                yield event_batch(events, missed)
    finally:
        engine.events.leave(listener)


def _seen(
    events: Iterable[TraceEvent], roots: Mapping[bytes, Root], base: bytes, sight: Sight
) -> list[TraceEvent]:
    """Return those of *events* whose trace, or the directory of a removed one, *sight* shows."""
    seen: list[TraceEvent] = []
    for event in events:
        root = roots.get(event.root)
        if root is None:
            continue
        if not event.path:
            shown = sight.sees_directory(root.path)
        else:
            show = sight.named if event.kind == "removed" else sight.present
            # Above the root nothing was asked about, so that all of the root's names count.
            known = base if is_below(base, root.path) and base else root.path
            shown = bool(show(root, known, [root.relative(event.path)]))
        if shown:
            seen.append(event)
    return seen


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
