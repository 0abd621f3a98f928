"""Which traces are to be parsed anew because their index is in many pieces.

Each look at a growing trace adds a segment, and every answer has to read them all. When such a
trace is finished and nothing else is to do, it is parsed once more, from its beginning and as one;
what it had is shown until that is committed. A trace with which that fails keeps its pieces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dftindexd.actors.jobs import segments_of
from dftindexd.index.model import TraceRecord

__all__ = ("MOST_SEGMENTS", "Merging", "is_fragmented")

#: A finished trace may have so many segments.
MOST_SEGMENTS: Final = 32


def is_fragmented(record: TraceRecord) -> bool:
    """Return whether a finished trace has many segments that came from several parses.

    One parse has all its ids from one run, so that what it gave is never parsed anew.
    """
    if record.ending is None or record.quarantined or len(record.segments) <= MOST_SEGMENTS:
        return False
    ids = [segment.segment_id for segment in record.segments]
    return max(ids) - min(ids) >= 2 * segments_of(record.stamp.size)


class Merging:
    """The traces to be merged, one at a time."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, None] = {}
        self._in_hand = b""
        self._failed: set[bytes] = set()

    def consider(self, records: Iterable[TraceRecord]) -> None:
        """Take in those of *records* that are in many pieces."""
        for record in records:
            if is_fragmented(record) and record.path not in self._failed:
                self._waiting[record.path] = None

    def take(self) -> bytes | None:
        """Return the next trace to be parsed anew, if there is one."""
        if not self._waiting:
            return None
        self._in_hand = next(iter(self._waiting))
        del self._waiting[self._in_hand]
        return self._in_hand

    def gave_up(self, path: bytes) -> bool:
        """Take in that parsing *path* failed; return whether that was a merge, which costs nothing
        and is not tried again."""
        if path != self._in_hand:
            return False
        self._in_hand = b""
        self._failed.add(path)
        return True
