"""The Bloom filters of a dftracer-utils 0.0.12 store: split blocks, of one size."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
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
_WORDS: Final = _BLOCK_BITS // 32
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


def bloom_filter(values: Iterable[str], entries: int) -> bytes:
    """Return the filter of some texts, none of them empty, of which *entries* were added."""
    words = [0] * (_BLOCKS * _WORDS)
    for value in values:
        raw = fnv1a(value.encode())
        first, second = _mixed(raw), _mixed(raw + _SEED & _MASK)
        block = (first * _BLOCKS >> 64) * _WORDS
        spread = (second ^ second >> 32) & _LOW
        for place, salt in enumerate(_SALTS):
            words[block + place] |= 1 << ((spread * salt & _LOW) >> 27)
    header = _HEADER.pack(_HASHES, entries & _LOW, _BITS)
    return header + struct.pack(f"<{len(words)}I", *words)


def joined_filters(filters: Sequence[bytes], entries: int) -> bytes:
    """Return the filter of all values of some filters together, of which *entries* were added."""
    if len(filters) == 1:
        return filters[0]
    bits = 0
    for one in filters:
        bits |= int.from_bytes(one[_HEADER.size :], "little")
    header = _HEADER.pack(_HASHES, entries & _LOW, _BITS)
    return header + bits.to_bytes(_BITS // 8, "little")
