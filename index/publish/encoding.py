"""The primitive encodings of a dftracer-utils 0.0.12 store.

Numbers are big endian; a text or blob is preceded by its length, a u32 in most families and a u16
in those of the aggregation (:func:`short_text`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = (
    "FNV_BASIS",
    "FNV_PRIME",
    "blob",
    "f64",
    "fnv1a",
    "i64",
    "json_map",
    "name_id",
    "short_text",
    "text",
    "u32",
    "u64",
    "varint",
)

FNV_BASIS: Final = 0xCBF29CE484222325
FNV_PRIME: Final = 0x100000001B3

_MASK: Final = 2**64 - 1
#: From so many bytes on it is quicker to hash all at once.
_MANY: Final = 1024
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_I64: Final = struct.Struct(">q")
_F64: Final = struct.Struct(">d")
_U16: Final = struct.Struct(">H")

u32: Final = _U32.pack
u64: Final = _U64.pack
i64: Final = _I64.pack
f64: Final = _F64.pack


def blob(data: bytes) -> bytes:
    """Return *data* with its length before it."""
    return _U32.pack(len(data)) + data


def text(value: str) -> bytes:
    """Return a text as UTF-8 with its length before it."""
    return blob(value.encode())


def short_text(value: str) -> bytes:
    """Return a text of less than 64 KiB as the aggregation's families have it."""
    data = value.encode()
    return _U16.pack(len(data)) + data


def varint(number: int) -> bytes:
    """Return an unsigned LEB128 number."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def fnv1a(data: bytes, state: int = FNV_BASIS) -> int:
    """Return the 64-bit FNV-1a hash of *data*, going on from *state*."""
    if len(data) >= _MANY:
        return _fnv1a_of_many(np.frombuffer(data, np.uint8), state)
    for byte in data:
        state = (state ^ byte) * FNV_PRIME & _MASK
    return state


def _fnv1a_of_many(data: npt.NDArray[np.uint8], state: int) -> int:
    """Return the same, all bytes at once.

    A byte changes the lowest one of the state and nothing else before the multiplication, by a
    number that this lowest byte tells. So the hash is a sum of powers of the prime.
    """
    lowest = _lowest_bytes(data, state & 0xFF)
    changes = (lowest ^ data).astype(np.uint64) - lowest.astype(np.uint64)
    powers = np.multiply.accumulate(np.full(len(data), FNV_PRIME, np.uint64))
    return (state * int(powers[-1]) + int((changes * powers[::-1]).sum())) & _MASK


def _lowest_bytes(data: npt.NDArray[np.uint8], first: int) -> npt.NDArray[np.uint8]:
    """Return the lowest byte of the state before each byte, bit by bit: an odd factor keeps a bit
    but for what comes from those below it."""
    lowest = np.zeros(len(data), np.uint8)
    factor = np.uint8(FNV_PRIME & 0xFF)
    for bit in range(8):
        below = (lowest ^ data) & np.uint8((1 << bit) - 1)
        flips = np.bitwise_xor.accumulate((data ^ below * factor) >> np.uint8(bit) & np.uint8(1))
        found = np.append(np.uint8(0), flips[:-1]) ^ np.uint8(first >> bit & 1)
        lowest |= found << np.uint8(bit)
    return lowest


@lru_cache(maxsize=65_536)
def name_id(name: str) -> int:
    """Return the number under which a name is found."""
    return fnv1a(name.encode())


def json_map(items: Iterable[tuple[str, str]]) -> str:
    """Return a JSON object of *items*, whose values are JSON; names are written as they are, which
    is how they are read."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in items) + "}"
