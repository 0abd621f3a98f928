"""Tier 2: what kinds of records each chunk of a segment has.

One row a segment in ``manifest``, key ``segment_key(segment)``, value MessagePack: an array of the
texts that occur, and for each chunk its :class:`ChunkManifest` with positions in that array. Kinds
and pids are those of records that are rows; ``other_kinds`` those of metadata records and of
objects without ``ph``.
"""

from __future__ import annotations

from typing import Final

import msgspec

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import MANIFEST, segment_key
from dftindexd.index.tiers.chunk_contents import ChunkContents, Kinds, new_positions

__all__ = ("ChunkManifest", "Kind", "ManifestBuilder", "decode_manifest")

_LOW: Final = 0xFFFFFFFF


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """A category (as written) and name, how often, and the number of the first line with them."""

    cat: str
    name: str
    count: int
    first_line: int


class ChunkManifest(msgspec.Struct, frozen=True, array_like=True):
    """What one chunk has; kinds in the order of their first lines, ``pids`` ascending."""

    kinds: tuple[Kind, ...]
    pids: tuple[int, ...]
    metadata: int
    other_kinds: tuple[Kind, ...] = ()


class _StoredKinds(msgspec.Struct, frozen=True, array_like=True):
    cats: list[int]
    names: list[int]
    counts: list[int]
    first_lines: list[int]


class _StoredChunk(msgspec.Struct, frozen=True, array_like=True):
    kinds: _StoredKinds
    pids: list[int]
    metadata: int
    other_kinds: _StoredKinds


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    texts: list[str]
    chunks: list[_StoredChunk]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


class ManifestBuilder:
    """Gathers a segment's manifest, chunk by chunk."""

    def __init__(self) -> None:
        self._positions = new_positions()
        self._chunks: list[_StoredChunk] = []
        self._metadata = 0

    def add(self, metadata: int) -> None:
        """Count so many metadata records of the current chunk."""
        self._metadata += metadata

    def end_chunk(self, contents: ChunkContents) -> None:
        """End the current chunk, which had these *contents*."""
        self._chunks.append(
            _StoredChunk(
                kinds=self._stored(contents.kinds),
                pids=sorted({pid for pid, _ in contents.threads}),
                metadata=self._metadata,
                other_kinds=self._stored(contents.other_kinds),
            )
        )
        self._metadata = 0

    def _stored(self, kinds: Kinds) -> _StoredKinds:
        found = sorted([(line, kind, count) for kind, (count, line) in kinds.items()])
        positions = self._positions
        return _StoredKinds(
            cats=[positions[kind >> 32] for _, kind, _ in found],
            names=[positions[kind & _LOW] for _, kind, _ in found],
            counts=[count for _, _, count in found],
            first_lines=[line for line, _, _ in found],
        )

    def rows(self, segment_id: int, texts: list[str]) -> list[Row]:
        """Return the one row of a segment."""
        stored = _Stored([texts[code] for code in self._positions], self._chunks)
        return [(MANIFEST, segment_key(segment_id), _encoder.encode(stored))]


def decode_manifest(value: bytes) -> list[ChunkManifest]:
    """Return a segment's chunks in order; a *value* that is no manifest is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        return [
            ChunkManifest(
                kinds=_kinds(chunk.kinds, stored.texts),
                pids=tuple(chunk.pids),
                metadata=chunk.metadata,
                other_kinds=_kinds(chunk.other_kinds, stored.texts),
            )
            for chunk in stored.chunks
        ]
    except (ValueError, IndexError) as error:
        raise StoreDamagedError(f"manifest does not decode: {error}") from error


def _kinds(stored: _StoredKinds, texts: list[str]) -> tuple[Kind, ...]:
    columns = zip(stored.cats, stored.names, stored.counts, stored.first_lines, strict=True)
    return tuple(Kind(texts[cat], texts[name], count, line) for cat, name, count, line in columns)
