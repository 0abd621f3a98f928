"""Taking the aggregation that lies outside of a store into it.

The rows are written again, as segments of tier sets of their own beside those that are there: an id
belongs to one set only. They become visible some traces at a time; a consolidation that was
interrupted is done again from its beginning, with the same result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from dftindexd.cluster.outside import (
    OutsideFiles,
    link_into,
    read_outside,
    records_of,
    remove_outside,
)
from dftindexd.cluster.store import IndexStore
from dftindexd.index.model import AggregationTier, ParsedTrace, Row, TierConfig, TraceRecord
from dftindexd.index.store.layout import (
    AGGREGATION,
    HASH_TABLES,
    SYSTEM_METRICS,
    segment_key,
)
from dftindexd.index.store.registry import CommitParsed
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.sst import HELD_BYTES, write_ssts
from dftindexd.index.store.writer import COPIES, StoreWriter
from dftindexd.index.tier_sets import find_set, only

__all__ = ("consolidate",)

_SEGMENT_BYTES = len(segment_key(0))


def consolidate(store: IndexStore) -> int:
    """Take in all that lies outside of *store*, delete its files, and return how many traces gained
    an aggregation.

    :raises CoreError: a file is missing, or the store cannot be used.
    """
    outside = read_outside(store.path)
    if not outside:
        return 0
    with store.open() as writer:
        count = sum(
            _take_in(writer, one, os.path.join(store.path, COPIES, f"outside-{number}"))
            for number, one in enumerate(outside)
        )
        remove_outside(store.path)
    for path in (path for one in outside for paths in one.files.values() for path in paths):
        with suppress(OSError):  # whose directory it is, they may have removed it
            os.unlink(path)
    return count


def _take_in(writer: StoreWriter, outside: OutsideFiles, scratch: str) -> int:
    """Take in the rows of some files, by way of a database at *scratch*, which the next opening of
    the store removes."""
    os.makedirs(os.path.dirname(scratch), exist_ok=True)
    rows = RocksStore(scratch)
    try:
        incoming = os.path.join(scratch, "incoming")
        files = {family: link_into(incoming, paths) for family, paths in outside.files.items()}
        rows.ingest(files)
        there = {
            int.from_bytes(key[:_SEGMENT_BYTES], "big")
            for family in (AGGREGATION, SYSTEM_METRICS)
            for key, _ in rows.scan(family)
        }
        records = [
            one
            for one in records_of(writer.rocks)
            if there.issuperset(segment.segment_id for segment in one.segments)
        ]
        for number, (moved, commits) in enumerate(_moved(writer, rows, records, outside.tier)):
            paths = write_ssts(moved, writer.staging, f"consolidated-{number}")
            writer.ingest({family: [path] for family, path in paths.items()}, commits)
    finally:
        rows.close()
    return len(records)


def _moved(
    writer: StoreWriter, rows: RocksStore, records: Sequence[TraceRecord], tier: AggregationTier
) -> Iterator[tuple[list[Row], list[CommitParsed]]]:
    """Yield the rows of *records* under new ids, and what makes them visible, some at a time."""
    held: list[Row] = []
    commits: list[CommitParsed] = []
    size = 0
    for record in records:
        first = writer.new_segment_id(max(len(record.segments), 1))
        ids = {one.segment_id: first + number for number, one in enumerate(record.segments)}
        for old, new in ids.items():
            for family, source in (
                (AGGREGATION, rows),
                (SYSTEM_METRICS, rows),
                (HASH_TABLES, writer.rocks),
            ):
                for key, value in source.scan(family, segment_key(old)):
                    held.append((family, segment_key(new, key[_SEGMENT_BYTES:]), value))
                    size += len(value)
        commits.append(_commit(writer, record, ids, tier))
        if size > HELD_BYTES:
            yield held, commits
            held, commits, size = [], [], 0
    if commits:
        yield held, commits


def _commit(
    writer: StoreWriter, record: TraceRecord, ids: dict[int, int], tier: AggregationTier
) -> CommitParsed:
    tiers = only(TierConfig(aggregation=tier), aggregation=True)
    old = find_set(writer.registry.sets[record.path], tiers)
    segments = tuple(
        msgspec.structs.replace(one, segment_id=ids[one.segment_id]) for one in record.segments
    )
    return CommitParsed(
        path=record.path,
        base_version=old.version if old is not None else 0,
        tiers=tiers,
        parsed=ParsedTrace(
            stamp=record.stamp,
            resumed=False,
            segments=segments,
            resume=record.resume,
            facts=record.facts,
            final_facts=record.final_facts,
            tail=record.tail,
            reason=record.reason,
        ),
    )
