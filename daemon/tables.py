"""Answers about traces and roots as Arrow tables and status messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa

from dftindexd.actors.directories import is_below
from dftindexd.actors.root import Root
from dftindexd.actors.store_state import store_state
from dftindexd.daemon.sight import EVERYTHING, Sight
from dftindexd.index.endings import miscount
from dftindexd.index.model import TraceRecord
from dftindexd.index.store.aside import kept_aside
from dftindexd.index.store.registry import changes_since, records_below
from dftindexd.protocol.requests import RootStatus, TraceProblem

__all__ = (
    "LIST_SCHEMA",
    "Listing",
    "changes_listing",
    "damage_of",
    "directory_of",
    "display",
    "listing",
    "root_reason",
    "root_state",
    "root_status",
    "trace_name",
    "trace_problems",
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

#: A generation, and what makes the table of it.
Listing: TypeAlias = tuple[int, Callable[[], pa.Table]]


def display(path: bytes) -> str:
    """Return a path for people and Arrow: bytes that are not UTF-8 as ``\\xNN``."""
    return path.decode("utf-8", "backslashreplace")


def trace_name(root: Root, below: bytes, path: bytes) -> str:
    """Return what a trace of *root* is called by whoever asks about the absolute path *below*: what
    follows that, and all of the path below ``/``."""
    whole = os.path.join(root.path, path)
    if below == b"/":
        return display(whole)
    return display(whole[len(below) :].lstrip(b"/") or os.path.basename(whole))


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


def changes_listing(root: Root, below: bytes, since: int, sight: Sight = EVERYTHING) -> Listing:
    """Return the generation that is shown now, and what makes a table of it in any thread: one row
    for each trace at or below *below* that changed after the generation *since*, of those that
    *sight* shows; it raises :class:`StaleGenerationError` where that is not known any more."""
    registry = root.handle.registry
    damaged = root.handle.damage.reasons(registry.sets)

    def table() -> pa.Table:
        changes = changes_since(registry, since, root.relative(below))
        shown = sight.registry(root, below, registry)
        removed = sight.named(root, below, changes.removed)
        changed = [one for one in changes.changed if one.path in shown.sets]
        rows = [_row(root, one.path, one, damaged.get(one.path, "")) for one in changed]
        rows += [_row(root, path, None, "") | {"state": "removed"} for path in removed]
        ordered = sorted(rows, key=lambda row: str(row["path"]))
        return pa.Table.from_pylist(ordered, schema=LIST_SCHEMA)

    return registry.generation, table


def listing(
    root: Root, below: bytes, sight: Sight = EVERYTHING, without: Sequence[bytes] = ()
) -> Listing:
    """Return the generation that is shown now, and what makes a table of it in any thread: one row
    for each trace at or below the absolute path *below*, but not below those directories *without*
    which it is asked for, relative to the root, of those that *sight* shows."""
    registry, seen = root.handle.registry, list(root.state.seen)
    damaged = root.handle.damage.reasons(registry.sets)
    relative = root.relative(below)

    def table() -> pa.Table:
        shown = sight.registry(root, below, registry)
        records = {record.path: record for record in records_below(shown, relative)}
        queued = sight.present(
            root, below, [p for p in seen if p not in registry.sets and is_below(p, relative)]
        )
        rows = [
            _row(root, path, records.get(path), damaged.get(path, ""))
            for path in sorted([*records, *queued])
            if not any(path.startswith(directory + b"/") for directory in without)
        ]
        return pa.Table.from_pylist(rows, schema=LIST_SCHEMA)

    return registry.generation, table


def _row(root: Root, path: bytes, record: TraceRecord | None, damaged: str) -> dict[str, object]:
    seen = root.state.seen.get(path)
    size = seen.stamp.size if seen is not None else record.stamp.size if record is not None else 0
    lines = record.lines if record is not None else None
    return {
        "path": display(os.path.join(root.path, path)),
        "root": display(root.path),
        "state": "damaged" if damaged else trace_state(record),
        "ending": record.ending if record is not None else None,
        "events": record.complete_events if record is not None else 0,
        "bad_lines": lines.bad if lines is not None else 0,
        "lines": lines.total if lines is not None else 0,
        "bytes": size,
        "reason": damaged or (_reason(record) if record is not None else ""),
    }


def _reason(record: TraceRecord) -> str:
    """Return what there is to say of a trace: why it is not parsed, else what is odd about it."""
    if record.quarantined:
        return record.quarantined
    if record.stamp.size == 0:
        return "empty so far: the tracer writes when its buffer is full, or at its end"
    return "; ".join(filter(None, (record.reason, miscount(record))))


def root_status(root: Root) -> RootStatus:
    """Return the status of one root."""
    registry, tally = root.handle.registry, root.handle.registry.tally
    damage = root.handle.damage
    return RootStatus(
        root=display(root.path),
        store=root.store_path,
        state=root_state(root),
        backend=root.watch.backend if root.options.follow else "none",
        generation=registry.generation,
        traces=len(root.state.seen),
        queued=root.state.queued + len(root.state.in_flight),
        **msgspec.structs.asdict(tally),
        trace_bytes=root.state.seen_bytes,
        pending_bytes=root.state.pending_bytes,
        done_bytes=root.progress.done,
        bytes_per_second=root.progress.rate,
        seconds_left=root.progress.seconds_left,
        reason=root_reason(root),
        damaged=len(damage.reasons(registry.sets)),
        repairs=damage.repairs,
        set_aside=tuple(kept_aside(root.store_path)),
        open=root.handle.is_open,
        gone_since=root.gone_since,
        include=root.options.rules.include,
        exclude=root.options.rules.exclude,
        follow_links=root.options.rules.follow_links,
    )


def root_reason(root: Root) -> str:
    """Return why a root is not as it should be, ``""`` where it is."""
    handle = root.handle
    damaged = handle.damage.reasons(handle.registry.sets)
    first = next(iter(damaged.values()), "")
    traces = f"{len(damaged)} damaged traces are being rebuilt: {first}" if damaged else ""
    return "; ".join(
        filter(
            None,
            [
                handle.read_only,
                root.state.root_error,
                handle.rebuilding,
                traces,
                _unreadable(root),
                root.watch.reason,
            ],
        )
    )


def _unreadable(root: Root) -> str:
    """Return what of a root cannot be looked at, ``""`` for nothing."""
    problems = root.state.problems
    if not problems:
        return ""
    path, reason = next(iter(problems.items()))
    more = f" (and {len(problems) - 1} more paths)" if len(problems) > 1 else ""
    what = f"{display(os.path.join(root.path, path))}{more} cannot be read: {reason}"
    return f"{what}; what is indexed of it is kept"


def root_state(root: Root) -> str:
    """Return what a root is at: ``caught-up``, ``indexing``, or the trouble it is in."""
    state = store_state(root.handle, root.state)
    if state not in ("caught-up", "indexing"):
        return state
    if root.state.problems:
        return "unreadable"
    if root.watch.reason:
        return "polling"
    return state


def trace_problems(root: Root, problems: dict[bytes, str]) -> tuple[TraceProblem, ...]:
    """Return what is told of traces that are not in the answer as they lie on disk."""
    traces = root.handle.registry.traces
    return tuple(
        TraceProblem(
            path=display(os.path.join(root.path, path)),
            state="quarantined" if path in traces else "unreadable",
            reason=reason,
        )
        for path, reason in sorted(problems.items())
    )
