"""Tier 2: the kind of every record of each chunk of a segment, in the order of the text.

One row a segment in ``manifest``, key ``segment_key(segment, ORDER_SUFFIX)``, value MessagePack: an
array of the texts that occur, and for each chunk an array of the size and the bytes of its
:class:`_StoredChunk`, with positions in that array; deflated, or of size 0 where it is short.

With it what other indexes keep of each single event is made without reading the text again: the
numbers of the events of a kind are the positions of its code among all codes of the trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import MANIFEST, segment_key
from dftindexd.index.tiers.chunk_contents import ChunkContents, new_positions
from dftindexd.index.tiers.groups import compact_codes
from dftindexd.index.tiers.record_codes import CODE_TYPES, RecordSequence
from dftindexd.index.trace.numbers import INT64_MAX

if TYPE_CHECKING:
    from dftindexd.index.trace.decode import DecodedBlock
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = ("ORDER_SUFFIX", "ChunkOrder", "EventOrderBuilder", "decode_event_order")

#: What follows the segment's id in the key of the row.
ORDER_SUFFIX: Final = b"order"

_FEW: Final = 150
_LOW: Final = 0xFFFFFFFF

#: A shorter chunk is stored as it is.
_DEFLATED_FROM: Final = 512
_LEVEL: Final = 1  # 2 and 3 gain nothing here

#: So many bytes are counted as a text with all that belongs to it.
_BYTES_A_TEXT: Final = 1024

_HASHES: Final = ("hhash", "fhash", "shash")

_Array: TypeAlias = npt.NDArray[Any]
_InflateError: Final = cast("type[Exception]", isal_zlib.error)


class ChunkOrder(NamedTuple):
    """The records of one chunk: the rows, and the metadata records.

    ``kinds`` are category (as written) and name of the rows, ``metadata`` the names of metadata
    records, both in the order of their first. ``codes`` has an element a record, in the order of
    the text: below ``len(kinds)`` the kind of a row, else ``metadata[code - len(kinds)]``. Objects
    without ``ph`` and bad lines have none; a line with several records has several.

    ``durations``: by name the least and the greatest ``dur`` of the rows. ``hashes``: how many rows
    have each ``hhash``, ``fhash`` and ``shash``, the empty ones left out. ``newlines``: those of
    the text; a line that was too long to be read counts as having one.
    """

    kinds: tuple[tuple[str, str], ...]
    metadata: tuple[str, ...]
    codes: npt.NDArray[np.uint32]
    durations: dict[str, tuple[int, int]]
    hashes: dict[str, dict[str, int]]
    newlines: int


class _StoredHashes(msgspec.Struct, frozen=True, array_like=True):
    texts: list[int]
    counts: list[int]


class _StoredChunk(msgspec.Struct, frozen=True, array_like=True):
    cats: list[int]
    names: list[int]
    metadata: list[int]
    codes: bytes  # of as many bytes each as the kinds and names of metadata need
    least: list[int]  # of each distinct name, in the order of ``names``
    greatest: list[int]
    hashes: list[_StoredHashes]
    newlines: int


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    size: int
    data: bytes


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    texts: list[str]
    chunks: list[_Packed]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Stored)
_chunk_decoder: Final = msgspec.msgpack.Decoder(_StoredChunk)


class EventOrderBuilder:
    """Gathers the order of a segment's events, chunk by chunk."""

    def __init__(self) -> None:
        self._positions = new_positions()
        self._chunks: list[_Packed] = []
        self._bytes = 0
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self._records = RecordSequence()
        self._durations: dict[int, tuple[int, int]] = {}

    @property
    def held(self) -> int:
        """How many texts would take as much memory."""
        return self._bytes // _BYTES_A_TEXT

    def add(self, block: DecodedBlock) -> None:
        """Take a block of the current chunk."""
        self._records.add(block)
        columns = block.columns
        if len(columns):
            self._bound(columns.name, columns.dur, columns.dur)

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk."""
        self._records.add_groups(groups)
        if groups.records:
            self._bound(groups.duration_name, groups.duration_min, groups.duration_max)

    def _bound(self, names: _Array, least: _Array, greatest: _Array) -> None:
        if len(names) > _FEW:
            places, names = compact_codes(names)
            minima, maxima = np.full(len(names), INT64_MAX), np.zeros(len(names), np.int64)
            np.minimum.at(minima, places, least)
            np.maximum.at(maxima, places, greatest)
            least, greatest = minima, maxima
        durations = self._durations
        for name, low, high in zip(names.tolist(), least.tolist(), greatest.tolist(), strict=True):
            known = durations.get(name)
            if known is None:
                durations[name] = (low, high)
            elif low < known[0] or high > known[1]:
                durations[name] = (min(low, known[0]), max(high, known[1]))

    def end_chunk(self, contents: ChunkContents, newlines: int) -> None:
        """End the current chunk, which had these *contents* and so many *newlines*."""
        positions, durations = self._positions, self._durations
        kinds, metadata, codes = self._records.codes()
        names = [kind & _LOW for kind in kinds]
        bounds = [durations[name] for name in dict.fromkeys(names)]
        chunk = _StoredChunk(
            cats=[positions[kind >> 32] for kind in kinds],
            names=[positions[name] for name in names],
            metadata=[positions[name] for name in metadata],
            codes=codes,
            least=[low for low, _ in bounds],
            greatest=[high for _, high in bounds],
            hashes=[self._counted(getattr(contents, dimension)) for dimension in _HASHES],
            newlines=newlines,
        )
        packed = _pack(_encoder.encode(chunk))
        self._bytes += len(packed.data)
        self._chunks.append(packed)
        self._begin_chunk()

    def _counted(self, counts: dict[int, int]) -> _StoredHashes:
        found = {self._positions[code]: count for code, count in counts.items() if count}
        return _StoredHashes(list(found), list(found.values()))

    def rows(self, segment_id: int, texts: list[str]) -> list[Row]:
        """Return the one row of a segment."""
        stored = _Stored([texts[code] for code in self._positions], self._chunks)
        return [(MANIFEST, segment_key(segment_id, ORDER_SUFFIX), _encoder.encode(stored))]


def _pack(data: bytes) -> _Packed:
    if len(data) < _DEFLATED_FROM:
        return _Packed(0, data)
    return _Packed(len(data), isal_zlib.compress(data, _LEVEL))


def decode_event_order(value: bytes) -> list[ChunkOrder]:
    """Return a segment's chunks in order; a *value* that is not theirs is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        return [_chunk(packed, stored.texts) for packed in stored.chunks]
    except (ValueError, IndexError, _InflateError) as error:
        raise StoreDamagedError(f"order of events does not decode: {error}") from error


def _chunk(packed: _Packed, texts: list[str]) -> ChunkOrder:
    data = packed.data
    if packed.size:
        data = isal_zlib.decompress(data, bufsize=packed.size)
        if len(data) != packed.size:
            raise ValueError(f"{len(data)} bytes instead of {packed.size}")
    chunk = _chunk_decoder.decode(data)
    names = [texts[name] for name in chunk.names]
    bounds = zip(chunk.least, chunk.greatest, strict=True)
    return ChunkOrder(
        kinds=tuple(zip((texts[cat] for cat in chunk.cats), names, strict=True)),
        metadata=tuple(texts[name] for name in chunk.metadata),
        codes=_codes(chunk.codes, len(names) + len(chunk.metadata)),
        durations=dict(zip(dict.fromkeys(names), bounds, strict=True)),
        hashes=dict(zip(_HASHES, (_counts(one, texts) for one in chunk.hashes), strict=True)),
        newlines=chunk.newlines,
    )


def _counts(stored: _StoredHashes, texts: Sequence[str]) -> dict[str, int]:
    places: Iterable[tuple[int, int]] = zip(stored.texts, stored.counts, strict=True)
    return {texts[place]: count for place, count in places}


def _codes(data: bytes, kinds: int) -> npt.NDArray[np.uint32]:
    kind = next(one for one in CODE_TYPES if kinds <= 1 << 8 * one.itemsize)
    codes = np.frombuffer(data, kind).astype(np.uint32)
    if len(codes) and int(codes.max()) >= kinds:
        raise ValueError("a code of no kind")
    return codes
