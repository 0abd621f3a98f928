"""A parser worker: a process that reads traces for the daemon and never opens its store.

It is started by ``parser_pool`` with this module as its only entry, so that the caller's own
``__main__`` is never run, and speaks over one inherited socket: a frame is a length (u32, big
endian) and a msgpack message, a :class:`ParseJob` in and a :class:`ParseResult` out. It ends when
the socket closes, and dies with its parent.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from typing import Final

import msgspec

from dftindexd.actors.child_process import die_with_parent
from dftindexd.actors.commands import ParsedOutcome, ParseJob, ParseResult, TraceFailure
from dftindexd.actors.worker_process import FRAME
from dftindexd.index.errors import CoreError, StoreReadOnlyError, TraceGoneError
from dftindexd.index.failpoints import failpoint
from dftindexd.index.model import ParseRequest
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.sst import SstSink
from dftindexd.index.trace import kernel_cache

__all__ = ("INLINE_BYTES", "main", "run_job")

#: Up to this many bytes of rows travel with the result; more go into SST files.
INLINE_BYTES: Final = 1 << 20


def run_job(job: ParseJob, *, use_kernel: bool) -> ParseResult:
    """Read every trace of *job*; one that cannot be read does not stop the others."""
    outcomes: list[ParsedOutcome | TraceFailure] = []
    sink = SstSink(job.staging, job.stem)
    try:
        for request in job.requests:
            sink.begin_trace()
            outcome = _parse(request, sink, use_kernel=use_kernel)
            if isinstance(outcome, TraceFailure):
                sink.drop()
            outcomes.append(outcome)
        if not sink.files and sink.size <= INLINE_BYTES:
            return ParseResult(outcomes=tuple(outcomes), rows=tuple(sink.rows))
        sink.write()
    except StoreReadOnlyError as error:
        sink.discard()
        failure = TraceFailure(reason=str(error))
        outcomes += [failure] * (len(job.requests) - len(outcomes))
        return ParseResult(outcomes=tuple(outcomes), staging_error=str(error))
    except CoreError as error:
        sink.discard()
        failure = TraceFailure(reason=_described(error))
        return ParseResult(outcomes=(failure,) * len(job.requests))
    return ParseResult(outcomes=tuple(outcomes), artifacts=sink.artifacts())


def _parse(
    request: ParseRequest, sink: SstSink, *, use_kernel: bool
) -> ParsedOutcome | TraceFailure:
    try:
        failpoint("worker:parse:before", request.path)
        return ParsedOutcome(parsed=parse_trace(request, use_kernel=use_kernel, sink=sink))
    except StoreReadOnlyError:
        raise  # no trace is to blame
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


def _has_kernel() -> bool:
    """Have the kernel loaded, if it is there: compiling it is somebody else's work, and until then
    the reference reads every line, slower and with the same result."""
    try:
        kernel_cache.load()
    except CoreError:
        return False  # whoever compiles it says why
    return True


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(min(1 << 20, size - len(parts)))
        except ConnectionResetError:  # it died with something unread
            sys.exit(0)
        if not part:
            sys.exit(0)
        parts += part
    return bytes(parts)


def main(descriptor: int, parent: int, niceness: int) -> None:
    """Serve jobs from the socket *descriptor* until it closes or the process *parent* dies."""
    die_with_parent(parent)
    os.nice(niceness)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _has_kernel()  # before the first job comes: now nobody waits for it
    decoder = msgspec.msgpack.Decoder(ParseJob)
    encoder = msgspec.msgpack.Encoder()
    with socket.socket(fileno=descriptor) as connection:
        while True:
            (size,) = FRAME.unpack(_receive_exactly(connection, FRAME.size))
            job = decoder.decode(_receive_exactly(connection, size))
            result = encoder.encode(run_job(job, use_kernel=_has_kernel()))
            try:
                connection.sendall(FRAME.pack(len(result)) + result)
            except (BrokenPipeError, ConnectionResetError):  # nobody wants it any more
                sys.exit(0)
