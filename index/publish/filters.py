"""The Bloom filters of a dftracer-utils 0.0.12 store: split blocks, of one size."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from dftindexd.index.publish.encoding import fnv1a

__all__ = ("bloom_filter", "joined_filters")

_MASK: Final = 2**64 - 1
_LOW: Final = 2**32 - 1
_SEED: Final = 0x9E3779B97F4A7C15
#: For 1,024 values and one false claim in a hundred, whatever the number of values is.
_BITS: Final = 11_520
_BLOCK_BITS: Final = 256
_BLOCKS: Final = _BITS // _BLOCK_BITS
_HASHES: Final = 8
_HEADER: Final = struct.Struct("<3I")
_SALTS: Final = (
    *(0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D),
    *(0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31),
)


def _mixed(number: int) -> int:
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31


@lru_cache(maxsize=8192)
def _bits_of(value: str) -> tuple[int, int]:
    """Return the block of a text, and the bits it has there: one in each word."""
    raw = fnv1a(value.encode())
    first, second = _mixed(raw), _mixed(raw + _SEED & _MASK)
    spread = (second ^ second >> 32) & _LOW
    bits = 0
    for place, salt in enumerate(_SALTS):
        bits |= 1 << (32 * place + ((spread * salt & _LOW) >> 27))
    return first * _BLOCKS >> 64, bits


def bloom_filter(values: Iterable[str], entries: int) -> bytes:
    """Return the filter of some texts, none of them empty, of which *entries* were added."""
    bits = 0
    for value in values:
        block, in_block = _bits_of(value)
        bits |= in_block << block * _BLOCK_BITS
    return _encoded(bits, entries)


def joined_filters(filters: Sequence[bytes], entries: int) -> bytes:
    """Return the filter of all values of some filters together, of which *entries* were added."""
    if len(filters) == 1:
        return filters[0]
    bits = 0
    for one in filters:
        bits |= int.from_bytes(one[_HEADER.size :], "little")
    return _encoded(bits, entries)


def _encoded(bits: int, entries: int) -> bytes:
    return _HEADER.pack(_HASHES, entries & _LOW, _BITS) + bits.to_bytes(_BITS // 8, "little")
