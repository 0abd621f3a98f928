"""A chunk of a store of dftracer-utils 0.0.12, made of one or more of ours.

It keeps the number of every event by category and name. A number counts the objects with ``ph``
that came before in the chunk; blank lines, brackets and lines that do not parse have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.tiers.chunk_stats import (
    ChunkStats,
    decode_chunk_details,
    decode_chunk_stats,
    merge_chunk_stats,
)
from dftindexd.index.tiers.distributions import Distributions, add_counts, merge_distributions
from dftindexd.index.tiers.event_order import ChunkOrder, decode_event_order
from dftindexd.index.tiers.record_codes import code_type

__all__ = ("HASHES", "ChunkParts", "KindEvents", "PublishedChunk", "chunk_parts", "merged_chunk")

#: The dimensions that are hashes.
HASHES: Final = ("hhash", "fhash", "shash")

_NUMBER: Final = np.dtype("<u4")

_Array: TypeAlias = npt.NDArray[Any]
#: The category and name of rows, or the name of metadata.
_Kind: TypeAlias = tuple[str, str] | str


class ChunkParts(NamedTuple):
    """What our store has of one of its chunks."""

    stats: ChunkStats
    spread: Distributions
    order: ChunkOrder


class KindEvents(msgspec.Struct, frozen=True):
    """The events of a category and name: how many, and their numbers (u32, little endian)."""

    cat: str
    name: str
    count: int
    numbers: bytes


class PublishedChunk(msgspec.Struct, frozen=True):
    """``kinds`` in the order of their first events; the numbers of metadata records by name; by
    name the least and greatest duration; how many events have each hash, by dimension."""

    stats: ChunkStats
    spread: Distributions
    kinds: list[KindEvents]
    metadata: dict[str, bytes]
    durations: dict[str, tuple[int, int]]
    hashes: dict[str, dict[str, int]]
    newlines: int


def chunk_parts(chunk_stats: Iterable[bytes], event_order: Iterable[bytes]) -> list[ChunkParts]:
    """Return what is in the rows of a trace, one of each kind a segment.

    :raises StoreDamagedError: a row does not decode, or they are not of the same chunks.
    """
    found: list[ChunkParts] = []
    try:
        for value, order in zip(chunk_stats, event_order, strict=True):
            stats, details = decode_chunk_stats(value), decode_chunk_details(value)
            rows = zip(stats, details, decode_event_order(order), strict=True)
            found += (ChunkParts(one, more.distributions, last) for one, more, last in rows)
    except ValueError as error:
        raise StoreDamagedError(
            "statistics and order of events are not of the same chunks",
            "verify and rebuild the directory",
        ) from error
    return found


def merged_chunk(parts: Sequence[ChunkParts]) -> PublishedChunk:
    """Return the chunk that holds the records of *parts*, one after the other."""
    kinds, metadata = _numbered([part.order for part in parts])
    return PublishedChunk(
        stats=merge_chunk_stats([part.stats for part in parts]),
        spread=merge_distributions(part.spread for part in parts),
        kinds=kinds,
        metadata=metadata,
        durations=_merged_bounds(part.order.durations for part in parts),
        hashes={name: _merged_counts(part.order.hashes[name] for part in parts) for name in HASHES},
        newlines=sum(part.order.newlines for part in parts),
    )


def _numbered(orders: Sequence[ChunkOrder]) -> tuple[list[KindEvents], dict[str, bytes]]:
    """Return the events of each kind, and the numbers of metadata records by name."""
    codes: dict[_Kind, int] = {}
    known = [[codes.setdefault(kind, len(codes)) for kind in _kinds_of(order)] for order in orders]
    least = code_type(len(codes))  # small numbers are sorted by radix
    found = [
        np.array(places, least)[order.codes] for places, order in zip(known, orders, strict=True)
    ]
    every: _Array = np.concatenate(found) if found else np.zeros(0, least)
    numbers = np.argsort(every, kind="stable").astype(_NUMBER)
    ends = np.cumsum(np.bincount(every, minlength=len(codes)))
    parts = dict(zip(codes, np.split(numbers, ends[:-1]), strict=True)) if codes else {}
    in_order = sorted((one for one in parts.items() if len(one[1])), key=lambda one: int(one[1][0]))
    kinds: list[KindEvents] = []
    metadata: dict[str, bytes] = {}
    for kind, part in in_order:
        if isinstance(kind, str):
            metadata[kind] = part.tobytes()
        else:
            kinds.append(KindEvents(*kind, len(part), part.tobytes()))
    return kinds, metadata


def _kinds_of(order: ChunkOrder) -> Iterator[_Kind]:
    yield from order.kinds
    yield from order.metadata


def _merged_bounds(parts: Iterable[dict[str, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    merged: dict[str, tuple[int, int]] = {}
    for part in parts:
        for name, (least, greatest) in part.items():
            low, high = merged.get(name, (least, greatest))
            merged[name] = (min(low, least), max(high, greatest))
    return merged


def _merged_counts(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    merged: dict[str, int] = {}
    for part in parts:
        add_counts(merged, part)
    return merged
