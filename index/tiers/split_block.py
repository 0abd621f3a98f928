"""Split-block Bloom filters, as those of Parquet: which hashes may be in a set.

A filter is some blocks of 256 bits, eight words (u32 little endian) with a bit a value each. A
value's block is ``(hash >> 32) * blocks >> 32``, its bit in a word ``(low 32 bits * salt) >> 27``,
with Parquet's salts. A filter of no values has no blocks.

A text's hash is the BLAKE2b-8 (little endian) of its UTF-8, a number's the finalizer of splitmix64;
a number of an argument, which may be a fraction, is hashed as the bits of its double.

Few values are placed in plain Python, which is quicker there, many by numpy: with equal results.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = (
    "BLOCK_BYTES",
    "Hashes",
    "bits_of_rate",
    "build_filter",
    "filter_has",
    "hash_number",
    "hash_numbers",
    "hash_real",
    "hash_text",
)

BLOCK_BYTES: Final = 32

Hashes: TypeAlias = npt.NDArray[np.uint64]

_BLOCK_BITS: Final = 8 * BLOCK_BYTES
_WORDS: Final = 8
_SALTS: Final = (
    0x47B6137B,
    0x44974D91,
    0x8824AD5B,
    0xA2B7289D,
    0x705495C7,
    0x2DF1424B,
    0x9EFC4947,
    0x5C6BFB31,
)
_SALT_WORDS: Final = np.array(_SALTS, np.uint32)
_FEW: Final = 200
#: Names and processes recur from trace to trace.
_REMEMBERED: Final = 1 << 14
#: And so do whole filters.
_FILTERS_REMEMBERED: Final = 1 << 9
_LOW: Final = 0xFFFFFFFF
_UINT64: Final = 2**64 - 1
_DOUBLE: Final = struct.Struct("<d")
_BITS: Final = struct.Struct("<Q")


@lru_cache(maxsize=16)
def bits_of_rate(rate: float) -> float:
    """Return how many bits a value a filter needs, to claim at most *rate* of other values.

    How many values share a block follows a Poisson distribution.
    """
    low, high = 1.0, 256.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if _rate_of_bits(middle) <= rate else (middle, high)
    return high


def _rate_of_bits(bits: float) -> float:
    load = _BLOCK_BITS / bits
    chance, rate = math.exp(-load), 0.0
    for values in range(1, int(load + 12 * math.sqrt(load)) + 20):
        chance *= load / values
        rate += chance * (1.0 - (1.0 - 1.0 / 32) ** values) ** _WORDS
    return rate


@lru_cache(maxsize=_REMEMBERED)
def hash_text(text: str) -> int:
    """Return the hash of a text."""
    data = text.encode(errors="replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@lru_cache(maxsize=_REMEMBERED)
def hash_number(number: int) -> int:
    """Return the hash of a number of 64 bits without sign."""
    mixed = (number + 0x9E3779B97F4A7C15) & _UINT64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _UINT64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _UINT64
    return mixed ^ (mixed >> 31)


def hash_real(number: float) -> int:
    """Return the hash of a finite number; both zeros have one hash."""
    return hash_number(_BITS.unpack(_DOUBLE.pack(number + 0.0))[0])


def hash_numbers(numbers: npt.NDArray[np.uint64]) -> Hashes:
    """Return what :func:`hash_number` returns for each number; sums and products wrap around."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def build_filter(hashes: Sequence[int] | Hashes, bits: float) -> bytes:
    """Return the filter of distinct *hashes* with so many *bits* a value."""
    count = len(hashes)
    if not count:
        return b""
    blocks = math.ceil(count * bits / _BLOCK_BITS)
    if count > _FEW:
        return _build_of_many(np.array(hashes, np.uint64), blocks)
    return _build_of_few(tuple(map(int, hashes)), blocks)


@lru_cache(maxsize=_FILTERS_REMEMBERED)
def _build_of_few(hashes: tuple[int, ...], blocks: int) -> bytes:
    words = [0] * blocks
    for hashed in hashes:
        words[(hashed >> 32) * blocks >> 32] |= _mask(hashed & _LOW)
    return b"".join([word.to_bytes(BLOCK_BYTES, "little") for word in words])


def _build_of_many(hashes: Hashes, blocks: int) -> bytes:
    words = np.zeros((blocks, _WORDS), np.uint32)
    chosen = ((hashes >> np.uint64(32)) * np.uint64(blocks)) >> np.uint64(32)
    low = hashes.astype(np.uint32)
    places = (low[:, None] * _SALT_WORDS[None, :]) >> np.uint32(27)
    np.bitwise_or.at(words, chosen.astype(np.intp), np.uint32(1) << places)
    return words.astype("<u4").tobytes()


@lru_cache(maxsize=_REMEMBERED)
def _mask(low: int) -> int:
    """Return the bits of a value in its block, all words as one number."""
    mask = 0
    for word, salt in enumerate(_SALTS):
        mask |= 1 << (32 * word + ((low * salt & _LOW) >> 27))
    return mask


def filter_has(words: bytes | memoryview, hashed: int) -> bool:
    """Tell whether the value of a hash may be in a filter; false is certain."""
    begin = ((hashed >> 32) * (len(words) // BLOCK_BYTES) >> 32) * BLOCK_BYTES
    block = int.from_bytes(words[begin : begin + BLOCK_BYTES], "little")
    mask = _mask(hashed & _LOW)
    return block & mask == mask
