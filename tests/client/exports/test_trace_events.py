"""Trace events: a document that viewers take."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from dftindexd.client.exports.perfetto import trace_events
from dftindexd.client.exports.source import Process, Stream
from tests.client.exports.made import TIME, batch_of, process, spans, stream


def _events(
    streams: list[Stream],
    calls: Iterable[tuple[Stream, pa.RecordBatch]] = (),
    counters: Iterable[tuple[Process, pa.RecordBatch]] = (),
) -> list[dict[str, Any]]:
    document = json.loads(b"".join(trace_events(streams, calls, counters)))
    assert document["displayTimeUnit"] == "ms"
    found: list[dict[str, Any]] = document["traceEvents"]
    return found


def test_calls_are_complete_events_in_microseconds_with_their_arguments() -> None:
    one = stream()
    batch = spans(("a", 10, 30), ("b", 12, 12), args=['{"ret":-1,"x":{"y":[1,2]}}', None])
    events = [event for event in _events([one], [(one, batch)]) if event["ph"] != "M"]
    assert events == [
        {
            "args": {"ret": -1, "x": {"y": [1, 2]}},
            "cat": "POSIX",
            "dur": 20,
            "name": "a",
            "ph": "X",
            "pid": 7,
            "tid": 8,
            "ts": 10,
        },
        {
            "args": {},
            "cat": "POSIX",
            "dur": 0,
            "name": "b",
            "ph": "X",
            "pid": 7,
            "tid": 8,
            "ts": 12,
        },
    ]


def test_a_call_that_crosses_another_is_an_asynchronous_event() -> None:
    one = stream()
    parts = [(one, spans(("a", 0, 10), ("b", 5, 15))), (one, spans(("c", 6, 8)))]
    events = [event for event in _events([one], parts) if event["ph"] != "M"]
    found = [(event["ph"], event["name"], event["ts"], event.get("id")) for event in events]
    own = f"{one.id}:2"
    assert found == [
        ("X", "a", 0, None),
        ("b", "b", 5, own),
        ("e", "b", 15, own),
        ("X", "c", 6, None),
    ]


def test_processes_and_threads_have_their_names_and_numbers_of_their_own() -> None:
    here, there, huge = process(7), process(7, host="node2"), process(2**40)
    streams = [
        *(stream(here, 7), stream(here, 8, "io"), stream(there, 7)),
        *(stream(huge, 2**40), stream(huge, 0)),
    ]
    events = _events(streams)
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["name"] == "thread_name"
    }
    assert names == {
        (7, 7): "thread 7",
        (7, 8): "io 8",
        (1, 7): "thread 7",
        (2, 1): f"thread {2**40}",
        (2, 2): "thread 0",
    }
    processes = [event for event in events if event["name"] == "process_name"]
    assert [event["args"]["name"] for event in processes] == [
        *("app 7@node1", "app 7@node2", f"app {2**40}@node1"),
    ]
    order = [event for event in events if event["name"] == "process_sort_index"]
    assert [(event["pid"], event["args"]) for event in order] == [
        (pid, {"sort_index": number}) for number, pid in enumerate((7, 1, 2), 1)
    ]


def test_counters_have_their_unit_and_null_is_none() -> None:
    rows = [
        {"time": 5000, "name": "cpu.user_pct", "unit": "percent", "value": 12.5},
        {"time": 6000, "name": "cpu.user_pct", "unit": "percent", "value": None},
    ]
    types: dict[str, pa.DataType] = dict.fromkeys(("name", "unit"), pa.utf8())
    types |= {"time": TIME, "value": pa.float64()}
    batch = batch_of(rows, types)
    one = stream()
    counted = [event for event in _events([one], (), [(one.process, batch)]) if event["ph"] == "C"]
    assert counted == [
        {"args": {"percent": 12.5}, "name": "cpu.user_pct", "ph": "C", "pid": 7, "ts": 5}
    ]


def test_nothing_to_show_is_a_document_too() -> None:
    assert _events([]) == []
