"""The text of a trace from its chunks: any of them, any range of lines or of bytes.

A chunk in the middle of a large gzip member begins at a seek point, so that about as much as the
chunk is inflated, not the half of the member before it. Memory is bounded: text comes in pieces.

What is read is compared with what the chunk is known to hold (its bytes and lines). Whether the
file is the one that was indexed the caller knows better: by its stamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from dftindexd.index.errors import StoreDamagedError, TraceChangedError
from dftindexd.index.tiers.checkpoints import Checkpoint
from dftindexd.index.trace.members import inflate, member_text
from dftindexd.index.trace.recovery import Format, MemberSearch
from dftindexd.index.trace.seek_points import unpacked_window
from dftindexd.index.trace.trace_file import GZIP_MAGIC, TraceFile

__all__ = (
    "check_chunk",
    "chunk_text",
    "chunks_for_bytes",
    "chunks_for_lines",
    "cut_text",
    "read_bytes",
    "read_chunk",
    "read_lines",
)

_RAW_DEFLATE: Final = -15
_TRAILER_BYTES: Final = 8
_PIECE: Final = 1 << 20
_NEWLINE: Final = ord("\n")


def read_chunk(file: TraceFile, checkpoint: Checkpoint) -> Iterator[bytes]:
    """Yield the text of one chunk, whole lines, in pieces of at most about 1 MiB.

    Raises :class:`TraceChangedError` where the file does not give the chunk's bytes and lines, and
    :class:`StoreDamagedError` for a seek point that cannot be one.
    """
    size = lines = 0
    last = b""
    for piece in chunk_text(file, checkpoint):
        size += len(piece)
        lines += piece.count(b"\n")
        last = piece[-1:]
        yield piece
    check_chunk(checkpoint, size, lines + (last != b"\n"))


def chunk_text(file: TraceFile, checkpoint: Checkpoint) -> Iterator[bytes]:
    """Return the same text, for whoever counts its bytes and lines and has them checked by
    :func:`check_chunk`."""
    if file.is_gzip():
        return cut_text(_inflated(file, checkpoint), checkpoint.skip, checkpoint.uc_size)
    if (checkpoint.c_offset, checkpoint.c_size) == (checkpoint.uc_offset, checkpoint.uc_size):
        return _stretch(file, checkpoint.uc_offset, checkpoint.uc_size)
    raise _changed(checkpoint, "it is no longer gzip")


def check_chunk(checkpoint: Checkpoint, size: int, lines: int) -> None:
    """Raise :class:`TraceChangedError` where a chunk gave other bytes or lines than it has."""
    if size != checkpoint.uc_size:
        raise _changed(checkpoint, f"{size} bytes are there, not {checkpoint.uc_size}")
    if lines != checkpoint.num_lines:
        raise _changed(checkpoint, f"{lines} lines are there, not {checkpoint.num_lines}")


def chunks_for_bytes(checkpoints: Sequence[Checkpoint], begin: int, end: int) -> list[Checkpoint]:
    """Return the chunks, in order, that hold any of the text's bytes *begin* to *end* (not in)."""
    return [
        chunk
        for chunk in checkpoints
        if chunk.uc_offset < end and begin < chunk.uc_offset + chunk.uc_size and begin < end
    ]


def chunks_for_lines(checkpoints: Sequence[Checkpoint], first: int, last: int) -> list[Checkpoint]:
    """Return the chunks, in order, that hold any of lines *first* to *last* (not in), from 0."""
    return [
        chunk
        for chunk in checkpoints
        if chunk.first_line < last and first < chunk.first_line + chunk.num_lines and first < last
    ]


def read_bytes(
    file: TraceFile, checkpoints: Sequence[Checkpoint], begin: int, end: int
) -> Iterator[bytes]:
    """Yield the text's bytes *begin* to *end* (not in) in pieces, as far as chunks hold them."""
    for chunk in chunks_for_bytes(checkpoints, begin, end):
        skip = max(begin - chunk.uc_offset, 0)
        until = min(end - chunk.uc_offset, chunk.uc_size)
        yield from cut_text(read_chunk(file, chunk), skip, until - skip)


def read_lines(
    file: TraceFile, checkpoints: Sequence[Checkpoint], first: int, last: int
) -> Iterator[bytes]:
    """Yield the text of the lines *first* to *last* (not in), from 0, in pieces."""
    for chunk in chunks_for_lines(checkpoints, first, last):
        skip = max(first - chunk.first_line, 0)
        until = min(last - chunk.first_line, chunk.num_lines)
        yield from _cut_lines(read_chunk(file, chunk), skip, until - skip)


def cut_text(pieces: Iterable[bytes], skip: int, length: int) -> Iterator[bytes]:
    """Yield *length* bytes after the first *skip*; no piece is asked for in vain."""
    if not length:
        return
    for piece in pieces:
        wanted = piece[skip : skip + length]
        skip = max(skip - len(piece), 0)
        length -= len(wanted)
        if wanted:
            yield wanted
        if not length:
            return


def _cut_lines(pieces: Iterable[bytes], skip: int, count: int) -> Iterator[bytes]:
    """Yield *count* lines after the first *skip*."""
    for piece in pieces:
        ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == _NEWLINE)
        lines = len(ends)
        if skip > lines:
            skip -= lines
            continue
        begin = int(ends[skip - 1]) + 1 if skip else 0
        lines -= skip
        until = int(ends[skip + count - 1]) + 1 if lines >= count else len(piece)
        if begin < until:
            yield piece[begin:until]
        if lines >= count:
            return
        skip = 0
        count -= lines


def _stretch(file: TraceFile, begin: int, length: int) -> Iterator[bytes]:
    end = begin + length
    while begin < end and (piece := file.read(begin, min(_PIECE, end - begin))):
        begin += len(piece)
        yield piece


def _inflated(file: TraceFile, checkpoint: Checkpoint) -> Iterator[bytes]:
    """Yield the text from where the chunk's reading begins, as far as the file goes."""
    if not checkpoint.window:
        yield from member_text(file, checkpoint.c_offset)
        return
    try:
        stream = Format(_RAW_DEFLATE, unpacked_window(checkpoint.window))
    except ValueError as error:
        raise StoreDamagedError(f"{_name(checkpoint)}: {error}") from error
    aligned = _Aligned(file, checkpoint.bits)
    state, end = yield from inflate(aligned, checkpoint.c_offset, stream)
    if state == "open":
        return
    following: int | None = _after_trailer(file, end, checkpoint.bits)
    if state == "corrupt":
        following = MemberSearch(file).next_member(checkpoint.c_offset)
    if following is not None:
        yield from member_text(file, following)


def _after_trailer(file: TraceFile, end: int, bits: int) -> int:
    """Return where the next member begins, the aligned stream having ended at byte *end*.

    The last byte of an aligned stream can be the upper bits of the byte before its own.
    """
    following = end + _TRAILER_BYTES
    if bits and file.read(following - 1, len(GZIP_MAGIC)) == GZIP_MAGIC:
        return following - 1
    return following


class _Aligned:
    """A file's bytes moved by some bits, so that a stream that begins inside a byte begins at one.

    The byte at an offset has the upper *bits* bits of the byte before, then the lower ones of its
    own; one more byte at the end has what is left.
    """

    __slots__ = ("_bits", "_file", "size")

    def __init__(self, file: TraceFile, bits: int) -> None:
        self._file = file
        self._bits = bits
        self.size = file.size + (1 if bits else 0)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to *length* bytes from *offset*, which is not the first of the file."""
        if not self._bits:
            return self._file.read(offset, length)
        found = self._file.read(offset - 1, length + 1)
        if len(found) <= length and found:
            found += b"\0"  # after the last byte
        source = np.frombuffer(found, np.uint8)
        return ((source[:-1] >> (8 - self._bits)) | (source[1:] << self._bits)).tobytes()


def _changed(checkpoint: Checkpoint, what: str) -> TraceChangedError:
    return TraceChangedError(f"{_name(checkpoint)}: {what}", "the trace changed; index it again")


def _name(checkpoint: Checkpoint) -> str:
    return f"the chunk at byte {checkpoint.uc_offset} of the text"
