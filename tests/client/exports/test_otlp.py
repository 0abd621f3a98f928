"""Spans of OpenTelemetry, read back with its own messages."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dftindexd.client.exports.otlp import otlp_lines
from tests.client.exports.made import TIME, batch_of, process, stream

_TYPES: dict[str, pa.DataType] = {
    "trace_id": pa.binary(16),
    **dict.fromkeys(("span_id", "parent_span_id"), pa.binary(8)),
    **dict.fromkeys(("begin", "end"), TIME),
    **dict.fromkeys(("name", "target", "status", "properties", "stream_id"), pa.utf8()),
}
_ARGS = (
    '{"ret":-1,"big":18446744073709551615,"part":0.5,"name":"a\\"b","flag":true,"none":null,'
    '"list":[1,"x"],"in":{"deep":2}}'
)


def _batch() -> pa.RecordBatch:
    one = {
        "trace_id": bytes(range(16)),
        "span_id": bytes(range(8)),
        "parent_span_id": None,
        "name": "read",
        "target": "POSIX",
        "begin": 1_700_000_000_000_001_000,
        "end": 1_700_000_000_000_009_000,
        "status": "Error",
        "properties": _ARGS,
        "stream_id": stream().id,
    }
    other = {"span_id": bytes(8), "parent_span_id": bytes(range(8)), "status": "Unset"}
    return batch_of([one, one | other | {"properties": None}], _TYPES)


def _read(line: bytes) -> ExportTraceServiceRequest:
    """Read a line; the ids, which OTLP writes in hex, are taken for base64 by the parser."""
    read = ExportTraceServiceRequest()
    json_format.Parse(line, read)
    return read


def _hex(given: bytes) -> str:
    return base64.b64encode(given).decode()


def test_spans_are_read_by_opentelemetry_s_own_messages() -> None:
    (line,) = otlp_lines([(process(), _batch())])
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    (resource,) = _read(line).resource_spans
    about = {one.key: one.value for one in resource.resource.attributes}
    assert about["service.name"].string_value == "app"
    assert about["host.name"].string_value == "node1"
    assert about["process.pid"].int_value == 7
    assert about["process.command_line"].string_value == "app run"
    (scope,) = resource.scope_spans
    assert scope.scope.name == "dftindexd"
    first, second = scope.spans
    assert (_hex(first.trace_id), _hex(first.span_id)) == (
        "000102030405060708090a0b0c0d0e0f",
        "0001020304050607",
    )
    assert (_hex(second.parent_span_id), first.parent_span_id) == (_hex(first.span_id), b"")
    assert first.name == "read"
    assert first.kind == Span.SPAN_KIND_INTERNAL
    assert first.start_time_unix_nano == 1_700_000_000_000_001_000
    assert first.end_time_unix_nano == 1_700_000_000_000_009_000
    assert first.status.code == Status.STATUS_CODE_ERROR
    assert second.status.code == Status.STATUS_CODE_UNSET


def test_attributes_have_the_types_of_the_arguments() -> None:
    (line,) = otlp_lines([(process(), _batch())])
    span = _read(line).resource_spans[0].scope_spans[0].spans[0]
    values = {one.key.removeprefix("dftracer.args."): one.value for one in span.attributes}
    assert values["thread.id"].int_value == 8
    assert values["dftracer.cat"].string_value == "POSIX"
    assert values["ret"].int_value == -1
    assert values["big"].double_value == float(2**64)
    assert values["part"].double_value == 0.5
    assert values["name"].string_value == 'a"b'
    assert values["flag"].bool_value is True
    assert values["none"].WhichOneof("value") is None
    assert [one.WhichOneof("value") for one in values["list"].array_value.values] == [
        *("int_value", "string_value"),
    ]
    assert values["in"].kvlist_value.values[0].value.int_value == 2


def test_a_batch_without_spans_is_no_line() -> None:
    assert list(otlp_lines([(process(), _batch().slice(0, 0))])) == []
    assert [json.loads(line) for line in otlp_lines([(process(), _batch())] * 2)]
