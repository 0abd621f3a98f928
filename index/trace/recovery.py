"""What can be saved of gzip members that do not inflate to their end.

The fast inflater loses what it inflated in the very call that meets the fault. The standard one,
fed byte by byte near the fault, gives everything before it. After a fault the next member is looked
for by its magic and believed only if it inflates to its end with the right checksum: compressed
bytes contain the magic by chance.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol, cast

from isal import isal_zlib

from dftindexd.index.trace.trace_file import GZIP_MAGIC, TraceFile

__all__ = ("GZIP", "GZIP_BITS", "Bytes", "Format", "InflateError", "MemberSearch", "salvage")

#: ``wbits`` of a gzip stream.
GZIP_BITS: Final = 31


class Bytes(Protocol):
    """Bytes that can be read from anywhere, such as a trace file's."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to *length* bytes from *offset*; fewer at the end."""


class Format(NamedTuple):
    """How a compressed stream begins: with the header that ``wbits`` says, after ``window``."""

    wbits: int
    window: bytes = b""


#: A gzip member from its header on.
GZIP: Final = Format(GZIP_BITS)

#: What the fast inflater raises; its stubs call the class an instance.
InflateError = cast("type[Exception]", isal_zlib.error)

_FEED: Final = 4096
_WINDOW: Final = 1 << 20

# What failed checks may cost in one trace, in bytes of text. Each costs at least a piece, so that a
# file full of false magics ends the search too.
_SEARCH_BUDGET: Final = 256 << 20
_CHECK_PIECE: Final = 64 << 10


def salvage(file: Bytes, begin: int, delivered: int, stream: Format = GZIP) -> Iterator[bytes]:
    """Yield the text of the stream at *begin* up to its fault, less its first *delivered* bytes."""
    inflater = zlib.decompressobj(stream.wbits, zdict=stream.window)
    position = begin
    to_skip = delivered
    while not inflater.eof and (feed := file.read(position, _FEED)):
        position += len(feed)
        before = inflater.copy()
        try:
            text, faulty = inflater.decompress(feed), False
        except zlib.error:
            text, faulty = _before_fault(before, feed), True
        if len(text) > to_skip:
            yield text[to_skip:]
        to_skip = max(0, to_skip - len(text))
        if faulty:
            return


def _before_fault(inflater: zlib._Decompress, feed: bytes) -> bytes:
    pieces = []
    try:
        for index in range(len(feed)):
            pieces.append(inflater.decompress(feed[index : index + 1]))  # noqa: PERF401
    except zlib.error:
        pass  # the fault that brought us here
    return b"".join(pieces)


class MemberSearch:
    """The search for the next whole member after a fault, within one trace."""

    __slots__ = ("_budget", "_file")

    def __init__(self, file: TraceFile) -> None:
        self._file = file
        self._budget = _SEARCH_BUDGET

    @property
    def exhausted(self) -> bool:
        """Whether so many false members were met that nothing is searched any more."""
        return self._budget <= 0

    def next_member(self, begin: int) -> int | None:
        """Return where the first whole member at or after *begin* starts."""
        position = begin
        while position < self._file.size and not self.exhausted:
            window = self._file.read(position, _WINDOW)
            if len(window) < len(GZIP_MAGIC):
                return None
            found = window.find(GZIP_MAGIC)
            while found >= 0 and not self.exhausted:
                if self._is_whole(position + found):
                    return position + found
                found = window.find(GZIP_MAGIC, found + 1)
            position += len(window) - len(GZIP_MAGIC) + 1
        return None

    def _is_whole(self, begin: int) -> bool:
        inflater = isal_zlib.decompressobj(wbits=GZIP_BITS)
        position = begin
        cost = _CHECK_PIECE
        feed = b""
        try:
            while not inflater.eof:
                if not feed:
                    feed = self._file.read(position, _CHECK_PIECE)
                    position += len(feed)
                    if not feed:
                        break
                cost += len(inflater.decompress(feed, _CHECK_PIECE))
                feed = inflater.unconsumed_tail
        except InflateError:
            pass  # not a member, or a faulty one: both are passed over
        if not inflater.eof:
            self._budget -= cost
        return bool(inflater.eof)
