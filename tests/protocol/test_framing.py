"""Framing: whatever was cut, or made up, frames come out whole or a ProtocolError does."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dftindexd.protocol.errors import ProtocolError
from dftindexd.protocol.framing import (
    FROM_CLIENT,
    FROM_DAEMON,
    HEADER_BYTES,
    MAX_DATA_BYTES,
    MAX_REQUEST_BYTES,
    MAX_REQUEST_ID,
    Decoder,
    Frame,
    Kind,
    decode_credit,
    encode_credit,
    encode_data,
    encode_frame,
)

frames = st.builds(
    Frame,
    kind=st.sampled_from([Kind.REPLY, Kind.ERROR, Kind.DATA]),
    request_id=st.integers(0, MAX_REQUEST_ID),
    payload=st.binary(max_size=200),
    memory=st.none(),
)


def drain(decoder: Decoder) -> list[Frame]:
    """Return all whole frames that the decoder holds."""
    found = []
    while (frame := decoder.next_frame()) is not None:
        found.append(frame)
    return found


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 40), max_size=60))
def test_frames_come_out_as_they_went_in_however_the_bytes_were_cut(
    sent: list[Frame], cuts: list[int]
) -> None:
    stream = b"".join(encode_frame(*frame[:3]) for frame in sent)
    decoder = Decoder(FROM_DAEMON)
    received: list[Frame] = []
    for size in cuts:
        piece, stream = stream[:size], stream[size:]
        decoder.feed(piece)
        received += drain(decoder)
    decoder.feed(stream)
    received += drain(decoder)
    assert received == sent
    assert decoder.pending_bytes == 0


@given(st.binary(max_size=400))
def test_garbage_gives_frames_or_a_protocol_error_and_nothing_else(garbage: bytes) -> None:
    decoder = Decoder(FROM_CLIENT)
    decoder.feed(garbage)
    try:
        received = drain(decoder)
    except ProtocolError:
        return
    used = sum(HEADER_BYTES + len(frame.payload) for frame in received)
    assert used + decoder.pending_bytes == len(garbage)


@given(st.lists(frames, min_size=1, max_size=4), st.data())
def test_a_mutated_stream_never_raises_anything_but_a_protocol_error(
    sent: list[Frame], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(encode_frame(*frame[:3]) for frame in sent))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    decoder = Decoder(FROM_DAEMON)
    decoder.feed(bytes(stream))
    try:
        received = drain(decoder)
    except ProtocolError as error:
        assert "frame" in error.message  # noqa: PT017 - an error is allowed, not expected
    else:
        assert len(received) <= len(stream) // HEADER_BYTES


def test_a_huge_length_is_refused_by_its_header_without_making_room_for_it() -> None:
    decoder = Decoder(FROM_CLIENT)
    tracemalloc.start()
    try:
        decoder.feed(struct.pack(">IBI", 2**32 - 1, Kind.REQUEST, 1))
        with pytest.raises(
            ProtocolError, match=f"4294967295 bytes, the limit is {MAX_REQUEST_BYTES}"
        ):
            decoder.next_frame()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_payload_of_exactly_the_limit_passes() -> None:
    decoder = Decoder(FROM_CLIENT)
    decoder.feed(encode_frame(Kind.REQUEST, 7, b"x" * MAX_REQUEST_BYTES))
    frame = decoder.next_frame()
    assert frame is not None
    assert len(frame.payload) == MAX_REQUEST_BYTES


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.ERROR, Kind.DATA, Kind.END, 0, 8, 255])
def test_a_client_may_not_send_what_only_the_daemon_sends(kind: int) -> None:
    decoder = Decoder(FROM_CLIENT)
    decoder.feed(struct.pack(">IBI", 0, kind, 1))
    with pytest.raises(ProtocolError, match=f"kind {int(kind)} is not allowed"):
        decoder.next_frame()


@given(st.integers(0, 3 * MAX_DATA_BYTES))
def test_data_is_cut_into_frames_of_at_most_the_limit(size: int) -> None:
    decoder = Decoder(FROM_DAEMON)
    sizes = []
    for piece in encode_data(9, bytes(size)):
        decoder.feed(piece)
        (frame,) = drain(decoder)
        sizes.append(len(frame.payload))
    assert sum(sizes) == size
    assert all(0 < each <= MAX_DATA_BYTES for each in sizes)


@given(st.integers(0, 2**32 - 1))
def test_a_credit_says_what_it_grants(granted: int) -> None:
    decoder = Decoder(FROM_CLIENT)
    decoder.feed(encode_credit(3, granted))
    frame = decoder.next_frame()
    assert frame is not None
    assert decode_credit(frame.payload) == granted


def test_a_credit_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ProtocolError, match="a credit frame has 3 bytes, not 4"):
        decode_credit(b"abc")
