"""An answer that is read while it comes."""

from __future__ import annotations

import concurrent.futures
import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import checkpoint

from dftindexd.client.connection import Exchange
from dftindexd.client.results import arrow_errors
from dftindexd.protocol.message import AnswerHead

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("AnswerStream",)


class AnswerStream:
    """An answer that is read batch by batch: an asynchronous iterator of record batches."""

    def __init__(self, head: AnswerHead, exchange: Exchange, timeout: float | None) -> None:
        self._head = head
        self._exchange = exchange
        self._timeout = timeout
        self._reader: pa.RecordBatchReader | None = None

    @property
    def generation(self) -> int:
        """The version of the store that the rows show; each commit adds one."""
        return self._head.generation

    @property
    def store_id(self) -> str:
        """Which store's generation it is; ``""`` where the answer does not say."""
        return self._head.store_id

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know about the rows, such as traces that are missing from them."""
        return self._head.warnings

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows, known once a batch was asked for, or there is none."""
        if self._reader is None:
            raise AssertionError("no batch was asked for yet")
        return self._reader.schema

    def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        return self

    async def __anext__(self) -> pa.RecordBatch:
        # Arrow reads from a file and blocks, so it does so in a thread, which pulls from here.
        try:
            batch = await anyio.to_thread.run_sync(self._next_batch)
        except concurrent.futures.CancelledError:
            await checkpoint()
            raise
        if batch is None:
            raise StopAsyncIteration
        return batch

    def _next_batch(self) -> pa.RecordBatch | None:
        with arrow_errors():
            if self._reader is None:
                self._reader = self._opened(anyio.from_thread.run(self._chunk))
            try:
                return self._reader.read_next_batch()
            except StopIteration:
                return None

    def _opened(self, first: bytes | memoryview) -> pa.RecordBatchReader:
        import pyarrow as pa  # only who has rows waits for its import

        mapped = isinstance(first, memoryview)
        file = pa.py_buffer(first) if mapped else io.BufferedReader(_ChunkFile(self, first))
        return pa.ipc.open_stream(file)

    async def _chunk(self) -> bytes | memoryview:
        return await self._exchange.chunk(self._timeout)


class _ChunkFile(io.RawIOBase):
    """The Arrow stream as a file, for a worker thread of the event loop."""

    def __init__(self, stream: AnswerStream, first: bytes | memoryview) -> None:
        super().__init__()
        self._stream = stream
        self._rest = memoryview(first)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(anyio.from_thread.run(self._stream._chunk))
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken
