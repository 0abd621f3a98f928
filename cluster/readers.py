"""How a worker reads traces: itself, one job at a time, or by processes of its own.

The parse kernel reads one trace at a time in a process. So a worker with several threads reads by
as many processes, those of the daemon's parser workers; they need no ``__main__`` of the caller's.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final, TypeAlias

import msgspec

from dftindexd.actors.commands import ParseJob, ParseResult, TraceFailure
from dftindexd.actors.worker import has_kernel, run_job
from dftindexd.actors.worker_process import FRAME, HELLO, ForkServer, WorkerProcess

__all__ = ("Read", "readers")

#: Reads a job; any thread may call it.
Read: TypeAlias = Callable[[ParseJob], ParseResult]

_one_at_a_time: Final = threading.Lock()
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(ParseResult)


@contextmanager
def readers(number: int) -> Iterator[Read]:
    """Have *number* jobs read at once for as long as the context lasts."""
    if number < 2:
        yield _read_here
        return
    server = ForkServer()
    try:
        free: SimpleQueue[WorkerProcess] = SimpleQueue()
        for _ in range(number):
            free.put(_greeted(server.fork()))

        def read(job: ParseJob) -> ParseResult:
            process = free.get()
            try:
                return _read_by(process.socket, job)
            except ConnectionError:
                status = process.wait()
                process.kill()
                process = _greeted(server.fork())
                failure = TraceFailure(reason=f"its reader ended with status {status}")
                return ParseResult(outcomes=(failure,) * len(job.requests))
            finally:
                free.put(process)

        yield read
        while not free.empty():
            free.get().kill()
    finally:
        server.end()


def _read_here(job: ParseJob) -> ParseResult:
    with _one_at_a_time:
        return run_job(job, use_kernel=has_kernel())


def _greeted(process: WorkerProcess) -> WorkerProcess:
    _receive(process.socket, HELLO.size)
    return process


def _read_by(connection: socket.socket, job: ParseJob) -> ParseResult:
    data = _encoder.encode(job)
    connection.sendall(FRAME.pack(len(data)) + data)
    (size,) = FRAME.unpack(_receive(connection, FRAME.size))
    return _decoder.decode(_receive(connection, size))


def _receive(connection: socket.socket, size: int) -> bytes:
    """Return exactly so many bytes.

    :raises ConnectionError: the other end closed before.
    """
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError
        parts += part
    return bytes(parts)
