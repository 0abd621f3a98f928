"""Tier 2: what kinds of records each chunk of a segment has.

One row a segment in ``manifest``, key ``segment_key(segment)``, value MessagePack: an array of the
texts that occur, and for each chunk its :class:`ChunkManifest` with positions in that array. Kinds
and pids are those of records that are rows; metadata records are only counted.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import MANIFEST, segment_key
from dftindexd.index.trace.columns import Interner, RecordColumns
from dftindexd.index.trace.kernel import ChunkGroups
from dftindexd.index.trace.numbers import INT64_MAX

__all__ = ("ChunkManifest", "Kind", "ManifestBuilder", "decode_manifest")


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """A category (as written) and name, how often, and the number of the first line with them."""

    cat: str
    name: str
    count: int
    first_line: int


class ChunkManifest(msgspec.Struct, frozen=True, array_like=True):
    """What one chunk has; ``kinds`` in the order of their first lines, ``pids`` ascending."""

    kinds: tuple[Kind, ...]
    pids: tuple[int, ...]
    metadata: int


class _StoredChunk(msgspec.Struct, frozen=True, array_like=True):
    cats: list[int]
    names: list[int]
    counts: list[int]
    first_lines: list[int]
    pids: list[int]
    metadata: int


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    texts: list[str]
    chunks: list[_StoredChunk]


_Ints = npt.NDArray[np.int64]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


class ManifestBuilder:
    """Gathers a segment's manifest, chunk by chunk."""

    def __init__(self) -> None:
        self._chunks: list[_StoredChunk] = []
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self._kinds: dict[int, tuple[int, int]] = {}
        self._pids: set[int] = set()
        self._metadata = 0

    def add(self, columns: RecordColumns, metadata: int) -> None:
        """Take a block of the current chunk, which also had so many *metadata* records."""
        self._metadata += metadata
        if not len(columns):
            return
        self._pids.update(np.unique(columns.pid).tolist())
        kinds, first, counts = np.unique(
            columns.cat.astype(np.int64) << 32 | columns.name, return_index=True, return_counts=True
        )
        self._add(kinds, counts, columns.line[first])

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk."""
        rows = np.flatnonzero(groups.is_row)
        if not len(rows):
            return
        self._pids.update(np.unique(groups.pid[rows]).tolist())
        kinds, ids = np.unique(
            groups.cat[rows].astype(np.int64) << 32 | groups.name[rows], return_inverse=True
        )
        counts = np.zeros(len(kinds), np.int64)
        np.add.at(counts, ids, groups.counts[rows])
        lines = np.full(len(kinds), INT64_MAX)
        np.minimum.at(lines, ids, groups.first_line[rows])
        self._add(kinds, counts, lines)

    def _add(self, kinds: _Ints, counts: _Ints, lines: _Ints) -> None:
        for kind, count, line in zip(kinds.tolist(), counts.tolist(), lines.tolist(), strict=True):
            before, first_line = self._kinds.get(kind, (0, line))
            self._kinds[kind] = (before + count, min(first_line, line))

    def end_chunk(self) -> None:
        """End the current chunk."""
        kinds = sorted(self._kinds.items(), key=lambda kind: (kind[1][1], kind[0]))
        self._chunks.append(
            _StoredChunk(
                cats=[kind >> 32 for kind, _ in kinds],
                names=[kind & 0xFFFFFFFF for kind, _ in kinds],
                counts=[count for _, (count, _) in kinds],
                first_lines=[line for _, (_, line) in kinds],
                pids=sorted(self._pids),
                metadata=self._metadata,
            )
        )
        self._begin_chunk()

    def rows(self, segment_id: int, texts: Interner) -> list[Row]:
        """Return the one row of a segment."""
        positions: dict[int, int] = {}

        def place(codes: list[int]) -> list[int]:
            return [positions.setdefault(code, len(positions)) for code in codes]

        chunks = [
            msgspec.structs.replace(chunk, cats=place(chunk.cats), names=place(chunk.names))
            for chunk in self._chunks
        ]
        stored = _Stored([texts.texts[code] for code in positions], chunks)
        return [(MANIFEST, segment_key(segment_id), _encoder.encode(stored))]


def decode_manifest(value: bytes) -> list[ChunkManifest]:
    """Return a segment's chunks in order; a *value* that is no manifest is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        return [
            ChunkManifest(
                kinds=tuple(
                    Kind(stored.texts[cat], stored.texts[name], count, line)
                    for cat, name, count, line in zip(
                        chunk.cats, chunk.names, chunk.counts, chunk.first_lines, strict=True
                    )
                ),
                pids=tuple(chunk.pids),
                metadata=chunk.metadata,
            )
            for chunk in stored.chunks
        ]
    except (ValueError, IndexError) as error:
        raise StoreDamagedError(f"manifest does not decode: {error}") from error
