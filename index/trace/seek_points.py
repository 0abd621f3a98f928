"""Places inside one large gzip member where inflating can begin, found by indexed_gzip (zran).

A deflate stream can be entered where a block begins, with the 32 KiB of text before it. The fast
inflater does not say where blocks begin, so the library inflates such a member once more. It does
so in batches, each begun at the last point of the one before: only one batch's points are in
memory, however large the member is. The text that a parse reads never comes from here.

Points are passed between batches, and read, in the library's file format ``GZIDX`` version 1.
"""

from __future__ import annotations

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from dftindexd.index.trace.recovery import Bytes
from dftindexd.index.trace.resume import Place

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ("SeekPoint", "SeekPoints", "spacing_for", "unpacked_window")

_WINDOW_BYTES: Final = 32 << 10

# Bounds of the text between two points. The library holds four times as much, and is a fifth faster
# where that stays in the processor's cache.
_LEAST_SPACING: Final = 2 * _WINDOW_BYTES
_GREATEST_SPACING: Final = 1 << 20
_POINTS_PER_CHUNK: Final = 8

# Compressed bytes in a batch. Each batch inflates the text after the last point again, and may go
# on into members that do not need it; a large one holds many points where the text is repetitive.
_FIRST_BATCH: Final = 1 << 20
_LAST_BATCH: Final = 4 << 20
_READ_BYTES: Final = 256 << 10

_HEADER: Final = struct.Struct("<5sBBQQIII")
_POINT: Final = struct.Struct("<QQBB")
_BEYOND: Final = 1 << 62  # farther than any text


class SeekPoint(NamedTuple):
    """A place, and ``c_end``: no byte from there on is needed for the text before the place."""

    place: Place
    c_end: int


class _Point(NamedTuple):
    """A point of the library; offsets count from the beginning of the member."""

    c_offset: int
    uc_offset: int
    bits: int
    window: bytes | memoryview  # empty at the beginning of a member


def spacing_for(chunk_bytes: int) -> int:
    """Return how much text should lie between two points where chunks have *chunk_bytes*."""
    return max(_LEAST_SPACING, min(chunk_bytes // _POINTS_PER_CHUNK, _GREATEST_SPACING))


def unpacked_window(window: bytes) -> bytes:
    """Return the text before a place; a damaged *window* is a ``ValueError``."""
    if not window:
        return b""
    try:
        return zlib.decompress(window)
    except zlib.error as error:
        raise ValueError(f"the window of a seek point does not inflate: {error}") from error


class SeekPoints:
    """The seek points of the gzip member at *begin*, asked for from its front to its end."""

    def __init__(self, file: Bytes, begin: Place, spacing: int) -> None:
        self._file = file
        self._begin = begin
        self._spacing = spacing
        self._bytes = file.size - begin.c_offset  # the member's, and those of what follows
        self._batch_bytes = _FIRST_BATCH
        self._covered = 0
        self._points: list[_Point] = []
        self.fault = ""

    def last_before(self, uc_offset: int) -> SeekPoint | None:
        """Return the last point at or before *uc_offset* of the trace's text, if there is any.

        The offset lies in the text of this member, and is never less than at the call before.
        Where the library cannot go on, ``fault`` says why.
        """
        wanted = uc_offset - self._begin.uc_offset
        while self._covered < self._bytes and not self.fault and not self._reaches(wanted):
            self._next_batch()
        found = bisect_right(self._points, wanted, key=lambda point: point.uc_offset)
        if not found:
            return None
        point = self._points[found - 1]
        following = self._points[found].c_offset if found < len(self._points) else self._covered
        return SeekPoint(self._place(point), self._begin.c_offset + following)

    def places(self) -> Iterator[Place]:
        """Give the place of every point, for a caller that asks for nothing else; the first is at
        least the spacing after the beginning of the member."""
        last = 0
        while self._covered < self._bytes and not self.fault:
            self._next_batch()
            for point in self._points:
                if point.uc_offset > last:
                    last = point.uc_offset
                    yield self._place(point)

    def _place(self, point: _Point) -> Place:
        return Place(
            self._begin.c_offset + point.c_offset,
            self._begin.uc_offset + point.uc_offset,
            point.bits,
            zlib.compress(point.window, 1),
        )

    def _reaches(self, wanted: int) -> bool:
        return bool(self._points) and self._points[-1].uc_offset > wanted

    def _next_batch(self) -> None:
        # Late: few traces have a member that needs it, and every parser worker would import it.
        from indexed_gzip import IndexedGzipFile, ZranError

        self._covered = min(self._covered + self._batch_bytes, self._bytes)
        view = _View(self._file, self._begin.c_offset, self._covered)
        # The library needs two points to go on from; what a checksum says, the parse finds out.
        known = [point._replace(window=bytes(point.window)) for point in self._points[-2:]]
        self._points = known  # and with it all windows of the last batch are gone
        with IndexedGzipFile(
            fileobj=view,
            spacing=self._spacing,
            window_size=_WINDOW_BYTES,
            readbuf_size=_READ_BYTES,
            buffer_size=_WINDOW_BYTES,
            skip_crc_check=True,
        ) as library:
            if len(known) > 1:
                index = _encode(known, self._covered, self._spacing)
                library.import_index(fileobj=io.BytesIO(index))
            at_end = True
            try:
                library.seek(_BEYOND)
            except ZranError as error:
                at_end = False
                if view.is_whole or not view.reached_end:
                    self.fault = str(error)
            exported = io.BytesIO()
            library.export_index(fileobj=exported)
        points = _decode(exported.getvalue())
        # At the end of the bytes the library sets a point of its own, where no block begins.
        self._points = [point for point in (points[:-1] if at_end else points) if point.window]
        # A batch without new points is read again in the next one, which is to be twice as large.
        greatest = _LAST_BATCH if len(self._points) > len(known) else self._bytes
        self._batch_bytes = min(self._batch_bytes * 2, greatest)


class _View(io.RawIOBase):
    """The bytes of a file from *begin* on, *size* of them, as the library reads them."""

    def __init__(self, file: Bytes, begin: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._begin = begin
        self._size = size
        self._position = 0
        self.is_whole = begin + size >= file.size
        self.reached_end = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), max(self._size - self._position, 0))
        piece = self._file.read(self._begin + self._position, wanted)
        target[: len(piece)] = piece
        self._position += len(piece)
        self.reached_end = self.reached_end or self._position >= self._size
        return len(piece)


def _encode(points: Sequence[_Point], size: int, spacing: int) -> bytes:
    header = _HEADER.pack(b"GZIDX", 1, 0, size, 0, spacing, _WINDOW_BYTES, len(points))
    rows = (_POINT.pack(point.c_offset, point.uc_offset, point.bits, 1) for point in points)
    return header + b"".join(rows) + b"".join(point.window for point in points)


def _decode(index: bytes) -> list[_Point]:
    magic, version, _, _, _, _, window_bytes, count = _HEADER.unpack_from(index)
    if magic != b"GZIDX" or version != 1:
        raise ValueError(f"indexed_gzip wrote an index of version {version}, 1 is known")
    windows = _HEADER.size + count * _POINT.size
    points = []
    view = memoryview(index)
    for c_offset, uc_offset, bits, has_window in _POINT.iter_unpack(view[_HEADER.size : windows]):
        window = view[windows : windows + window_bytes] if has_window else view[:0]
        windows += len(window)
        points.append(_Point(c_offset, uc_offset, bits, window))
    return points
