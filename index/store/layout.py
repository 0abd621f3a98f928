"""The layout of a store: its column families and keys. ``docs/store-format.md`` is the document.

Every row of a tier belongs to one *segment* (what one parse of a byte range of one trace gave), and
its key begins with the segment's id, so that rows of different segments never meet and a segment is
removed by one range per column family. A segment is visible only while a trace record in
``default`` names it.

Segment ids are ``epoch << 32 | serial``; each opening of the store for writing is a new epoch, so a
late or repeated artifact can never take the key of another.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = (
    "AGGREGATION",
    "CHECKPOINTS",
    "CHUNK_BLOOM",
    "CHUNK_STATS",
    "COLUMN_FAMILIES",
    "DEFAULT",
    "FILE_BLOOM",
    "FORMAT_VERSION",
    "HASH_TABLES",
    "MANIFEST",
    "POSTINGS",
    "ROOT_SUMMARIES",
    "SEGMENT_FAMILIES",
    "SYSTEM_METRICS",
    "completion_marker",
    "garbage_key",
    "segment_bounds",
    "segment_id",
    "segment_key",
    "trace_key",
)

FORMAT_VERSION: Final = 3

DEFAULT: Final = "default"
CHECKPOINTS: Final = "checkpoints"
CHUNK_BLOOM: Final = "chunk_bloom"
FILE_BLOOM: Final = "file_bloom"
MANIFEST: Final = "manifest"
CHUNK_STATS: Final = "chunk_stats"
HASH_TABLES: Final = "hash_tables"
POSTINGS: Final = "postings"
AGGREGATION: Final = "aggregation"
SYSTEM_METRICS: Final = "system_metrics"
ROOT_SUMMARIES: Final = "root_summaries"

#: The families whose keys begin with a segment id.
SEGMENT_FAMILIES: Final = (
    CHECKPOINTS,
    CHUNK_BLOOM,
    FILE_BLOOM,
    MANIFEST,
    CHUNK_STATS,
    HASH_TABLES,
    POSTINGS,
    AGGREGATION,
    SYSTEM_METRICS,
)

COLUMN_FAMILIES: Final = (DEFAULT, *SEGMENT_FAMILIES, ROOT_SUMMARIES)

_SEGMENT: Final = struct.Struct(">Q")
_FILE: Final = struct.Struct(">I")


def segment_id(epoch: int, serial: int) -> int:
    """Return the id of the *serial*-th segment of an *epoch*, both below 2**31."""
    return epoch << 32 | serial


def segment_key(segment: int, suffix: bytes = b"") -> bytes:
    """Return a row's key: the segment's id as u64 big endian, then the tier's own *suffix*."""
    return _SEGMENT.pack(segment) + suffix


def segment_bounds(segment: int) -> tuple[bytes, bytes]:
    """Return the half-open key range that holds all rows of a segment."""
    return _SEGMENT.pack(segment), _SEGMENT.pack(segment + 1)


def trace_key(file_id: int, tiers: bytes) -> bytes:
    """Return the key of a trace record in ``default``: ``t``, the file id, u32 big endian, and the
    digest of the set's tiers."""
    return b"t" + _FILE.pack(file_id) + tiers


def garbage_key(segment: int) -> bytes:
    """Return the key that marks a segment as dropped: ``g`` and its id."""
    return b"g" + _SEGMENT.pack(segment)


def completion_marker(file_id: int, tiers: bytes) -> bytes:
    """Return the key in ``aggregation`` that says a set of a trace is complete: FF FF, the file id
    and the digest of the set's tiers."""
    return b"\xff\xff" + _FILE.pack(file_id) + tiers
