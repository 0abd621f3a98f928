"""Whether a trace only grew since it was last read, and from where to read on."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import Final, NamedTuple

from dftindexd.index.model import ResumePoint
from dftindexd.index.trace.trace_file import TraceFile

__all__ = ("Place", "Places", "resume_point", "still_matches")

_DIGEST_BYTES: Final = 16
_DIGESTED: Final = 4096


class Place(NamedTuple):
    """A place where inflating can begin, in the file and in the text.

    A seek point inside a gzip member has ``bits`` bits of the byte before ``c_offset``, and in
    ``window`` the packed text before it; both are empty at the beginning of a member.
    """

    c_offset: int
    uc_offset: int
    bits: int = 0
    window: bytes = b""


class Places:
    """Where the members read so far begin, those that can still matter.

    In a plain trace every place is one of its own.
    """

    __slots__ = ("_is_plain", "_places")

    def __init__(self, *, is_plain: bool) -> None:
        self._is_plain = is_plain
        self._places: list[Place] = []

    def add(self, place: Place) -> None:
        """Note that a member begins, or would begin, here; places come in order."""
        self._places.append(place)

    def find(self, uc_offset: int) -> Place:
        """Return the last place at or before *uc_offset* of the text."""
        if self._is_plain:
            return Place(uc_offset, uc_offset)
        found = bisect_right(self._places, uc_offset, key=lambda place: place.uc_offset)
        return self._places[found - 1]

    def forget_before(self, uc_offset: int) -> None:
        """Drop the places that :meth:`find` cannot return for *uc_offset* or later."""
        found = bisect_right(self._places, uc_offset, key=lambda place: place.uc_offset)
        del self._places[: max(found - 1, 0)]


def resume_point(file: TraceFile, place: Place, line_offset: int, line: int) -> ResumePoint:
    """Return the point from which the text at *line_offset* on is to be read again."""
    head_bytes = min(file.size, _DIGESTED)
    head = _digest(file, 0, head_bytes)
    return ResumePoint(
        c_offset=place.c_offset,
        uc_offset=place.uc_offset,
        line_offset=line_offset,
        line=line,
        head=head,
        head_bytes=head_bytes,
        tail=head if place.c_offset == head_bytes else _tail_digest(file, place.c_offset),
    )


def still_matches(file: TraceFile, resume: ResumePoint) -> bool:
    """Tell whether *file* begins as it did when *resume* was made."""
    return (
        file.size >= max(resume.c_offset, resume.head_bytes)
        and _digest(file, 0, resume.head_bytes) == resume.head
        and _tail_digest(file, resume.c_offset) == resume.tail
    )


def _tail_digest(file: TraceFile, c_offset: int) -> bytes:
    length = min(c_offset, _DIGESTED)
    return _digest(file, c_offset - length, length)


def _digest(file: TraceFile, offset: int, length: int) -> bytes:
    return hashlib.blake2b(file.read(offset, length), digest_size=_DIGEST_BYTES).digest()
