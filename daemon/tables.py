"""Answers about traces and roots as Arrow tables and status messages."""

from __future__ import annotations

import os
from typing import Any, Final

import pyarrow as pa

from dftindexd.actors.root import Root
from dftindexd.index.model import TraceRecord
from dftindexd.protocol.requests import RootStatus

__all__ = (
    "LIST_SCHEMA",
    "damage_of",
    "directory_of",
    "display",
    "list_table",
    "root_reason",
    "root_state",
    "root_status",
    "trace_state",
)

_LIST_FIELDS: Final[list[pa.Field[Any]]] = [
    pa.field("path", pa.utf8(), nullable=False),
    pa.field("root", pa.utf8(), nullable=False),
    pa.field("state", pa.utf8(), nullable=False),
    pa.field("ending", pa.utf8()),
    pa.field("events", pa.uint64(), nullable=False),
    pa.field("bad_lines", pa.uint64(), nullable=False),
    pa.field("lines", pa.uint64(), nullable=False),
    pa.field("bytes", pa.uint64(), nullable=False),
    pa.field("reason", pa.utf8(), nullable=False),
]

LIST_SCHEMA: Final = pa.schema(_LIST_FIELDS)


def display(path: bytes) -> str:
    """Return a path for people and Arrow: bytes that are not UTF-8 as ``\\xNN``."""
    return path.decode("utf-8", "backslashreplace")


def directory_of(path: bytes) -> bytes:
    """Return *path* if it is a directory, else the directory it lies in."""
    return path if os.path.isdir(path) else os.path.dirname(path)


def trace_state(record: TraceRecord | None) -> str:
    """Return the state of a trace that is on disk, by its commit record."""
    if record is None:
        return "queued"
    if record.quarantined:
        return "quarantined"
    return "growing" if record.ending is None else "indexed"


def damage_of(record: TraceRecord) -> str:
    """Return what is damaged in a trace that is indexed all the same, ``""`` for nothing.

    That a trace was cut off is no damage: it is whole as far as its writer came.
    """
    bad = record.lines.bad
    lines = f"{bad} {'line' if bad == 1 else 'lines'} of {record.lines.total} cannot be read"
    corrupt = record.reason if "corrupt" in record.reason else ""
    return "; ".join(filter(None, (lines if bad else "", corrupt)))


def list_table(root: Root, below: bytes) -> pa.Table:
    """Return one row for each trace at or below the absolute path *below*."""
    records = {record.path: record for record in root.records(below)}
    relative = root.relative(below)
    queued = (
        path
        for path in root.state.seen
        if path not in records
        and (not relative or path == relative or path.startswith(relative + b"/"))
    )
    rows = [_row(root, path, records.get(path)) for path in sorted([*records, *queued])]
    return pa.Table.from_pylist(rows, schema=LIST_SCHEMA)


def _row(root: Root, path: bytes, record: TraceRecord | None) -> dict[str, object]:
    seen = root.state.seen.get(path)
    size = seen.stamp.size if seen is not None else record.stamp.size if record is not None else 0
    lines = record.lines if record is not None else None
    return {
        "path": display(os.path.join(root.path, path)),
        "root": display(root.path),
        "state": trace_state(record),
        "ending": record.ending if record is not None else None,
        "events": record.complete_events if record is not None else 0,
        "bad_lines": lines.bad if lines is not None else 0,
        "lines": lines.total if lines is not None else 0,
        "bytes": size,
        "reason": (record.quarantined or record.reason) if record is not None else "",
    }


def root_status(root: Root) -> RootStatus:
    """Return the status of one root."""
    registry = root.handle.registry
    states = [trace_state(record) for record in registry.traces.values()]
    records = registry.traces.values()
    return RootStatus(
        root=display(root.path),
        store=root.store_path,
        state=root_state(root),
        backend="inotify" if root.options.follow else "none",
        generation=registry.generation,
        traces=len(root.state.seen),
        queued=root.state.queued + len(root.state.in_flight),
        growing=states.count("growing"),
        indexed=states.count("indexed"),
        quarantined=states.count("quarantined"),
        events=sum(record.complete_events for record in records),
        bad_lines=sum(record.lines.bad for record in records),
        trace_bytes=sum(seen.stamp.size for seen in root.state.seen.values()),
        pending_bytes=root.state.queued_bytes(registry.traces),
        reason=root_reason(root),
    )


def root_reason(root: Root) -> str:
    """Return why a root is not as it should be, ``""`` where it is."""
    return "; ".join(filter(None, [root.handle.read_only, root.state.root_error]))


def root_state(root: Root) -> str:
    """Return what a root is at: ``caught-up``, ``indexing``, or the trouble it is in."""
    if root.handle.read_only:
        return "read-only"
    if root.state.root_error:
        return "root-missing"
    return "caught-up" if root.state.idle else "indexing"
