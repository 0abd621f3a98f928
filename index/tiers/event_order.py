"""Tier 2: the kind of every record of each chunk of a segment, in the order of the text.

One row a segment in ``manifest``, key ``segment_key(segment, ORDER_SUFFIX)``, value MessagePack: a
map from numbers to the texts that occur, and for each chunk its :class:`_StoredChunk`, with these
numbers. Each of these is an array of size and bytes: deflated, or of size 0 where it is short.

With it what other indexes keep of each single event is made without reading the text again: the
numbers of the events of a kind are the positions of its code among all codes of the trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import MANIFEST, segment_key
from dftindexd.index.tiers.chunk_contents import ChunkContents
from dftindexd.index.tiers.groups import compact_codes
from dftindexd.index.tiers.record_codes import RecordSequence, code_type
from dftindexd.index.trace.numbers import INT64_MAX

if TYPE_CHECKING:
    from dftindexd.index.trace.decode import DecodedBlock
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = ("ORDER_SUFFIX", "ChunkOrder", "EventOrderBuilder", "decode_event_order")

#: What follows the segment's id in the key of the row.
ORDER_SUFFIX: Final = b"order"

_FEW: Final = 150

#: What is shorter is stored as it is.
_DEFLATED_FROM: Final = 512
_LEVEL: Final = 1  # 2 and 3 gain nothing here

#: So many bytes are counted as a text with all that belongs to it.
_BYTES_A_TEXT: Final = 1024

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


class _StoredChunk(msgspec.Struct, frozen=True, array_like=True):
    cats: list[int]  # of the kinds of rows
    names: list[int]  # of these, then of metadata
    codes: bytes  # of as many bytes each as all names need
    least: list[int]  # of the name of each kind of rows
    greatest: list[int]
    hhash: dict[int, int]
    fhash: dict[int, int]
    shash: dict[int, int]  # 0: of metadata alone
    newlines: int


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    size: int
    data: bytes


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    texts: _Packed
    chunks: list[_Packed]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Stored)
_texts_decoder: Final = msgspec.msgpack.Decoder(dict[int, str])
_chunk_decoder: Final = msgspec.msgpack.Decoder(_StoredChunk)


class EventOrderBuilder:
    """Gathers the order of a segment's events, chunk by chunk."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._chunks: list[_Packed] = []
        self._bytes = 0
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self._records = RecordSequence()
        self._durations: dict[int, tuple[int, int]] = {}  # of those that were not grouped
        self._grouped: ChunkGroups | None = None

    @property
    def held(self) -> int:
        """How many texts would take as much memory."""
        return self._bytes // _BYTES_A_TEXT

    def add(self, block: DecodedBlock) -> None:
        """Take a block of the current chunk."""
        self._records.add(block)
        names, durations = block.columns.name, block.columns.dur
        if len(names) > _FEW:
            self._bound_many(names, durations)
        elif len(names):
            listed = durations.tolist()
            self._bound(names.tolist(), listed, listed)

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk, whose end is next."""
        self._records.add_groups(groups)
        self._grouped = groups

    def _bound_many(self, names: _Array, durations: _Array) -> None:
        places, used = compact_codes(names)
        least, greatest = np.full(len(used), INT64_MAX), np.zeros(len(used), np.int64)
        np.minimum.at(least, places, durations)
        np.maximum.at(greatest, places, durations)
        self._bound(used.tolist(), least.tolist(), greatest.tolist())

    def _bound(self, names: list[int], least: list[int], greatest: list[int]) -> None:
        known = self._durations
        for name, low, high in zip(names, least, greatest, strict=True):
            before = known.get(name)
            known[name] = (min(low, before[0]), max(high, before[1])) if before else (low, high)

    def _bounds(self, names: list[int]) -> tuple[list[int], list[int]]:
        """Return the least and the greatest duration of each of *names*, those of the kinds."""
        if self._grouped is not None:
            least, greatest = self._grouped.kind_bounds.T.tolist()
            if not self._durations:
                return least, greatest
            grouped = self._grouped.kind_names[: len(least)].tolist()
            self._bound(grouped, least, greatest)
        bounds = [self._durations[name] for name in names]
        return [low for low, _ in bounds], [high for _, high in bounds]

    def end_chunk(self, contents: ChunkContents, newlines: int) -> None:
        """End the current chunk, which had these *contents* and so many *newlines*."""
        cats, names, codes = self._records.codes()
        least, greatest = self._bounds(names[: len(cats)])
        hashes = (contents.hhash, contents.fhash, contents.shash)
        chunk = _StoredChunk(cats, names, codes, least, greatest, *hashes, newlines)
        self._used.update(cats, names, *hashes)
        packed = _pack(_encoder.encode(chunk))
        self._bytes += len(packed.data)
        self._chunks.append(packed)
        self._begin_chunk()

    def rows(self, segment_id: int, texts: list[str]) -> list[Row]:
        """Return the one row of a segment."""
        used = {code: texts[code] for code in self._used}
        stored = _Stored(_pack(_encoder.encode(used)), self._chunks)
        return [(MANIFEST, segment_key(segment_id, ORDER_SUFFIX), _encoder.encode(stored))]


def _pack(data: bytes) -> _Packed:
    if len(data) < _DEFLATED_FROM:
        return _Packed(0, data)
    return _Packed(len(data), isal_zlib.compress(data, _LEVEL))


def _unpack(packed: _Packed) -> bytes:
    if not packed.size:
        return packed.data
    data: bytes = isal_zlib.decompress(packed.data, bufsize=packed.size)
    if len(data) != packed.size:
        raise ValueError(f"{len(data)} bytes instead of {packed.size}")
    return data


def decode_event_order(value: bytes) -> list[ChunkOrder]:
    """Return a segment's chunks in order; a *value* that is not theirs is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        texts = _texts_decoder.decode(_unpack(stored.texts))
        return [_chunk(_chunk_decoder.decode(_unpack(one)), texts) for one in stored.chunks]
    except (ValueError, KeyError, _InflateError) as error:
        raise StoreDamagedError(f"order of events does not decode: {error}") from error


def _chunk(chunk: _StoredChunk, texts: dict[int, str]) -> ChunkOrder:
    rows = len(chunk.cats)
    names = [texts[name] for name in chunk.names]
    bounds = zip(chunk.least, chunk.greatest, strict=True)
    counts = {"hhash": chunk.hhash, "fhash": chunk.fhash, "shash": chunk.shash}
    return ChunkOrder(
        kinds=tuple(zip((texts[cat] for cat in chunk.cats), names, strict=False)),
        metadata=tuple(names[rows:]),
        codes=_codes(chunk.codes, len(names)),
        durations=dict(zip(names[:rows], bounds, strict=True)),
        hashes={
            dimension: {texts[code]: count for code, count in found.items() if count}
            for dimension, found in counts.items()
        },
        newlines=chunk.newlines,
    )


def _codes(data: bytes, kinds: int) -> npt.NDArray[np.uint32]:
    codes = np.frombuffer(data, code_type(kinds)).astype(np.uint32)
    if len(codes) and int(codes.max()) >= kinds:
        raise ValueError("a code of no kind")
    return codes
