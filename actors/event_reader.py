"""A reader of events: a process that reads chunks of traces for the daemon's answers.

Decoding lines holds the interpreter's lock, so it has an interpreter of its own. It is started by
:mod:`reader_pool` with this module as its only entry, and speaks over one inherited socket. A frame
is a length (u32, big endian), a kind of one byte and a payload: in comes a :class:`ReadOrder`; out
come its batches, each an Arrow IPC message without its schema, then an end or an error. The socket
bounds what it reads ahead. It ends when the socket closes, and dies with its parent.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

import msgspec
import pyarrow as pa

from dftindexd.actors.child_process import die_with_parent
from dftindexd.actors.read_order import (
    BATCH,
    END,
    ERROR,
    READ_FRAME,
    ReadFailure,
    ReadOrder,
)
from dftindexd.index.errors import CoreError
from dftindexd.index.query.event_plan import (
    EventQuery,
    TraceChunks,
    TraceExplanation,
    TracePlan,
)
from dftindexd.index.query.event_scan import EventScan, LineScan
from dftindexd.index.trace.trace_file import TraceFile, open_trace

__all__ = ("batches_of", "main")

_REPLY: Final = msgspec.msgpack.Encoder()


def batches_of(order: ReadOrder) -> Iterator[pa.RecordBatch]:
    """Yield the batches of *order*.

    :raises CoreError: a trace is gone, changed, or not what the store says.
    :raises OSError: a trace cannot be read.
    """

    def opened(wanted: TraceChunks) -> AbstractContextManager[TraceFile]:
        return open_trace(os.path.join(order.root, wanted.path))

    query = EventQuery(
        order.query,
        predicates=order.predicates,
        lines=order.lines,
        text_range=order.text_range,
    )
    scan = LineScan(query) if order.columns is None else EventScan(query, order.columns)
    return scan.batches((_plan(order.root, wanted) for wanted in order.traces), opened)


def _plan(root: bytes, wanted: TraceChunks) -> TracePlan:
    path = os.path.join(root, wanted.path)
    return TracePlan(wanted, TraceExplanation(path.decode("utf-8", "backslashreplace")))


def _failure(error: Exception) -> ReadFailure:
    if isinstance(error, CoreError):
        return ReadFailure(kind=type(error).__name__, message=error.message, hint=error.hint)
    if isinstance(error, OSError) and error.filename is not None:
        return ReadFailure(
            kind="OSError",
            message=f"{os.fsdecode(error.filename)} cannot be read: {error.strerror}",
            hint="see why the daemon's user cannot read it",
        )
    return ReadFailure(kind=type(error).__name__, message=f"{type(error).__name__}: {error}")


def _answer(order: ReadOrder, send: Callable[[bytes, bytes | memoryview], None]) -> None:
    try:
        for batch in batches_of(order):
            send(BATCH, memoryview(batch.serialize()))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # noqa: BLE001 - whoever asked gets it, whatever it is
        send(ERROR, _REPLY.encode(_failure(error)))
    else:
        send(END, b"")


def main(descriptor: int, parent: int) -> None:
    """Serve orders from the socket *descriptor* until it closes or the process *parent* dies."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = msgspec.msgpack.Decoder(ReadOrder)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as incoming:

        def send(kind: bytes, payload: bytes | memoryview) -> None:
            connection.sendall(READ_FRAME.pack(len(payload), kind))
            connection.sendall(payload)

        # The millions of objects that lines decode to are never part of a cycle.
        gc.disable()
        while len(header := incoming.read(READ_FRAME.size)) == READ_FRAME.size:
            size, _ = READ_FRAME.unpack(header)
            try:
                _answer(orders.decode(incoming.read(size)), send)
            except (BrokenPipeError, ConnectionResetError):  # nobody wants it any more
                return
            gc.collect()
