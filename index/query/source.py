"""Where queries read rows from, and what a missing row means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import TraceRecord
from dftindexd.index.query.given_up import require_wanted
from dftindexd.index.store.layout import segment_key

__all__ = ("RowSource", "damaged_row", "origin_of", "owned_rows", "segment_rows")


class RowSource(Protocol):
    """One consistent view of a store's rows."""

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, ``None`` where there is none."""
        ...


def segment_rows(
    source: RowSource, family: str, records: Sequence[TraceRecord], suffix: bytes = b""
) -> list[list[bytes]]:
    """Return for each record the row of each segment that it names.

    A row that is not there is damage, named by its trace: no answer is ever silently short.
    """
    owners = [record for record in records for _ in record.segments]
    keys = [
        segment_key(segment.segment_id, suffix) for record in records for segment in record.segments
    ]
    values = iter(owned_rows(source, family, owners, keys))
    return [[next(values) for _ in record.segments] for record in records]


def owned_rows(
    source: RowSource, family: str, owners: Sequence[TraceRecord], keys: Sequence[bytes]
) -> list[bytes]:
    """Return the row of each of *keys*, of which each belongs to the trace at its place in
    *owners*; damage names every trace whose rows do not read back."""
    require_wanted()
    if not keys:
        return []
    try:
        values = source.get_many(family, keys)
    except StoreDamagedError as error:
        raise _attributed(source, family, owners, keys) or error from error
    return [_present(value, family, owner) for value, owner in zip(values, owners, strict=True)]


def _attributed(
    source: RowSource, family: str, owners: Sequence[TraceRecord], keys: Sequence[bytes]
) -> StoreDamagedError | None:
    damaged: dict[bytes, TraceRecord] = {}
    reason = ""
    for owner, key in zip(owners, keys, strict=True):
        if owner.path in damaged:
            continue
        try:
            source.get_many(family, [key])
        except StoreDamagedError as error:
            damaged[owner.path] = owner
            reason = reason or error.message
    if not damaged:
        return None
    first = damaged_row(family, next(iter(damaged.values())), reason)
    more = f" (and {len(damaged) - 1} more traces)" if len(damaged) > 1 else ""
    segments = frozenset(
        segment.segment_id for record in damaged.values() for segment in record.segments
    )
    return StoreDamagedError(first.message + more, first.hint, segments=segments)


def _present(value: bytes | None, family: str, record: TraceRecord) -> bytes:
    if value is None:
        raise damaged_row(family, record, "a row is missing")
    return value


def damaged_row(family: str, record: TraceRecord, reason: str) -> StoreDamagedError:
    """Return the error for a row of *family* that belongs to *record*."""
    return StoreDamagedError(
        f"{os.fsdecode(record.path)}: {family}: {reason}",
        hint="rebuild the trace's index, or index it with this configuration first",
        segments=frozenset(segment.segment_id for segment in record.segments),
    )


def origin_of(records: Sequence[TraceRecord]) -> int:
    """Return the time origin: the smallest bucket of all *records*, 0 where they have none."""
    buckets = (segment.min_bucket for record in records for segment in record.segments)
    return min((bucket for bucket in buckets if bucket is not None), default=0)
