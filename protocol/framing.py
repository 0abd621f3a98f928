"""Frames: how messages of many requests share one byte stream. Pure, no I/O.

A frame is a header of nine bytes and a payload. The header holds, big-endian, the length of the
payload (u32), the kind (u8) and the id of the request it belongs to (u32). Ids are chosen by the
client, from 1, and are not used again while an answer may be on its way; 0 stands for the
connection itself.

Each direction allows certain kinds and, for each, a largest payload. A header that breaks either
is refused before any room is made for what it announces.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dftindexd.protocol.errors import ProtocolError

__all__ = (
    "CONNECTION_ID",
    "FROM_CLIENT",
    "FROM_DAEMON",
    "HEADER_BYTES",
    "MAX_DATA_BYTES",
    "MAX_REPLY_BYTES",
    "MAX_REQUEST_BYTES",
    "MAX_REQUEST_ID",
    "WINDOW_FRAMES",
    "Decoder",
    "Frame",
    "Kind",
    "decode_credit",
    "decode_memory",
    "encode_credit",
    "encode_data",
    "encode_frame",
    "encode_memory",
)

_HEADER = struct.Struct(">IBI")
_CREDIT = struct.Struct(">I")
_SIZE = struct.Struct(">Q")

HEADER_BYTES = _HEADER.size
CONNECTION_ID = 0
MAX_REQUEST_ID = 2**32 - 1
MAX_REQUEST_BYTES = 1 << 20
MAX_REPLY_BYTES = 16 << 20
MAX_DATA_BYTES = 1 << 20
# Data frames of one answer that may be on their way before the client grants more.
WINDOW_FRAMES = 8


class Kind(enum.IntEnum):
    """What a frame carries."""

    REQUEST = 1
    REPLY = 2
    ERROR = 3
    DATA = 4
    END = 5
    CANCEL = 6
    CREDIT = 7
    MEMORY = 8


# The kinds that may arrive from each side, and the largest payload of each in bytes.
FROM_CLIENT: Mapping[Kind, int] = {
    Kind.REQUEST: MAX_REQUEST_BYTES,
    Kind.CANCEL: 0,
    Kind.CREDIT: _CREDIT.size,
}
FROM_DAEMON: Mapping[Kind, int] = {
    Kind.REPLY: MAX_REPLY_BYTES,
    Kind.ERROR: MAX_REQUEST_BYTES,
    Kind.DATA: MAX_DATA_BYTES,
    Kind.END: 0,
    Kind.MEMORY: _SIZE.size,
}


class Frame(NamedTuple):
    """One frame, whole; ``memory`` is what a memory frame shares, once it is mapped."""

    kind: Kind
    request_id: int
    payload: bytes
    memory: memoryview | None = None


def encode_frame(kind: Kind, request_id: int, payload: bytes | memoryview = b"") -> bytes:
    """Return the bytes of one frame."""
    return b"".join((_HEADER.pack(len(payload), kind, request_id), payload))


def encode_data(request_id: int, data: bytes) -> Iterator[bytes]:
    """Cut *data* into data frames of at most ``MAX_DATA_BYTES`` each."""
    view = memoryview(data)
    for start in range(0, len(view), MAX_DATA_BYTES):
        yield encode_frame(Kind.DATA, request_id, view[start : start + MAX_DATA_BYTES])


def encode_credit(request_id: int, frames: int) -> bytes:
    """Return the frame that lets the daemon send *frames* more data frames of one answer."""
    return encode_frame(Kind.CREDIT, request_id, _CREDIT.pack(frames))


def decode_credit(payload: bytes) -> int:
    """Return the number of data frames that a credit frame grants."""
    if len(payload) != _CREDIT.size:
        raise ProtocolError(f"a credit frame has {len(payload)} bytes, not {_CREDIT.size}")
    (frames,) = _CREDIT.unpack(payload)
    return int(frames)


def encode_memory(request_id: int, size: int) -> bytes:
    """Return the frame that a descriptor of *size* bytes of sealed memory goes with."""
    return encode_frame(Kind.MEMORY, request_id, _SIZE.pack(size))


def decode_memory(payload: bytes) -> int:
    """Return how many bytes of memory a memory frame shares."""
    if len(payload) != _SIZE.size:
        raise ProtocolError(f"a memory frame has {len(payload)} bytes, not {_SIZE.size}")
    (size,) = _SIZE.unpack(payload)
    return int(size)


class Decoder:
    """Turns the bytes of one direction into frames, however they were cut on the way.

    It holds at most one unfinished frame beside what was fed last, so its memory is bounded by the
    largest payload of *allowed*. After a :class:`ProtocolError` the stream cannot be read on.
    """

    def __init__(self, allowed: Mapping[Kind, int]) -> None:
        self._allowed = allowed
        self._buffer = bytearray()

    @property
    def pending_bytes(self) -> int:
        """Bytes that were fed and are not part of a returned frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or None until more bytes are fed.

        Raises:
            ProtocolError: the header names a kind that this side may not send, or a payload over
                the limit of its kind.
        """
        if len(self._buffer) < HEADER_BYTES:
            return None
        length, kind_number, request_id = _HEADER.unpack_from(self._buffer)
        kind = self._checked_kind(kind_number, length)
        end = HEADER_BYTES + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[HEADER_BYTES:end])
        del self._buffer[:end]
        return Frame(kind, request_id, payload)

    def _checked_kind(self, number: int, length: int) -> Kind:
        limit = self._allowed.get(number)  # type: ignore[call-overload]
        if limit is None:
            raise ProtocolError(
                f"a frame of kind {number} is not allowed here",
                "the other side does not speak the protocol of dftindexd",
            )
        kind = Kind(number)
        if length > limit:
            raise ProtocolError(
                f"a {kind.name.lower()} frame announces {length} bytes, the limit is {limit}"
            )
        return kind
