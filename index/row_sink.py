"""Where the rows of a trace go while it is read: one segment after another, as each ends.

A large trace has several segments, and whoever reads it need not hold the rows of all.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from dftindexd.index.model import ParsedTrace, Row

__all__ = ("HeldRows", "RowSink")


class RowSink(Protocol):
    """Takes the rows of each segment of a trace when it ends, in the order of the segments."""

    def take(self, rows: list[Row]) -> None:
        """Take the rows of one segment."""

    def drop(self) -> None:
        """Forget what was taken of this trace: it is read once more."""


class HeldRows:
    """Keeps the rows in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def take(self, rows: list[Row]) -> None:
        """Take the rows of one segment."""
        self.rows += rows

    def drop(self) -> None:
        """Forget all rows."""
        self.rows.clear()

    def add_to(self, parsed: ParsedTrace) -> ParsedTrace:
        """Return *parsed* with the rows."""
        return msgspec.structs.replace(parsed, rows=tuple(self.rows)) if self.rows else parsed
