"""Messages to bytes and back: msgpack, checked against the message's type. Pure, no I/O.

This is the one place where what the decoder can raise becomes a :class:`ProtocolError`.
"""

from __future__ import annotations

import functools
import typing
from typing import Any, TypeVar

import msgspec

from dftindexd.protocol.errors import (
    DftIndexError,
    InvalidArgumentError,
    ProtocolError,
    error_from_code,
)
from dftindexd.protocol.framing import MAX_REQUEST_BYTES
from dftindexd.protocol.message import Request
from dftindexd.protocol.requests import AnyRequest

__all__ = (
    "REQUEST_TAGS",
    "decode_error",
    "decode_reply",
    "decode_request",
    "encode_error",
    "encode_reply",
    "encode_request",
    "request_tag",
)

R = TypeVar("R")

_MAX_ERROR_CHARACTERS = 8000
# msgspec lets invalid UTF-8 through as UnicodeDecodeError and deep nesting as RecursionError.
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _ErrorReply(msgspec.Struct, frozen=True):
    code: str
    message: str
    hint: str = ""


_ENCODER = msgspec.msgpack.Encoder()
_ERRORS = msgspec.msgpack.Decoder(_ErrorReply)


def request_tag(kind: type[Request[Any]]) -> str:
    """Return the name of a kind of request on the wire."""
    return str(kind.__struct_config__.tag)


def _reply_type(kind: type[Request[Any]]) -> type[Any]:
    (base,) = (b for b in kind.__dict__["__orig_bases__"] if typing.get_origin(b) is Request)
    (reply,) = typing.get_args(base)
    return typing.cast("type[Any]", reply)


# Made at first use: a client decodes no requests and few kinds of replies, a daemon no replies.
@functools.cache
def _request_decoder() -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(AnyRequest)


@functools.cache
def _reply_decoder(kind: type[Request[Any]]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(_reply_type(kind))


REQUEST_TAGS = tuple(sorted(map(request_tag, typing.get_args(AnyRequest))))


def encode_request(request: Request[Any]) -> bytes:
    """Return the payload of a request frame.

    Raises:
        InvalidArgumentError: a text of the request is not UTF-8, or all of it is too long.
    """
    try:
        payload = _ENCODER.encode(request)
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{error.object!r} cannot be sent to the daemon: it is not UTF-8",
            "name a directory above it",
        ) from error
    if len(payload) > MAX_REQUEST_BYTES:
        raise InvalidArgumentError(
            f"the {request_tag(type(request))} request has {len(payload)} bytes, "
            f"the limit is {MAX_REQUEST_BYTES}",
            "ask for less at once",
        )
    return payload


def decode_request(payload: bytes) -> Any:
    """Return the request, one of ``AnyRequest``, of a request frame.

    Raises:
        ProtocolError: the payload is no request that this version knows.
    """
    try:
        return _request_decoder().decode(payload)
    except _UNDECODABLE as error:
        raise ProtocolError(f"the request cannot be read: {error}") from error


def encode_reply(reply: msgspec.Struct) -> bytes:
    """Return the payload of a reply frame."""
    return _ENCODER.encode(reply)


def decode_reply(request: Request[R], payload: bytes) -> R:
    """Return the reply to *request*.

    Raises:
        ProtocolError: the payload is not what that request is answered with.
    """
    try:
        return typing.cast("R", _reply_decoder(type(request)).decode(payload))
    except _UNDECODABLE as error:
        tag = request_tag(type(request))
        raise ProtocolError(f"the reply to {tag} cannot be read: {error}") from error


def encode_error(code: str, message: str, hint: str = "") -> bytes:
    """Return the payload of an error frame; overlong text is cut."""
    texts = (_sendable(text) for text in (code, message, hint))
    return _ENCODER.encode(_ErrorReply(*texts))


def _sendable(text: str) -> str:
    return text[:_MAX_ERROR_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def decode_error(payload: bytes) -> DftIndexError:
    """Return, ready to be raised, the error of an error frame."""
    try:
        error = _ERRORS.decode(payload)
    except _UNDECODABLE as undecodable:
        return ProtocolError(f"the daemon's error cannot be read: {undecodable}")
    return error_from_code(error.code, error.message, error.hint)
