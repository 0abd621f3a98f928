"""Whatever bytes come, the codec gives a message or one of its own errors, in bounded memory."""

from __future__ import annotations

import tracemalloc
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dftindexd.protocol.codec import decode_error, decode_reply, decode_request, encode_request
from dftindexd.protocol.errors import DftIndexError, ProtocolError
from dftindexd.protocol.framing import FROM_CLIENT, HEADER_BYTES, MAX_REQUEST_BYTES, Decoder
from dftindexd.protocol.message import Request
from dftindexd.protocol.requests import AnyRequest
from tests.protocol.requests_made import damaged_frames, damaged_payloads, valid_requests

pytestmark = pytest.mark.fuzz


def is_read(payload: bytes) -> bool:
    """Return whether *payload* is a request; nothing but a ``ProtocolError`` may say no."""
    try:
        request = decode_request(payload)
    except ProtocolError:
        return False
    return isinstance(request, typing.get_args(AnyRequest))


def test_every_request_reads_back() -> None:
    for request in valid_requests():
        assert decode_request(encode_request(request)) == request


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_a_protocol_error(payload: bytes) -> None:
    assert is_read(payload) in (True, False)


@given(damaged_payloads())
def test_a_damaged_request_is_a_request_or_a_protocol_error(payload: bytes) -> None:
    assert is_read(payload) in (True, False)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\xa4type\xa4\xff\xfe\xfd\xfc",
    ],
    ids=["nested lists", "nested maps", "list", "map", "text", "bytes", "not UTF-8"],
)
def test_depth_and_announced_lengths_take_no_room(payload: bytes) -> None:
    tracemalloc.start()
    try:
        assert not is_read(payload)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@given(st.sampled_from(valid_requests()), st.binary(max_size=200))
def test_any_bytes_are_a_reply_or_a_protocol_error(
    request_made: Request[object], payload: bytes
) -> None:
    try:
        reply = decode_reply(request_made, payload)
    except ProtocolError:
        reply = None
    assert reply is None or isinstance(reply, msgspec.Struct)
    assert isinstance(decode_error(payload), DftIndexError)


@given(damaged_frames(), st.lists(st.integers(1, 50), max_size=20))
def test_a_stream_cut_anywhere_gives_frames_or_a_protocol_error(
    data: bytes, cuts: list[int]
) -> None:
    decoder = Decoder(FROM_CLIENT)
    place = 0
    frames = 0
    try:
        for size in [*cuts, len(data)]:
            decoder.feed(data[place : place + size])
            place += size
            while (frame := decoder.next_frame()) is not None:
                frames += 1
                assert len(frame.payload) <= MAX_REQUEST_BYTES
            assert decoder.pending_bytes < HEADER_BYTES + MAX_REQUEST_BYTES
    except ProtocolError:
        assert decoder.pending_bytes <= len(data)
    assert frames * HEADER_BYTES <= len(data)
