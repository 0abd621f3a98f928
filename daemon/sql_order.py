"""What the daemon and its processes for SQL tell each other.

In comes an order; the process asks for what it needs of stores, any number of times, and is given
it; meanwhile it tells how far the making of views is; then come the schema of the answer and its
batches, each an Arrow IPC message, and an end or an error. Frames are those of the readers of
events.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dftindexd.views.source import HashRef, Selection

__all__ = ("GIVEN", "MADE", "NEED", "SCHEMA", "SqlNeed", "SqlOrder", "SqlRoot")

NEED: Final = b"N"
GIVEN: Final = b"G"
SCHEMA: Final = b"S"
MADE: Final = b"M"


class SqlRoot(msgspec.Struct, frozen=True, kw_only=True):
    """A root that a statement is about; ``name`` is its path for people."""

    name: str
    selection: Selection


class SqlOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A statement. ``named``: rows have a column ``root``; times are nanoseconds; more than
    ``rows`` rows are an error."""

    query: str
    roots: tuple[SqlRoot, ...]
    named: bool
    begin: int | None
    end: int | None
    rows: int


class SqlNeed(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed of the *root*-th root: the chunks of segments, what hashes stand for, the key
    of a set of the aggregation tier, or a table. Chunks and names are given as MessagePack, a key
    as text, a table as an Arrow stream."""

    root: int
    segments: tuple[int, ...] | None = None
    hashes: tuple[HashRef, ...] | None = None
    key_of: str = ""
    table: str = ""
