"""Calls as spans of OpenTelemetry, in the JSON encoding of its protocol (OTLP).

One request a line (``resourceSpans``), as OTLP's file format has it; each is whole by itself, so
that a collector's receiver of files reads them, and each can be posted to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa

from dftindexd import __version__
from dftindexd.client.exports.source import Process
from dftindexd.client.exports.values import values_of

__all__ = ("SPAN_COLUMNS", "otlp_lines")

SPAN_COLUMNS: Final = (
    *("trace_id", "span_id", "parent_span_id", "name", "target"),
    *("begin", "end", "status", "properties", "stream_id"),
)

_INTERNAL: Final = 1
_ERROR: Final = 2
_LEAST, _MOST = -(2**63), 2**63 - 1

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

_Json = dict[str, Any]


def otlp_lines(calls: Iterable[tuple[Process, pa.RecordBatch]]) -> Iterator[bytes]:
    """Yield lines of spans, one or more a process; *calls* have :data:`SPAN_COLUMNS`."""
    for process, batch in calls:
        if batch.num_rows:
            # One by one: a batch of spans as objects would be hundreds of thousands of them.
            spans = msgspec.Raw(b"[%b]" % b",".join(map(_encode, _spans(batch))))
            scope = {"scope": {"name": "dftindexd", "version": __version__}, "spans": spans}
            resource = {"resource": _resource(process), "scopeSpans": [scope]}
            yield _encode({"resourceSpans": [resource]}) + b"\n"


def _resource(process: Process) -> _Json:
    """Return a process by the names of OpenTelemetry's semantic conventions."""
    about: dict[str, Any] = {
        "service.name": process.exe or "unknown_service",
        "service.instance.id": process.id,
        "host.name": process.host,
        "process.pid": process.pid,
        "process.executable.name": process.exe,
        "process.command_line": process.cmd.replace(";", " "),
        "dftracer.version": process.version,
    }
    return {"attributes": _attributes({key: one for key, one in about.items() if one})}


def _spans(batch: pa.RecordBatch) -> Iterator[_Json]:
    columns = (values_of(batch, name) for name in SPAN_COLUMNS)
    for trace, own, parent, name, cat, begin, end, status, args, stream in zip(
        *columns, strict=True
    ):
        about = {"thread.id": int(stream.rpartition(":")[2]), "dftracer.cat": cat}
        if args:
            about |= {f"dftracer.args.{key}": one for key, one in _decode(args).items()}
        span = {
            "traceId": trace.hex(),
            "spanId": own.hex(),
            "name": name,
            "kind": _INTERNAL,
            "startTimeUnixNano": str(begin),
            "endTimeUnixNano": str(end),
            "attributes": _attributes(about),
        }
        if parent is not None:
            span["parentSpanId"] = parent.hex()
        if status == "Error":
            span["status"] = {"code": _ERROR}
        yield span


def _attributes(values: Mapping[str, Any]) -> list[_Json]:
    return [{"key": key, "value": _value(one)} for key, one in values.items()]


def _value(value: Any) -> _Json:
    """Return a value with its type; whole numbers are texts, since JSON's have 53 bits."""
    kind = value.__class__
    if kind is str:
        return {"stringValue": value}
    if kind is int and _LEAST <= value <= _MOST:
        return {"intValue": str(value)}
    if kind is int or kind is float:
        return {"doubleValue": float(value)}
    if kind is bool:
        return {"boolValue": value}
    if kind is dict:
        return {"kvlistValue": {"values": _attributes(value)}}
    return {} if value is None else {"arrayValue": {"values": [_value(one) for one in value]}}
