"""Tier 1: the chunks of a segment, and where reading each of them begins.

One row a segment in ``checkpoints``, key ``segment_key(segment)``, value MessagePack: a map of
columns, one element a chunk. A chunk's text is ``uc_offset .. uc_offset + uc_size``, whole lines.
To read it, begin to inflate at byte ``c_offset`` of the file and drop the first ``skip`` bytes of
text: its first line may begin inside a member. No byte at or after ``c_offset + c_size`` is needed.
In a plain trace the two kinds of offsets are the same and ``skip`` is 0.

Inflating begins at a member's header, or at a seek point inside a large member. A seek point has
``bits``, how many bits of the byte before ``c_offset`` belong to it (0 to 7, the upper ones), and
``window``, the 32 KiB of text before it, packed with zlib. At a header they are 0 and empty.
"""

from __future__ import annotations

import msgspec

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import CHECKPOINTS, segment_key

__all__ = ("Checkpoint", "checkpoint_rows", "decode_checkpoints")


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk; ``first_line`` counts from the beginning of the trace."""

    uc_offset: int
    uc_size: int
    c_offset: int
    c_size: int
    first_line: int
    num_lines: int
    skip: int = 0
    bits: int = 0
    window: bytes = b""


class _Columns(msgspec.Struct, frozen=True):
    uc_offset: list[int]
    uc_size: list[int]
    c_offset: list[int]
    c_size: list[int]
    first_line: list[int]
    num_lines: list[int]
    skip: list[int]
    bits: list[int]
    window: list[bytes]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Columns)


def checkpoint_rows(segment_id: int, chunks: list[Checkpoint]) -> list[Row]:
    """Return the one row of a segment."""
    columns = _Columns(
        *([getattr(chunk, name) for chunk in chunks] for name in _Columns.__struct_fields__)
    )
    return [(CHECKPOINTS, segment_key(segment_id), _encoder.encode(columns))]


def decode_checkpoints(value: bytes) -> list[Checkpoint]:
    """Return a segment's chunks in order; a *value* that is not theirs is a StoreDamagedError."""
    try:
        columns = _decoder.decode(value)
        names = _Columns.__struct_fields__
        rows = zip(*(getattr(columns, name) for name in names), strict=True)
        return [Checkpoint(**dict(zip(names, row, strict=True))) for row in rows]
    except ValueError as error:
        raise StoreDamagedError(f"checkpoints do not decode: {error}") from error
