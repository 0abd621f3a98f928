"""A large answer in sealed memory, which the client maps instead of having it sent."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence

import anyio
import pyarrow as pa

from dftindexd.daemon.answer import batch_rows
from dftindexd.daemon.transport import Transport
from dftindexd.protocol.framing import encode_memory

__all__ = ("LEAST_SHARED_BYTES", "SharedAnswer", "shareable")

#: Less than this is sent sooner than shared.
LEAST_SHARED_BYTES = 256 << 10

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def shareable(sources: Sequence[object]) -> list[pa.Table] | None:
    """Return the tables of an answer that is worth sharing: all of it is there, and it is large."""
    tables = [source for source in sources if isinstance(source, pa.Table)]
    whole = len(tables) == len(sources)
    return tables if whole and sum(t.nbytes for t in tables) >= LEAST_SHARED_BYTES else None


class SharedAnswer:
    """Memory that holds *tables* as Arrow streams one after the other, and that nobody can change.

    It belongs to the task that made it until the writing task begins to send it. Whoever has mapped
    the memory keeps it.
    """

    def __init__(self, request_id: int, tables: Sequence[pa.Table]) -> None:
        self.sent = anyio.Event()
        self._request_id = request_id
        self._is_taken = False
        self._descriptor = os.memfd_create("dftindexd", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with pa.OSFile(f"/proc/self/fd/{self._descriptor}", "wb") as file:
                for table in tables:
                    with pa.ipc.new_stream(file, table.schema) as writer:
                        writer.write_table(table, max_chunksize=batch_rows(table))
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self._size = os.fstat(self._descriptor).st_size
        except BaseException:
            os.close(self._descriptor)
            raise

    async def send(self, transport: Transport) -> None:
        """Send it, unless it was abandoned; :attr:`sent` is set then.

        :raises anyio.BrokenResourceError: the client is gone.
        """
        if self._is_taken:
            return
        self._is_taken = True
        try:
            await transport.send(encode_memory(self._request_id, self._size), self._descriptor)
        finally:
            os.close(self._descriptor)
        self.sent.set()

    def abandon(self) -> None:
        """Let go of it unless it is being sent."""
        if not self._is_taken:
            self._is_taken = True
            os.close(self._descriptor)
