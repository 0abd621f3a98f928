"""A parser worker: a process that reads traces for the daemon and never opens its store.

It is forked by ``fork_server`` and speaks over one inherited socket: first it says the number of
its process (u32, big endian), then a frame is a length (the same) and a msgpack message, a
:class:`ParseJob` in and a :class:`ParseResult` out. How far it is it tells by memory that it
shares. It ends when the socket closes, and dies with its parent.

Linux has priorities of threads, and lowering one again takes a privilege. So jobs for which nobody
waits are read by a thread of low priority, the others by the main thread; never two at once.
"""

from __future__ import annotations

import os
import socket
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NoReturn

import msgspec

from dftindexd.actors.commands import ParsedOutcome, ParseJob, ParseResult, TraceFailure
from dftindexd.actors.meter import JobMeter
from dftindexd.actors.shared_counts import SharedCounts
from dftindexd.actors.worker_process import FRAME, HELLO
from dftindexd.index.errors import CoreError, StoreReadOnlyError, TraceGoneError
from dftindexd.index.failpoints import failpoint
from dftindexd.index.model import ParseRequest
from dftindexd.index.segment import parse_trace
from dftindexd.index.store.sst import SstSink
from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace.trace_file import Meter

__all__ = ("BACKGROUND_NICENESS", "INLINE_BYTES", "has_kernel", "run_job", "serve")

#: How much nicer a thread is that reads what nobody waits for. The kernel takes the priority of its
#: input and output from it, where none is set.
BACKGROUND_NICENESS: Final = 10

#: Up to this many bytes of rows travel with the result; more go into SST files.
INLINE_BYTES: Final = 1 << 20


def run_job(job: ParseJob, *, use_kernel: bool, meter: JobMeter | None = None) -> ParseResult:
    """Read every trace of *job*; one that cannot be read does not stop the others."""
    outcomes: list[ParsedOutcome | TraceFailure] = []
    sink = SstSink(job.staging, job.stem)
    if meter is not None:
        meter.begin_job()
    try:
        for request in job.requests:
            sink.begin_trace()
            if meter is not None:
                meter.begin_trace(request.resume.c_offset if request.resume is not None else 0)
            outcome = _parse(request, sink, use_kernel=use_kernel, meter=meter)
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
    request: ParseRequest, sink: SstSink, *, use_kernel: bool, meter: Meter | None
) -> ParsedOutcome | TraceFailure:
    try:
        failpoint("worker:parse:before", request.path)
        parsed = parse_trace(request, use_kernel=use_kernel, sink=sink, meter=meter)
        return ParsedOutcome(parsed=parsed)
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


def has_kernel() -> bool:
    """Have the kernel loaded, if it is there, and return whether it is."""
    return not _kernel_trouble()


def _kernel_trouble() -> str:
    """Have the kernel loaded, and return why it cannot be, ``""`` where it is.

    Compiling it is somebody else's work, and until then the reference reads every line, slower and
    with the same result.
    """
    try:
        kernel_cache.load()
    except CoreError as error:
        return str(error)
    return ""


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(1 << 20, size - len(parts)))
        if not part:
            raise ConnectionResetError
        parts += part
    return bytes(parts)


def _yield_to_others() -> None:
    """Lower the priority of this thread, and of no other."""
    os.nice(BACKGROUND_NICENESS)


def serve(descriptor: int, counts: int) -> None:
    """Serve jobs from the socket *descriptor* until it closes; tell how far each is in the memory
    *counts*."""
    meter = JobMeter(SharedCounts(counts))
    meter.begin_job()  # it shows that this process has started
    with (
        socket.socket(fileno=descriptor) as connection,
        ThreadPoolExecutor(1, initializer=_yield_to_others) as background,
        suppress(ConnectionResetError, BrokenPipeError),
    ):
        _serve(connection, meter, background)


def _serve(connection: socket.socket, meter: JobMeter, background: ThreadPoolExecutor) -> NoReturn:
    decoder = msgspec.msgpack.Decoder(ParseJob)
    encoder = msgspec.msgpack.Encoder()

    def run(job: ParseJob) -> bytes:
        trouble = _kernel_trouble()
        result = run_job(job, use_kernel=not trouble, meter=meter)
        return encoder.encode(msgspec.structs.replace(result, without_kernel=trouble))

    connection.sendall(HELLO.pack(os.getpid()))
    while True:
        (size,) = FRAME.unpack(_receive_exactly(connection, FRAME.size))
        job = decoder.decode(_receive_exactly(connection, size))
        result = run(job) if job.urgent else background.submit(run, job).result()
        connection.sendall(FRAME.pack(len(result)) + result)
