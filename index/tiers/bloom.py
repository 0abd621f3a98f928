"""Tier 2: which values may occur in a chunk, and in a segment, as Bloom filters.

One row a segment in ``chunk_bloom``, key ``segment_key(segment)``, with the filters of all
dimensions and all chunks; and, for a segment of several chunks, one in ``file_bloom`` with a filter
a dimension, of all chunks together. The value is MessagePack, see :class:`_Stored`.

``cat`` is in lower case, as it is compared. Hashes are text, in decimal where the trace has
numbers. Metadata and objects without ``ph`` count, but not in the dimensions of arguments, which
are of rows only (``args.<name>``, one for each argument that the configuration names).

The filters hold values as all tiers see them (``docs/traces.md``). :func:`probe` says of which
values nothing may be concluded.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import CHUNK_BLOOM, FILE_BLOOM, segment_key
from dftindexd.index.tiers.aggregation import ascii_lower
from dftindexd.index.tiers.chunk_contents import ArgumentValues, ChunkContents
from dftindexd.index.tiers.split_block import (
    BLOCK_BYTES,
    Hashes,
    bits_of_rate,
    build_filter,
    filter_has,
    hash_number,
    hash_numbers,
    hash_real,
    hash_text,
)
from dftindexd.index.trace.columns import Interner

__all__ = (
    "ARGUMENT_PREFIX",
    "DIMENSIONS",
    "NUMERIC_DIMENSIONS",
    "BloomBuilder",
    "Blooms",
    "decode_blooms",
    "probe",
)

NUMERIC_DIMENSIONS: Final = ("pid", "tid")
DIMENSIONS: Final = ("name", "cat", *NUMERIC_DIMENSIONS, "hhash", "fhash", "shash")

#: What the dimension of an argument begins with.
ARGUMENT_PREFIX: Final = "args."

_FEW: Final = 200


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """Filters by dimension, and in a dimension by chunk: how many blocks each has, and all blocks
    one after the other."""

    dimensions: list[str]
    blocks: list[list[int]]
    words: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


class Blooms:
    """The filters of some chunks, or of one segment, by dimension."""

    def __init__(self, filters: dict[str, list[memoryview]], chunks: int) -> None:
        self._filters = filters
        self._chunks = chunks

    def __len__(self) -> int:
        return self._chunks

    def has_dimension(self, dimension: str) -> bool:
        """Tell whether there are filters of *dimension*."""
        return dimension in self._filters

    def may_have(self, chunk: int, dimension: str, value: object) -> bool:
        """Tell whether objects with *value* may be in a chunk; false is certain."""
        filters = self._filters.get(dimension)
        if filters is None:
            return True
        hashed = probe(dimension, value)
        return hashed is None or _has(filters[chunk], hashed)


def _has(words: memoryview, hashed: int) -> bool:
    return len(words) > 0 and filter_has(words, hashed)


def decode_blooms(value: bytes) -> Blooms:
    """Return the filters of a stored *value*; one that is no such is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        pairs = list(zip(stored.dimensions, stored.blocks, strict=True))
    except ValueError as error:
        raise StoreDamagedError(f"bloom filters do not decode: {error}") from error
    sizes = [size for _, blocks in pairs for size in blocks]
    is_even = len({len(blocks) for _, blocks in pairs}) == 1
    if not is_even or min(sizes, default=0) < 0 or sum(sizes) * BLOCK_BYTES != len(stored.words):
        raise StoreDamagedError("bloom filters do not decode: sizes do not add up")
    words, begin = memoryview(stored.words), 0
    filters: dict[str, list[memoryview]] = {}
    for dimension, blocks in pairs:
        found = filters[dimension] = []
        for size in blocks:
            end = begin + size * BLOCK_BYTES
            found.append(words[begin:end])
            begin = end
    return Blooms(filters, len(pairs[0][1]))


def probe(dimension: str, value: object) -> int | None:
    """Return the hash under which *value* would be in a filter of *dimension*.

    ``None``: the filter cannot tell. Numbers stand for their decimal text where a hash is asked
    for; where a pid is, only numbers that a pid can be are looked up.
    """
    if dimension.startswith(ARGUMENT_PREFIX):
        return _probe_argument(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return None
    if dimension in NUMERIC_DIMENSIONS:
        # 0 and the greatest stand for all that was clamped to them.
        return hash_number(value) if isinstance(value, int) and 0 <= value < 2**64 else None
    if dimension in ("name", "cat"):
        if not isinstance(value, str) or not value:
            return None
        return hash_text(ascii_lower(value) if dimension == "cat" else value)
    if isinstance(value, str | int) and value != "":
        return hash_text(str(value))
    return None


def _probe_argument(value: object) -> int | None:
    if isinstance(value, str):
        return hash_text(value)
    if not isinstance(value, int | float):
        return None
    try:
        real = float(value)
    except OverflowError:
        return None
    return hash_real(real) if np.isfinite(real) else None


class BloomBuilder:
    """Gathers the filters of a segment, chunk by chunk.

    *rate* is the greatest share of values that a filter may claim wrongly, *arguments* are names.
    """

    def __init__(self, rate: float, arguments: Sequence[str], texts: Interner) -> None:
        self._bits = bits_of_rate(rate)
        self._texts = texts.texts
        self._text_hashes = array("Q")
        self._arguments = {ARGUMENT_PREFIX + name: texts.code(name) for name in arguments}
        self._dimensions = (*DIMENSIONS, *self._arguments)
        self._filters: dict[str, list[bytes]] = {name: [] for name in self._dimensions}
        self._hashes: dict[str, list[array[int]]] = {name: [] for name in self._dimensions}

    def end_chunk(self, contents: ChunkContents) -> None:
        """Take the contents of the next chunk."""
        self._text_hashes.extend(map(hash_text, self._texts[len(self._text_hashes) :]))
        for dimension in self._dimensions:
            hashes = self._hashes_of(dimension, contents)
            self._filters[dimension].append(build_filter(hashes, self._bits))
            self._hashes[dimension].append(array("Q", hashes))

    def _hashes_of(self, dimension: str, contents: ChunkContents) -> list[int]:
        if dimension in self._arguments:
            return self._hashes_of_argument(contents.arguments[self._arguments[dimension]])
        if dimension in NUMERIC_DIMENSIONS:
            return _hashes_of_ids(contents.ids(dimension))
        codes = contents.codes(dimension)
        if dimension == "cat":
            return [hash_text(cat) for cat in {ascii_lower(self._texts[code]) for code in codes}]
        hashes = self._text_hashes
        return [hashes[code] for code in codes]

    def _hashes_of_argument(self, values: ArgumentValues) -> list[int]:
        hashes = {self._text_hashes[code] for code in values.texts}
        hashes.update(hash_real(number) for number in values.numbers)
        return list(hashes)

    def rows(self, segment_id: int) -> list[Row]:
        """Return a segment's row, or two where it has several chunks."""
        key = segment_key(segment_id)
        rows = [(CHUNK_BLOOM, key, self._encode(self._filters))]
        if len(self._filters["name"]) > 1:
            whole = {
                dimension: [build_filter(_union(chunks), self._bits)]
                for dimension, chunks in self._hashes.items()
            }
            rows.append((FILE_BLOOM, key, self._encode(whole)))
        return rows

    def _encode(self, filters: dict[str, list[bytes]]) -> bytes:
        blocks = [[len(words) // BLOCK_BYTES for words in found] for found in filters.values()]
        words = b"".join([words for found in filters.values() for words in found])
        return _encoder.encode(_Stored(list(filters), blocks, words))


def _hashes_of_ids(ids: set[int]) -> list[int]:
    if len(ids) <= _FEW:
        return [hash_number(number) for number in ids]
    hashed: list[int] = hash_numbers(np.array(list(ids), np.uint64)).tolist()
    return hashed


def _union(chunks: Iterable[array[Any]]) -> Hashes:
    return np.unique(np.concatenate([np.frombuffer(chunk, np.uint64) for chunk in chunks]))
