"""Messages to bytes and back, and what cannot be read."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dftindexd.protocol.codec import (
    REQUEST_TAGS,
    decode_error,
    decode_reply,
    decode_request,
    encode_error,
    encode_reply,
    encode_request,
)
from dftindexd.protocol.errors import (
    DftIndexError,
    InvalidArgumentError,
    NotFoundError,
    ProtocolError,
)
from dftindexd.protocol.framing import MAX_REQUEST_BYTES
from dftindexd.protocol.requests import (
    AggregationRequest,
    AnyRequest,
    Ping,
    PingResult,
    WatchRequest,
    WatchResult,
)


def test_a_request_comes_back_as_it_was() -> None:
    request = AggregationRequest(path="/traces", kind="system", group_by=("a", "b"), query="x == 1")
    assert decode_request(encode_request(request)) == request


def test_a_reply_comes_back_as_the_type_its_request_declares() -> None:
    reply = WatchResult(root="/traces", added=True)
    assert decode_reply(WatchRequest(path="/traces"), encode_reply(reply)) == reply


def test_every_request_has_a_name_of_its_own_on_the_wire() -> None:
    assert len(set(REQUEST_TAGS)) == len(typing.get_args(AnyRequest))


def test_fields_of_a_newer_daemon_are_ignored() -> None:
    reply = PingResult(pid=1, version="9", uptime_seconds=1.0, ready=True, caught_up=True)
    newer = {**msgspec.structs.asdict(reply), "mood": "fine"}
    assert decode_reply(Ping(), msgspec.msgpack.encode(newer)) == reply


@given(st.binary(max_size=300))
# Invalid UTF-8, deep nesting: msgspec raises neither as its own error.
@example(b"\x81\xa4type\xa2\xff\xfe")
@example(b"\x81\xa1x" + b"\x91" * 5000 + b"\x01")
def test_bytes_that_are_no_request_are_a_protocol_error(garbage: bytes) -> None:
    with pytest.raises(ProtocolError, match="the request cannot be read"):
        decode_request(garbage)


def test_an_unknown_request_is_named() -> None:
    with pytest.raises(ProtocolError, match="'dance'"):
        decode_request(msgspec.msgpack.encode({"type": "dance"}))


def test_a_reply_of_another_shape_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="the reply to ping cannot be read"):
        decode_reply(Ping(), msgspec.msgpack.encode({"pid": "no number"}))


def test_a_path_that_is_not_utf8_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgumentError, match="not UTF-8"):
        encode_request(WatchRequest(path="/traces/\udcff"))


def test_a_request_over_the_limit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InvalidArgumentError, match=f"the limit is {MAX_REQUEST_BYTES}"):
        encode_request(WatchRequest(path="/" + "x" * MAX_REQUEST_BYTES))


def test_an_error_keeps_its_kind_text_and_hint() -> None:
    error = decode_error(encode_error("not-found", "no root covers /x", "watch it first"))
    assert isinstance(error, NotFoundError)
    assert str(error) == "no root covers /x; watch it first"


def test_the_code_of_a_newer_daemon_gives_the_root_of_all_errors() -> None:
    error = decode_error(encode_error("from-the-future", "what now"))
    assert type(error) is DftIndexError
    assert error.message == "what now"


def test_an_error_text_that_is_too_long_or_not_utf8_can_still_be_sent() -> None:
    error = decode_error(encode_error("internal", "\udcff" + "x" * 10**6))
    assert error.message.startswith("\\udcffxxx")
    assert len(error.message) < 10**4


def test_an_error_that_cannot_be_read_is_a_protocol_error() -> None:
    assert isinstance(decode_error(b"\xc1"), ProtocolError)
