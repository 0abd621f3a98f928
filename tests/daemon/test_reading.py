"""How an answer of events is cut into orders, and what is told of what is not read."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from dftindexd.daemon.reading import explained, parts_of
from dftindexd.index.model import FileStamp
from dftindexd.index.query.event_plan import TraceChunks, TraceExplanation
from dftindexd.index.tiers.checkpoints import Checkpoint


def _chunk(number: int) -> Checkpoint:
    return Checkpoint(
        uc_offset=number, uc_size=1, c_offset=number, c_size=1, first_line=number, num_lines=1
    )


def _trace(name: int, chunks: int) -> TraceChunks:
    return TraceChunks(
        path=b"t%d" % name,
        stamp=FileStamp(1, 1, 1, 1),
        resume=None,
        unit="US",
        chunks=tuple(map(_chunk, range(chunks))),
    )


@given(st.lists(st.integers(0, 12), max_size=8), st.integers(1, 5))
def test_parts_hold_every_chunk_once_in_order_and_no_more_than_they_may(
    sizes: list[int], most: int
) -> None:
    traces = [_trace(name, size) for name, size in enumerate(sizes)]
    parts = list(parts_of(traces, most))
    assert all(0 < sum(len(trace.chunks) for trace in part) <= most for part in parts)
    assert all(trace.chunks for part in parts for trace in part)
    assert [(trace.path, chunk) for part in parts for trace in part for chunk in trace.chunks] == [
        (trace.path, chunk) for trace in traces for chunk in trace.chunks
    ]


def test_a_batch_without_rows_is_made_without_importing_pandas() -> None:
    code = (
        "import sys, pyarrow as pa; from dftindexd.daemon.reading import batch_of; "
        "batch = batch_of(b'', pa.schema([('a', pa.utf8()), ('n', pa.int64())])); "
        "print(batch.num_rows, batch.schema.names, 'pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 ['a', 'n'] False\n"


def test_explanations_of_many_traces_add_up_and_the_most_read_come_first() -> None:
    traces = [
        TraceExplanation(f"t{number}", chunks=number + 2, text_bytes=10, read=number)
        for number in range(150)
    ]
    for trace in traces:
        trace.skipped = {"bloom name and manifest cat": 1, "bounds ts": 1}
    told = explained(traces, b"/traces", 7)
    assert (told.traces, told.chunks, told.read) == (150, 11475, 11175)
    assert (told.text_bytes, told.read_bytes) == (1500, 7)
    assert told.tiers == {"bloom": 150, "statistics": 150}
    assert [detail.path for detail in told.details[:2]] == ["/traces/t149", "/traces/t148"]
    assert len(told.details) == 100
