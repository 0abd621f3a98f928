"""Which transfers make which connections, and where each begins."""

from __future__ import annotations

from typing import Any

import msgspec

from dftindexd.index.query.event_fields import Event
from dftindexd.views.net_spans import net_spans
from dftindexd.views.spans import Calls, FileNames
from tests.views.made import call


def thread(stream: str, *lines: bytes, trace: int = 0) -> Calls:
    """Return the calls of a thread, from the lines of a trace."""
    calls = Calls(stream)
    for number, line in enumerate(lines):
        record = msgspec.json.decode(line)
        calls.add(Event(record, record["args"], number), trace, "block")
    return calls


def moved(name: str, ts: int, ret: int, fhash: str | None = "f1", **fields: Any) -> bytes:
    """Return the line of a call that takes one microsecond."""
    return call(name, ts, 1, args={"fhash": fhash, "ret": ret}, **fields)


def rows(*threads: Calls, names: FileNames | None = None) -> list[dict[str, Any]]:
    return net_spans("p", threads, names or {}).to_pylist()


def calls_of(found: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return [
        (row["connection_name"], row["begin_bits"], row["end_bits"])
        for row in found
        if row["kind"] == "rpc"
    ]


def test_without_transfers_there_are_no_rows() -> None:
    assert rows() == []
    assert rows(thread("t", moved("open64", 1, 3), moved("read", 2, -1))) == []


def test_a_transfer_of_nothing_is_one() -> None:
    assert [row["bit_size"] for row in rows(thread("t", moved("read", 1, 0)))] == [0, 0, 0]


def test_each_transfer_begins_where_the_one_before_it_ended() -> None:
    late, early = moved("read", 20, 3), moved("read", 10, 5)
    assert calls_of(rows(thread("t", late, early))) == [("f1", 0, 40), ("f1", 40, 64)]


def test_each_thread_begins_where_the_one_before_it_ended() -> None:
    found = rows(thread("b", moved("read", 1, 2)), thread("a", moved("read", 9, 3)))
    threads = [(row["name"], row["begin_bits"]) for row in found if row["kind"] == "object"]
    assert threads == [("a", 0), ("b", 24)]
    assert calls_of(found) == [("f1", 0, 24), ("f1", 0, 16)]


def test_reading_and_writing_of_a_file_are_two_connections() -> None:
    found = rows(thread("t", moved("write", 1, 1), moved("read", 2, 1), moved("fwrite", 3, 1)))
    connections = [row for row in found if row["kind"] == "connection"]
    assert [(row["is_outgoing"], row["bit_size"]) for row in connections] == [
        (False, 8),
        (True, 16),
    ]


def test_files_are_told_apart_by_name_else_by_hash() -> None:
    own = thread("t", moved("read", 1, 1), moved("read", 2, 1, "f2"), moved("read", 3, 1, None))
    other = thread("u", moved("read", 4, 1), moved("read", 5, 1, "f3"), trace=1)
    names = {(0, "f1"): "/one", (1, "f1"): "/two", (1, "f3"): "/one"}
    found = rows(own, other, names=names)
    connections = [row for row in found if row["kind"] == "connection"]
    assert [(row["name"], row["bit_size"]) for row in connections] == [
        *(("", 8), ("/one", 16), ("/two", 8), ("f2", 8))
    ]


def test_only_posix_and_stdio_move_bytes() -> None:
    lines = [moved("read", at, 1, cat=cat) for at, cat in enumerate(("app", "POSIX", "STDIO"))]
    assert len(calls_of(rows(thread("t", *lines)))) == 2


def test_a_span_lasts_from_the_first_transfer_in_it_to_the_end_of_the_last() -> None:
    found = rows(thread("t", moved("read", 5, 1), moved("read", 30, 1), moved("write", 90, 1)))
    times = [(row["begin_time"].value, row["end_time"].value) for row in found]
    reads, writes = [(5000, 31000)] * 2, [(90000, 91000)] * 3
    assert times == [*reads, (5000, 6000), (30000, 31000), *writes]


def test_spans_are_numbered_over_all_connections() -> None:
    found = rows(thread("t", moved("read", 1, 1), moved("write", 2, 1)))
    assert [row["span_id"] for row in found] == [1, 2, 3, 4, 5, 6]
    assert [row["parent_span_id"] for row in found] == [-1, 1, 2, -1, 4, 5]
