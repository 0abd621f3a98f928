"""Commits and rows for tests of the store: small, and each segment recognisable by its rows."""

from __future__ import annotations

from dftindexd.index.model import (
    FileStamp,
    LineCounts,
    ParsedTrace,
    Row,
    SegmentSummary,
    TierConfig,
    TraceFacts,
)
from dftindexd.index.store.layout import CHUNK_STATS, MANIFEST, segment_key
from dftindexd.index.store.registry import CommitParsed

__all__ = ("TIERS", "parsed_commit", "rows_of", "segment", "stamp")

TIERS = TierConfig()
ROW_FAMILIES = (MANIFEST, CHUNK_STATS)


def stamp(size: int = 10, ino: int = 1) -> FileStamp:
    """Return a stamp that depends on nothing else."""
    return FileStamp(ino=ino, size=size, mtime_ns=size, ctime_ns=size)


def segment(number: int, *, provisional: bool = False, events: int = 1) -> SegmentSummary:
    """Return the summary of a segment with as many lines as events."""
    return SegmentSummary(
        segment_id=number,
        provisional=provisional,
        c_begin=0,
        c_end=1,
        uc_begin=0,
        uc_end=1,
        first_line=0,
        lines=LineCounts(total=events, ok=events),
        records=events,
        complete_events=events,
        metadata=0,
        chunks=1,
    )


def parsed_commit(
    path: bytes,
    base_version: int,
    *numbers: int,
    resumed: bool = False,
    provisional: int | None = None,
    facts: TraceFacts | None = None,
    tiers: TierConfig = TIERS,
    file: FileStamp | None = None,
) -> CommitParsed:
    """Return the commit of a parse that gave the closed segments *numbers* and one provisional."""
    segments = [segment(number) for number in numbers]
    if provisional is not None:
        segments.append(segment(provisional, provisional=True))
    return CommitParsed(
        path=path,
        base_version=base_version,
        tiers=tiers,
        parsed=ParsedTrace(
            stamp=file or stamp(),
            resumed=resumed,
            segments=tuple(segments),
            resume=None,
            facts=TraceFacts(),
            final_facts=facts or TraceFacts(),
            tail="complete",
        ),
    )


def rows_of(*numbers: int, count: int = 2) -> list[Row]:
    """Return *count* rows in each of two families for each segment."""
    return [
        (family, segment_key(number, bytes([row])), f"{number}.{row}".encode())
        for number in numbers
        for family in ROW_FAMILIES
        for row in range(count)
    ]
