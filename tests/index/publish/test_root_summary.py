"""What describes all traces of a published store together."""

from __future__ import annotations

from dftindexd.index.publish.root_rows import RootSummary
from dftindexd.index.publish.summaries import Summary


def _trace(*pids: int) -> Summary:
    return Summary(pids=set(pids))


def test_for_one_worker_every_trace_has_the_smallest_process_of_all() -> None:
    root = RootSummary()
    for place, trace in ((2, _trace()), (0, _trace(7, 9)), (1, _trace(5))):
        root.add(place, trace)
    assert root.rows_for_one_worker() == [
        ("manifest", b"P|\0\0\0\1", bytes([3, 5, 7, 9])),
        ("manifest", b"P|\0\0\0\2", bytes([1, 5])),
        ("manifest", b"P|\0\0\0\3", bytes([1, 5])),
    ]


def test_traces_without_processes_go_to_no_certain_worker() -> None:
    root = RootSummary()
    root.add(0, _trace())
    assert root.rows_for_one_worker() == []
