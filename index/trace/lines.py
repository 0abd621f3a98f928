"""Text in pieces, cut into blocks of whole lines.

Lines that straddle pieces or members are joined. A line longer than ``MAX_LINE_BYTES`` is not held:
it is skipped as it comes and reported as one bad line.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from dftindexd.index.model import BadLine

__all__ = ("BLOCK_BYTES", "MAX_LINE_BYTES", "SAMPLE_BYTES", "LineAssembler", "LineSink", "Lines")

#: A block is cut when this much text has come together.
BLOCK_BYTES: Final = 1 << 22

#: The longest line that is read.
MAX_LINE_BYTES: Final = 64 << 20

#: How much of a bad line is kept to show.
SAMPLE_BYTES: Final = 80


class Lines(NamedTuple):
    """Whole lines: ``text`` begins at ``uc_offset`` with line number ``line``.

    Each line ends with a newline but the last of a text that was cut off.
    """

    text: bytes
    uc_offset: int
    line: int


class LineSink(Protocol):
    """Takes what an assembler cuts, in the order of the text."""

    def add_lines(self, lines: Lines) -> int:
        """Take a block of whole lines, never an empty one; return how many they are."""

    def add_oversized(self, bad: BadLine, uc_end: int) -> None:
        """Take notice of a line that was too long to be read, and where it ends."""


class LineAssembler:
    """Joins pieces of text and hands blocks of whole lines to ``sink``.

    ``end`` is the offset after all text fed so far, ``line_offset`` the beginning of the line in
    which it lies, or would lie, once :meth:`flush` was called; ``line`` is that line's number.
    """

    __slots__ = (
        "_block_bytes",
        "_max_line_bytes",
        "_pieces",
        "_sample",
        "_size",
        "_whole",
        "end",
        "line",
        "line_offset",
        "sink",
    )

    def __init__(
        self,
        sink: LineSink,
        uc_offset: int,
        line: int,
        block_bytes: int = BLOCK_BYTES,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self.sink = sink
        self.end = uc_offset
        self.line_offset = uc_offset
        self.line = line
        self._block_bytes = block_bytes
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._whole = 0  # bytes of the pieces up to and with their last newline
        self._sample: bytes | None = None  # of the line being skipped

    @property
    def whole_end(self) -> int:
        """The offset after the last whole line."""
        return self.line_offset + self._whole

    def feed(self, piece: bytes) -> None:
        """Take the next piece of text; pieces are shorter than the longest line."""
        begin = self.end
        self.end += len(piece)
        if self._sample is None and self._grows_too_long(piece):
            self._begin_skipping(piece)
        if self._sample is not None:
            newline = piece.find(b"\n")
            if newline < 0:
                return
            self._end_skipping(begin + newline + 1)
            piece = piece[newline + 1 :]
        newline = piece.rfind(b"\n")
        if newline >= 0:
            self._whole = self._size + newline + 1
        if piece:
            self._pieces.append(piece)
            self._size += len(piece)
        if self._size >= self._block_bytes:
            self.flush()

    def flush(self) -> None:
        """Hand over all whole lines; an unfinished one is kept."""
        if not self._whole:
            return
        rests: list[bytes] = []
        size = self._size - self._whole  # of the unfinished line: pieces without a newline, and
        while size:  # the end of the last piece with one
            piece = self._pieces.pop()
            cut = max(len(piece) - size, 0)
            rests.append(piece[cut:])
            size -= len(piece) - cut
            if cut:
                self._pieces.append(piece[:cut])
        lines = Lines(b"".join(self._pieces), self.line_offset, self.line)
        self._pieces = rests[::-1]
        self._size -= self._whole
        self._whole = 0
        self._advance(len(lines.text), self.sink.add_lines(lines))

    def terminate(self) -> None:
        """End the unfinished line here: the text after it belongs to another one."""
        self.flush()
        if self._sample is not None:
            self._end_skipping(self.end)
        elif self._size:
            lines = self.unfinished()
            self._pieces = []
            self._size = 0
            self._advance(len(lines.text), self.sink.add_lines(lines))

    def unfinished(self) -> Lines:
        """Return the unfinished line, empty if there is none or it is too long to be read."""
        return Lines(b"".join(self._pieces), self.line_offset, self.line)

    def _advance(self, size: int, lines: int) -> None:
        self.line_offset += size
        self.line += lines

    def _grows_too_long(self, piece: bytes) -> bool:
        newline = piece.find(b"\n")
        more = len(piece) if newline < 0 else newline
        return self._size - self._whole + more > self._max_line_bytes

    def _begin_skipping(self, piece: bytes) -> None:
        self.flush()
        held = b"".join(self._pieces)[:SAMPLE_BYTES] + piece[:SAMPLE_BYTES]
        self._sample = held.partition(b"\n")[0][:SAMPLE_BYTES]
        self._pieces = []
        self._size = 0

    def _end_skipping(self, end: int) -> None:
        bad = BadLine(self.line_offset, self.line, self._sample or b"")
        self._sample = None
        self._advance(end - self.line_offset, 1)
        self.sink.add_oversized(bad, end)
