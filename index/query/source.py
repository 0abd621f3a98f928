"""Where queries read rows from, and what a missing row means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import TraceRecord
from dftindexd.index.store.layout import segment_key

__all__ = ("RowSource", "damaged_row", "origin_of", "segment_rows")


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
    keys = [
        segment_key(segment.segment_id, suffix) for record in records for segment in record.segments
    ]
    values = iter(source.get_many(family, keys)) if keys else iter(())
    return [[_present(next(values), family, record) for _ in record.segments] for record in records]


def _present(value: bytes | None, family: str, record: TraceRecord) -> bytes:
    if value is None:
        raise damaged_row(family, record, "a row is missing")
    return value


def damaged_row(family: str, record: TraceRecord, reason: str) -> StoreDamagedError:
    """Return the error for a row of *family* that belongs to *record*."""
    return StoreDamagedError(
        f"{os.fsdecode(record.path)}: {family}: {reason}",
        hint="rebuild the trace's index, or index it with this configuration first",
    )


def origin_of(records: Sequence[TraceRecord]) -> int:
    """Return the time origin: the smallest bucket of all *records*, 0 where they have none."""
    buckets = (segment.min_bucket for record in records for segment in record.segments)
    return min((bucket for bucket in buckets if bucket is not None), default=0)
