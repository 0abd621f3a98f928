"""A parser worker: a process that reads traces for the daemon and never opens its store.

It is started by ``parser_pool`` with this module as its only entry, so that the caller's own
``__main__`` is never run, and speaks over one inherited socket: a frame is a length (u32, big
endian) and a msgpack message, a :class:`ParseJob` in and a :class:`ParseResult` out. It ends when
the socket closes, and dies with its parent.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import traceback
from typing import Final

import msgspec

from dftindexd.actors.child_process import die_with_parent
from dftindexd.actors.commands import ParsedOutcome, ParseJob, ParseResult, TraceFailure
from dftindexd.index.errors import CoreError, StoreReadOnlyError, TraceGoneError
from dftindexd.index.failpoints import failpoint
from dftindexd.index.model import ParseRequest, Row
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.sst import write_ssts
from dftindexd.index.trace import kernel_cache

__all__ = ("FRAME", "INLINE_BYTES", "main", "run_job")

FRAME: Final = struct.Struct(">I")

#: Up to this many bytes of rows travel with the result; more go into SST files.
INLINE_BYTES: Final = 256 << 10

#: Loading the kernel takes about as long as reading this many bytes on disk without it.
_LOADING_COSTS_BYTES: Final = 512 << 10
_IDLE_SECONDS: Final = 0.3


def run_job(job: ParseJob, *, use_kernel: bool) -> ParseResult:
    """Read every trace of *job*; one that cannot be read does not stop the others."""
    outcomes: list[ParsedOutcome | TraceFailure] = []
    rows: list[Row] = []
    for request in job.requests:
        outcome = _parse(request, use_kernel=use_kernel)
        if isinstance(outcome, ParsedOutcome):
            rows += outcome.parsed.rows
            outcome = ParsedOutcome(parsed=msgspec.structs.replace(outcome.parsed, rows=()))
        outcomes.append(outcome)
    if sum(len(key) + len(value) for _, key, value in rows) <= INLINE_BYTES:
        return ParseResult(outcomes=tuple(outcomes), rows=tuple(rows))
    try:
        artifacts = write_ssts(rows, job.staging, job.stem)
    except StoreReadOnlyError as error:
        return ParseResult(outcomes=tuple(outcomes), staging_error=str(error))
    except CoreError as error:
        failure = TraceFailure(reason=_described(error))
        return ParseResult(outcomes=(failure,) * len(outcomes))
    return ParseResult(outcomes=tuple(outcomes), artifacts=artifacts)


def _parse(request: ParseRequest, *, use_kernel: bool) -> ParsedOutcome | TraceFailure:
    try:
        failpoint("worker:parse:before", request.path)
        return ParsedOutcome(parsed=parse_trace(request, use_kernel=use_kernel))
    except TraceGoneError as error:
        return TraceFailure(reason=str(error), gone=True)
    except (CoreError, OSError) as error:
        return TraceFailure(reason=_described(error))
    except Exception as error:  # noqa: BLE001 - a fault of the parser costs the trace, by its name
        traceback.print_exc()
        return TraceFailure(reason=f"the parser failed: {_described(error)}")


def _described(error: Exception) -> str:
    """Return what people read: they know the path, and the kind of our own errors says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, CoreError) else f"{type(error).__name__}: {error}"


def _kernel_is_there() -> bool:
    """Return whether the kernel can be used now; compiling it is somebody else's work, and until
    then the reference reads every line, slower and with the same result."""
    try:
        if not kernel_cache.is_compiled(os.environ):
            return False
        kernel_cache.prepare(os.environ, os.geteuid())
    except CoreError:
        return False  # whoever compiles it says why
    return True


class _KernelChoice:
    """Whether a job is read by the kernel: always once it is loaded, and it is loaded when as much
    has come as loading costs."""

    def __init__(self) -> None:
        self._bytes_before = 0

    def __call__(self, job: ParseJob) -> bool:
        if kernel_cache.is_loaded():
            return True
        self._bytes_before += sum(_size(request.path) for request in job.requests)
        return self._bytes_before > _LOADING_COSTS_BYTES and _kernel_is_there()


def _size(path: bytes) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # reading it says what is wrong


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(1 << 20, size - len(parts)))
        if not part:
            sys.exit(0)
        parts += part
    return bytes(parts)


def main(descriptor: int, parent: int) -> None:
    """Serve jobs from the socket *descriptor* until it closes or the process *parent* dies."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_kernel = _KernelChoice()
    decoder = msgspec.msgpack.Decoder(ParseJob)
    encoder = msgspec.msgpack.Encoder()
    with socket.socket(fileno=descriptor) as connection:
        while True:
            if not select.select([connection], [], [], _IDLE_SECONDS)[0]:
                _kernel_is_there()  # now nobody has to wait for it
            (size,) = FRAME.unpack(_receive_exactly(connection, FRAME.size))
            job = decoder.decode(_receive_exactly(connection, size))
            result = encoder.encode(run_job(job, use_kernel=use_kernel(job)))
            connection.sendall(FRAME.pack(len(result)) + result)
