"""Requests of every kind, and bytes that are almost one."""

from __future__ import annotations

import typing

import msgspec
from hypothesis import strategies as st

from dftindexd.protocol.codec import encode_request
from dftindexd.protocol.framing import Kind, encode_frame
from dftindexd.protocol.message import Request
from dftindexd.protocol.requests import AnyRequest

__all__ = ("damaged_frames", "damaged_payloads", "valid_requests")

_VALUES: dict[str, object] = {
    "directory": b"/nowhere",
    "path": "/nowhere",
    "ticket": "one",
    "protocols": (1,),
    "client": "fuzz",
    "tier": "{}",
    "parts": ("events",),
    "kind": "events",
    "chunk_bytes": 1,
    "seconds": 1.0,
    "delivery": b"/nowhere",
    "query": "SELECT 1",
}


def valid_requests() -> list[Request[object]]:
    """Return one request of every kind."""
    made = []
    for kind in typing.get_args(AnyRequest):
        needed = {
            field.encode_name: _VALUES[field.name]
            for field in msgspec.structs.fields(kind)
            if field.required
        }
        if kind.__struct_config__.tag == "index-names":
            needed["kind"] = "file"
        made.append(kind(**needed))
    return made


@st.composite
def damaged_payloads(draw: st.DrawFn) -> bytes:
    """A request's payload with some bytes changed, cut off or put in."""
    payload = bytearray(encode_request(draw(st.sampled_from(valid_requests()))))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(payload) - 1, 0)))
        match draw(st.sampled_from(["change", "cut", "insert"])):
            case "change" if payload:
                payload[place] = draw(st.integers(0, 255))
            case "insert":
                payload[place:place] = draw(st.binary(min_size=1, max_size=8))
            case _:
                del payload[place:]
    return bytes(payload)


@st.composite
def damaged_frames(draw: st.DrawFn) -> bytes:
    """Frames of damaged requests, cancels and credits, with the odd wrong header or cut end."""
    kinds = st.sampled_from([Kind.REQUEST, Kind.REQUEST, Kind.CANCEL, Kind.CREDIT])
    data = bytearray()
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(kinds)
        payload = draw(damaged_payloads()) if kind is Kind.REQUEST else draw(st.binary(max_size=4))
        data += encode_frame(kind, draw(st.integers(0, 9)), payload)
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: len(data) - draw(st.integers(0, 12))])
