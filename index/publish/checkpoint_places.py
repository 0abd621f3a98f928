"""Where dftracer-utils 0.0.12 sets checkpoints in a trace.

indexed_gzip puts its points where they are wanted: at the first block after so much text. That text
can lie in members before, which a member's own stream does not have; so zeros stand for it, in
blocks without compression, which cost nothing and which are in no window of 0.0.12 either.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from dftindexd.index.publish.members import CHECKPOINT_BYTES, Member, shares
from dftindexd.index.trace.recovery import Bytes
from dftindexd.index.trace.resume import Place
from dftindexd.index.trace.seek_points import SeekPoints
from dftindexd.index.trace.trace_file import GZIP_MAGIC

__all__ = ("checkpoint_places",)

_PLAIN_HEADER: Final = GZIP_MAGIC + bytes(6) + b"\xff"
_EXTRA, _NAME, _COMMENT, _CHECKSUM = 4, 8, 16, 2
_MOST_OF_HEADER: Final = 1 << 18
_STORED: Final = struct.Struct("<BHH")
_MOST_STORED: Final = 2**16 - 1
#: More than the library's window, which is the least that may be between two points.
_LEAST_SPACING: Final = 1 << 16


def checkpoint_places(file: Bytes, members: Sequence[Member]) -> Iterator[Place]:
    """Give the places of all checkpoints in order."""
    uc_offset = 0
    for share in shares(members):
        last = uc_offset  # the last checkpoint of this worker, or where it began
        for member in share:
            for place in _places_in(file, member, uc_offset, uc_offset - last):
                last = place.uc_offset
                yield place
            uc_offset += member.size


def _places_in(file: Bytes, member: Member, uc_offset: int, since: int) -> Iterator[Place]:
    """Give those in a member with its text at *uc_offset*, *since* bytes after the last one."""
    wanted = max(CHECKPOINT_BYTES - since, 1)
    if member.size <= wanted:
        return
    has_more = member.size - wanted > CHECKPOINT_BYTES
    spacing = CHECKPOINT_BYTES if has_more else _LEAST_SPACING + wanted
    zeros = spacing - wanted
    stream = _AfterZeros(file, member, zeros)
    for place in SeekPoints(stream, Place(0, 0), spacing).places():
        yield place._replace(
            c_offset=stream.in_file(place.c_offset),
            uc_offset=uc_offset + place.uc_offset - zeros,
        )
        if not has_more:
            return


class _AfterZeros:
    """The gzip member of a trace as if it began with *zeros* bytes of zeros."""

    def __init__(self, file: Bytes, member: Member, zeros: int) -> None:
        self._file = file
        self._prefix = _PLAIN_HEADER + _stored(zeros)
        self._moved = _deflated_from(file, member.begin) - len(self._prefix)
        self.size = member.end - self._moved

    def in_file(self, offset: int) -> int:
        """Return where a byte is in the file that is at *offset* here."""
        return offset + self._moved

    def read(self, offset: int, length: int) -> bytes:
        """Return up to *length* bytes from *offset*."""
        head = self._prefix[offset : offset + length]
        rest = min(offset + length, self.size) - max(offset, len(self._prefix))
        if rest <= 0:
            return head
        return head + self._file.read(self.in_file(offset + len(head)), rest)


def _stored(zeros: int) -> bytes:
    """Return blocks of deflate, none of them the last, that inflate to so many zeros."""
    full, rest = divmod(zeros, _MOST_STORED)
    sizes = [_MOST_STORED] * full + [rest] * (rest > 0)
    return b"".join(_STORED.pack(0, size, size ^ _MOST_STORED) + bytes(size) for size in sizes)


def _deflated_from(file: Bytes, begin: int) -> int:
    """Return where the deflate stream of the member at *begin* begins."""
    header = file.read(begin, _MOST_OF_HEADER)
    flags = header[3]
    end = len(_PLAIN_HEADER)
    if flags & _EXTRA:
        end += 2 + int.from_bytes(header[end : end + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag:
            end = header.index(0, end) + 1
    return begin + end + (2 if flags & _CHECKSUM else 0)
