"""Measure random access: one chunk in the middle of a large trace of one gzip member.

    python -m benchmarks.random_read [--megabytes 1000] [--repeat 5] [TRACE]

Without TRACE it writes one, of so many megabytes of text. It says what the seek points cost when
the trace is indexed, and compares reading the chunk with inflating all that lies before it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable

from dftindexd.index.model import ParseRequest, TierConfig
from dftindexd.index.segment import parse_trace
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.trace.chunk_reader import read_chunk
from dftindexd.index.trace.members import member_text
from dftindexd.index.trace.trace_file import TraceFile, open_trace

__all__ = ("main", "middle_chunk", "write_one_member")

_EVENTS_PER_PIECE = 10_000


def write_one_member(path: bytes, megabytes: int) -> None:
    """Write a trace of so much text as one gzip member."""
    packer = zlib.compressobj(6, wbits=31)
    written = event = 0
    with open(path, "wb") as file:
        while written < megabytes * 1_000_000:
            text = b"".join(_event(event + more) for more in range(_EVENTS_PER_PIECE))
            event += _EVENTS_PER_PIECE
            written += len(text)
            file.write(packer.compress(text))
        file.write(packer.flush())


def _event(number: int) -> bytes:
    return (
        b'{"id":%d,"name":"%s","cat":"POSIX","pid":7,"tid":8,"ts":%d,"dur":%d,"ph":"X","args":'
        b'{"hhash":"9a3f5b21","fhash":"%08x","ret":%d,"offset":%d}}\n'
    ) % (
        number,
        (b"read", b"write", b"lseek64", b"open64", b"close")[number * 7919 % 5],
        1_700_000_000_000_000 + number * 37,
        number * 104_729 % 997,
        number * 7919 % 512 * 2_654_435_761 % (1 << 32),
        number * 31 % 4096,
        number * 4096,
    )


def middle_chunk(path: bytes) -> tuple[Checkpoint, float, float]:
    """Return the chunk in the middle, and the seconds of indexing with seek points and without."""
    _indexed(path, 1 << 60)  # the kernel is loaded
    without, _ = _indexed(path, 1 << 60)
    seconds, chunks = _indexed(path, TierConfig().chunk_bytes)
    return chunks[len(chunks) // 2], seconds, without


def _indexed(path: bytes, chunk_bytes: int) -> tuple[float, list[Checkpoint]]:
    begin = time.process_time()
    request = ParseRequest(
        path=path, segment_id=1, provisional_id=2, tiers=TierConfig(chunk_bytes=chunk_bytes)
    )
    rows = parse_trace(request).rows
    seconds = time.process_time() - begin
    values = (value for family, _, value in rows if family == "checkpoints")
    return seconds, [chunk for value in values for chunk in decode_checkpoints(value)]


def _from_the_beginning(file: TraceFile, chunk: Checkpoint) -> Iterable[bytes]:
    left = chunk.uc_offset + chunk.uc_size
    for piece in member_text(file, 0):
        yield piece
        left -= len(piece)
        if left <= 0:
            return


def _least_seconds(read: Callable[[], Iterable[bytes]], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        begin = time.perf_counter()
        for _ in read():
            pass
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def _measure(path: bytes, repeat: int) -> None:
    chunk, with_points, without = middle_chunk(path)
    print(f"trace: {os.path.getsize(path) / 1e6:.0f} MB, the chunk {chunk.uc_size / 1e6:.1f} MB")
    print(f"indexed in {with_points:.2f} s of processor time, {without:.2f} s without seek points")
    with open_trace(path) as file:
        chunk_seconds = _least_seconds(lambda: read_chunk(file, chunk), repeat)
        all_seconds = _least_seconds(lambda: _from_the_beginning(file, chunk), repeat)
    print(f"read one chunk: {chunk_seconds * 1e3:.1f} ms")
    print(f"inflate from the beginning of the member to its end: {all_seconds * 1e3:.1f} ms")


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", nargs="?", metavar="TRACE")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.trace:
        _measure(os.fsencode(arguments.trace), arguments.repeat)
        return
    with tempfile.TemporaryDirectory(prefix="dftindexd-bench-") as folder:
        path = os.fsencode(os.path.join(folder, "one.pfw.gz"))
        write_one_member(path, arguments.megabytes)
        _measure(path, arguments.repeat)


if __name__ == "__main__":
    main()
