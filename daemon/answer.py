"""Answers that are tables, and their encoding as one Arrow IPC stream in pieces."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import pyarrow as pa

from dftindexd.protocol.framing import MAX_DATA_BYTES
from dftindexd.protocol.requests import AnswerHead

__all__ = ("ArrowAnswer", "BatchStream", "batch_rows", "ipc_pieces", "table_bytes")

# What one record batch of a table may weigh: encoding it holds the event loop that long.
_BATCH_BYTES = 4 * MAX_DATA_BYTES


@dataclass(frozen=True, slots=True)
class BatchStream:
    """Record batches of one schema that are made while the client reads.

    Each batch is sent as soon as it is there. The iterator is closed when the client goes away.
    """

    schema: pa.Schema
    batches: AsyncGenerator[pa.RecordBatch, None]


class ArrowAnswer:
    """The reply to a request whose declared reply is an :class:`AnswerHead`: its rows, as one Arrow
    stream or, where the request says so, as one after the other."""

    __slots__ = ("head", "sources")

    def __init__(self, head: AnswerHead, *sources: pa.Table | BatchStream) -> None:
        self.head = head
        self.sources = sources

    async def close(self) -> None:
        """End what would make further batches; none is taken any more."""
        for source in self.sources:
            if isinstance(source, BatchStream):
                await source.batches.aclose()


class _Sink(io.RawIOBase):
    """The file that an IPC writer writes to; what it holds is taken away piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        self._written.append(bytes(data))
        self.size += len(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        self.size = 0
        return taken


async def ipc_pieces(source: pa.Table | BatchStream) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of *source* as one Arrow IPC stream.

    A table comes in pieces of a frame or more, a :class:`BatchStream` in one piece a batch.
    """
    sink = _Sink()
    least = MAX_DATA_BYTES if isinstance(source, pa.Table) else 1
    with pa.ipc.new_stream(sink, source.schema) as writer:
        async with aclosing(_batches(source)) as batches:
            async for batch in batches:
                writer.write_batch(batch)
                if sink.size >= least:
                    yield sink.take()
    yield sink.take()


async def _batches(source: pa.Table | BatchStream) -> AsyncGenerator[pa.RecordBatch, None]:
    if isinstance(source, BatchStream):
        async with aclosing(source.batches):
            async for batch in source.batches:
                yield batch
        return
    for batch in source.to_batches(max_chunksize=batch_rows(source)):
        yield batch


def table_bytes(source: pa.Table | BatchStream) -> int:
    """Return what *source* takes in memory while it waits; a stream is made as it is read."""
    return source.nbytes if isinstance(source, pa.Table) else 0


def batch_rows(table: pa.Table) -> int:
    """Return how many rows of *table* a record batch of its answer has at most."""
    return max(1, table.num_rows * _BATCH_BYTES // max(1, table.nbytes))
