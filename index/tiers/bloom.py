"""Tier 2: which values may occur in a chunk, as split-block Bloom filters.

The filter is that of Parquet: blocks of 256 bits, eight words with a bit each, the same salts. A
value's 64-bit hash is BLAKE2b-8 (little endian) of a text's UTF-8, and the finalizer of splitmix64
for a number. A filter has 11 bits a distinct value, for at most 1 % of false positives.

Per segment and dimension one row in ``chunk_bloom`` with the filters of all its chunks, and one in
``file_bloom`` with the filter of all of them together; key ``segment_key(segment, dimension)``,
value MessagePack. ``cat`` is as written. Hashes are text, in decimal where the trace has numbers.
Metadata records count, and objects without ``ph``.

The filters hold what the tiers see. :func:`probe` says for which values nothing may be concluded
because a line could hold them in another form (a negative pid is indexed as 0).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import CHUNK_BLOOM, FILE_BLOOM, segment_key
from dftindexd.index.tiers.groups import distinct_codes
from dftindexd.index.trace.columns import Interner, RecordColumns
from dftindexd.index.trace.kernel import ChunkGroups
from dftindexd.index.trace.record_buffer import Others

__all__ = (
    "DIMENSIONS",
    "NUMERIC_DIMENSIONS",
    "BloomBuilder",
    "Filters",
    "bloom_key",
    "decode_filters",
    "probe",
)

NUMERIC_DIMENSIONS: Final = ("pid", "tid")
DIMENSIONS: Final = ("name", "cat", *NUMERIC_DIMENSIONS, "hhash", "fhash", "shash")

_BITS_PER_VALUE: Final = 11
_BLOCK_BITS: Final = 256
_WORDS: Final = 8
_SALTS: Final = np.array(
    [
        0x47B6137B,
        0x44974D91,
        0x8824AD5B,
        0xA2B7289D,
        0x705495C7,
        0x2DF1424B,
        0x9EFC4947,
        0x5C6BFB31,
    ],
    np.uint32,
)

_Words: TypeAlias = npt.NDArray[np.uint32]
_Hashes: TypeAlias = npt.NDArray[np.uint64]
# Codes of an interner, or pids.
_Values: TypeAlias = npt.NDArray[np.integer[Any]]


class _StoredFilters(msgspec.Struct, frozen=True):
    blocks: list[int]
    words: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_StoredFilters)


class Filters:
    """Some filters of one dimension: one a chunk, or a single one of a whole segment."""

    def __init__(self, filters: list[_Words]) -> None:
        self._filters = filters

    def __len__(self) -> int:
        return len(self._filters)

    def may_match(self, dimension: str, value: object) -> npt.NDArray[np.bool_]:
        """Tell for each filter whether records with *value* may be behind it.

        False is certain. A value that :func:`probe` cannot place may be anywhere.
        """
        hashed = probe(dimension, value)
        if hashed is None:
            return np.ones(len(self._filters), np.bool_)
        return np.array([_has(words, hashed) for words in self._filters], np.bool_)


def bloom_key(segment_id: int, dimension: str) -> bytes:
    """Return the key of a dimension's row, the same in both families."""
    return segment_key(segment_id, dimension.encode())


def decode_filters(value: bytes) -> Filters:
    """Return the filters of a stored *value*; one that is no such is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        words = np.frombuffer(stored.words, "<u4").reshape(-1, _WORDS)
    except ValueError as error:
        raise StoreDamagedError(f"bloom filters do not decode: {error}") from error
    if min(stored.blocks, default=1) < 1 or sum(stored.blocks) != len(words):
        raise StoreDamagedError("bloom filters do not decode: sizes do not add up")
    ends = np.cumsum(stored.blocks)
    return Filters([words[end - size : end] for end, size in zip(ends, stored.blocks, strict=True)])


def probe(dimension: str, value: object) -> int | None:
    """Return the hash under which *value* would be in a filter of *dimension*.

    ``None``: the filter cannot tell. Numbers stand for their decimal text where a hash is asked
    for; where a pid is, only numbers that a pid can be are looked up.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool):
        return None
    if dimension in NUMERIC_DIMENSIONS:
        # 0 and the greatest stand for all that was clamped to them.
        return int(_mix(np.array([value], np.uint64))[0]) if _is_id(value) else None
    if dimension in ("name", "cat"):
        return _hash_text(value) if isinstance(value, str) and value else None
    if isinstance(value, str | int) and value != "":
        return _hash_text(str(value))
    return None


def _is_id(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 2**64


def _hash_text(text: str) -> int:
    data = text.encode(errors="replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _mix(numbers: _Values) -> _Hashes:
    """Return the splitmix64 hash of each number; the arithmetic is modulo 2**64."""
    mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _places(hashes: _Hashes, blocks: int) -> tuple[npt.NDArray[np.intp], _Words]:
    """Return each hash's block, and its bits in the block's eight words."""
    chosen = ((hashes >> np.uint64(32)) * np.uint64(blocks)) >> np.uint64(32)
    low = hashes.astype(np.uint32)
    bits = np.uint32(1) << ((low[:, None] * _SALTS[None, :]) >> np.uint32(27))
    return chosen.astype(np.intp), bits


def _build(hashes: _Hashes) -> _Words:
    blocks = max(1, -(-len(hashes) * _BITS_PER_VALUE // _BLOCK_BITS))
    words = np.zeros((blocks, _WORDS), np.uint32)
    chosen, bits = _places(hashes, blocks)
    np.bitwise_or.at(words, chosen, bits)
    return words


def _has(words: _Words, hashed: int) -> bool:
    chosen, bits = _places(np.array([hashed], np.uint64), len(words))
    return bool(np.all(words[chosen[0]] & bits[0] == bits[0]))


class BloomBuilder:
    """Gathers the distinct values of a segment, chunk by chunk."""

    def __init__(self) -> None:
        self._open: dict[str, list[_Values]] = {d: [] for d in DIMENSIONS}
        self._chunks: dict[str, list[_Values]] = {d: [] for d in DIMENSIONS}

    def add(self, columns: RecordColumns, others: Others) -> None:
        """Take a block of the current chunk."""
        for dimension, seen in self._open.items():
            if len(columns):
                seen.append(_distinct(dimension, getattr(columns, dimension)))
            if len(others):
                seen.append(_distinct(dimension, others[dimension]))

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk."""
        for dimension, seen in self._open.items():
            seen.append(_distinct(dimension, getattr(groups, dimension)))

    def end_chunk(self) -> None:
        """End the current chunk."""
        for dimension, seen in self._open.items():
            self._chunks[dimension].append(_union(seen))
            seen.clear()

    def rows(self, segment_id: int, texts: Interner) -> list[Row]:
        """Return a segment's rows: for each dimension its chunks' filters, and the segment's."""
        hashes = _TextHashes(texts)
        rows = []
        for dimension, chunks in self._chunks.items():
            hashed = _mix if dimension in NUMERIC_DIMENSIONS else hashes.of
            filters = [_build(hashed(values)) for values in chunks]
            whole = filters if len(filters) == 1 else [_build(hashed(_union(chunks)))]
            key = bloom_key(segment_id, dimension)
            rows += [(CHUNK_BLOOM, key, _encode(filters)), (FILE_BLOOM, key, _encode(whole))]
        return rows


class _TextHashes:
    """The hashes of an interner's texts, each computed once and only when asked for."""

    def __init__(self, texts: Interner) -> None:
        self._texts = texts.texts
        self._hashes = np.zeros(len(texts), np.uint64)
        self._known = np.zeros(len(texts), np.bool_)

    def of(self, codes: _Values) -> _Hashes:
        """Return the hashes of the texts with these *codes*."""
        for code in codes[~self._known[codes]].tolist():
            self._hashes[code] = _hash_text(self._texts[code])
        self._known[codes] = True
        return self._hashes[codes]


def _distinct(dimension: str, values: _Values) -> _Values:
    return np.unique(values) if dimension in NUMERIC_DIMENSIONS else distinct_codes(values)


def _union(arrays: Iterable[_Values]) -> _Values:
    parts = list(arrays)
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.int32)


def _encode(filters: list[_Words]) -> bytes:
    words = b"".join(words.astype("<u4").tobytes() for words in filters)
    return _encoder.encode(_StoredFilters([len(words) for words in filters], words))
