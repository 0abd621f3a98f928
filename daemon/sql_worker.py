"""A process that runs SQL statements for the daemon, and makes the views that they need.

It has no store: what it needs of one it asks the daemon for. It reads traces, and reads and writes
partitions of views. A limit on its memory ends a statement that would take more, and nothing else.
It ends when its socket closes, and dies with its parent.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

import msgspec
import pyarrow as pa

from dftindexd.actors.child_process import die_with_parent
from dftindexd.actors.read_order import BATCH, END, ERROR, READ_FRAME, ReadFailure
from dftindexd.daemon.sql_order import MADE, NEED, SCHEMA, SqlNeed, SqlOrder
from dftindexd.index.errors import CoreError, TraceChangedError
from dftindexd.views.materialise import Views
from dftindexd.views.session import Session, TimeRange
from dftindexd.views.source import HashRef, Made, ResolvedName, SegmentChunks

__all__ = ("main",)

#: What the process may take in all, in bytes: the engine's share, and calls while their tree is
#: made.
_MEMORY_BYTES: Final = 4 << 30

#: So many rows are sent together, if there are as many.
_BATCH_ROWS: Final = 8192

#: How often it is told how far the making of a view is, in seconds.
_TELLING_SECONDS: Final = 0.1

_encode: Final = msgspec.msgpack.Encoder().encode


class _Daemon:
    """The other end of the socket."""

    def __init__(self, connection: socket.socket, incoming: BinaryIO) -> None:
        self._connection = connection
        self._incoming = incoming

    def send(self, kind: bytes, payload: bytes | memoryview) -> None:
        self._connection.sendall(READ_FRAME.pack(len(payload), kind))
        self._connection.sendall(payload)

    def receive(self) -> bytes | None:
        """Return the payload of the next frame, None when the socket closed."""
        header = self._incoming.read(READ_FRAME.size)
        if len(header) < READ_FRAME.size:
            return None
        size, _ = READ_FRAME.unpack(header)
        return self._incoming.read(size)

    def ask(self, need: SqlNeed) -> bytes:
        self.send(NEED, _encode(need))
        given = self.receive()
        if given is None:
            raise ConnectionResetError
        return given


class _RootSource:
    """One root of an order, as views and sessions ask for it."""

    def __init__(self, daemon: _Daemon, at: int, order: SqlOrder) -> None:
        self._daemon = daemon
        self._at = at
        self._tell_at = 0.0
        self.name = order.roots[at].name
        self.views = Views(order.roots[at].selection, self)

    def chunks(self, segments: Sequence[int]) -> list[SegmentChunks]:
        given = self._daemon.ask(SqlNeed(root=self._at, segments=tuple(segments)))
        return msgspec.msgpack.decode(given, type=list[SegmentChunks])

    def names(self, hashes: Sequence[HashRef]) -> list[ResolvedName]:
        if not hashes:
            return []
        given = self._daemon.ask(SqlNeed(root=self._at, hashes=tuple(hashes)))
        return msgspec.msgpack.decode(given, type=list[ResolvedName])

    def aggregated_key(self, name: str) -> str:
        return self._daemon.ask(SqlNeed(root=self._at, key_of=name)).decode()

    def note(self, made: Made) -> None:
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TELLING_SECONDS
            self._daemon.send(MADE, _encode(made))

    def table(self, name: str) -> pa.Table:
        given = self._daemon.ask(SqlNeed(root=self._at, table=name))
        with pa.ipc.open_stream(given) as reader:
            return reader.read_all()


def _answer(daemon: _Daemon, order: SqlOrder) -> None:
    roots = [_RootSource(daemon, at, order) for at in range(len(order.roots))]
    session = Session(roots, TimeRange(order.begin, order.end), named=order.named)
    schema, batches = session.run(order.query)
    for root in roots:
        root.views.finish()
    daemon.send(SCHEMA, memoryview(schema.serialize()))
    for batch in _joined(_limited(batches, order.rows)):
        daemon.send(BATCH, memoryview(batch.serialize()))


def _limited(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        if rows > most:
            raise CoreError(
                f"the answer has more than {most:,} rows", "add a LIMIT, or allow more rows"
            )
        yield batch


def _joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches that are worth sending: some statements give one row at a time."""
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        kept.append(batch)
        rows += batch.num_rows
        if rows >= _BATCH_ROWS:
            yield from pa.Table.from_batches(kept).combine_chunks().to_batches()
            kept, rows = [], 0
    if kept:
        yield from pa.Table.from_batches(kept).combine_chunks().to_batches()


def _failure(error: Exception) -> ReadFailure:
    if isinstance(error, CoreError):
        return ReadFailure(kind=type(error).__name__, message=error.message, hint=error.hint)
    if isinstance(error, FileNotFoundError):
        return _failure(TraceChangedError("a file that is read went away meanwhile", "ask again"))
    if isinstance(error, OSError) and error.filename is not None:
        return ReadFailure(
            kind="OSError",
            message=f"{os.fsdecode(error.filename)}: {error.strerror}",
            hint="see whether the daemon's user may read it, and whether there is room",
        )
    if isinstance(error, MemoryError):
        limit = f"{_MEMORY_BYTES >> 30} GiB of memory"
        return ReadFailure(
            kind="CoreError",
            message=f"the statement needs more than {limit}",
            hint="ask for a view of fewer events",
        )
    return ReadFailure(kind=type(error).__name__, message=f"{type(error).__name__}: {error}")


def _without_folders(failure: ReadFailure, order: SqlOrder) -> ReadFailure:
    """Return a failure that does not tell where views lie."""
    text = failure.message
    for root in order.roots:
        text = text.replace(root.selection.folder, "views")
    return msgspec.structs.replace(failure, message=text)


def main(descriptor: int, parent: int) -> None:
    """Serve orders from the socket *descriptor* until it closes or the process *parent* dies."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the engine prints of a statement that it cannot bear is no line of the daemon's log,
    # which has one of its own where this process dies of it.
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    orders = msgspec.msgpack.Decoder(SqlOrder)
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rb") as incoming:
        daemon = _Daemon(connection, incoming)
        # The millions of objects that lines decode to are never part of a cycle. What was imported
        # stays: looking through it would take as long as many a statement.
        gc.disable()
        gc.collect()
        gc.freeze()
        while (received := daemon.receive()) is not None:
            order = orders.decode(received)
            try:
                _answer(daemon, order)
            except (BrokenPipeError, ConnectionResetError):  # nobody wants it any more
                return
            except Exception as error:  # noqa: BLE001 - whoever asked gets it, whatever it is
                daemon.send(ERROR, _encode(_without_folders(_failure(error), order)))
            else:
                daemon.send(END, b"")
            gc.collect()
