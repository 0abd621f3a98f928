"""What the tests of chunks share: traces with large members, and their chunks."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

from dftindexd.index.model import ParsedTrace
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.trace.chunk_reader import read_chunk
from dftindexd.index.trace.trace_file import Meter, TraceFile, open_trace

from .parsing import event, gzip_member, lines_of


def some_lines(count: int, seed: int = 1) -> bytes:
    """Return the text of *count* events that do not pack too well, with bad and blank lines."""
    numbers = random.Random(seed)
    lines = [
        event(f"f{numbers.randrange(10**6)}", ts=numbers.randrange(10**12), size=index)
        for index in range(count)
    ]
    lines[count // 3 : count // 3] = [b"", b"not JSON", b"["]
    return lines_of(*lines)


def one_member(text: bytes) -> bytes:
    """Return a gzip member of many blocks, each of which begins somewhere inside a byte."""
    packer = zlib.compressobj(9, wbits=31, memLevel=1)  # little memory: small blocks
    return packer.compress(text) + packer.flush()


def many_members(text: bytes, size: int = 50_001) -> bytes:
    """Return *text* in members, whose borders fall into lines."""
    pieces = (text[begin : begin + size] for begin in range(0, len(text), size))
    return b"".join(gzip_member(piece) for piece in pieces)


def chunks_of(parsed: ParsedTrace) -> list[Checkpoint]:
    """Return the chunks of all segments of one parse."""
    return [
        chunk
        for family, _, value in parsed.rows
        if family == "checkpoints"
        for chunk in decode_checkpoints(value)
    ]


def text_of(path: Path, chunk: Checkpoint) -> bytes:
    """Return the text of one chunk of the trace at *path*."""
    with open_trace(os.fsencode(path)) as file:
        return b"".join(read_chunk(file, chunk))


class CountingFile(TraceFile):
    """A trace file that counts the bytes that are read from it, and knows the farthest."""

    __slots__ = ("bytes_read", "end_read")

    def __init__(self, fd: int) -> None:
        super().__init__(fd, Meter())
        self.bytes_read = 0
        self.end_read = 0

    def read(self, offset: int, length: int) -> bytes:
        found = super().read(offset, length)
        self.bytes_read += len(found)
        self.end_read = max(self.end_read, offset + len(found))
        return found
