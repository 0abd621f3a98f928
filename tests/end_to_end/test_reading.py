"""Events read over the daemon: the right ones, from few chunks, as fast as they are taken."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dftindexd.client import AsyncClient
from dftindexd.protocol.errors import InvalidArgumentError, NotFoundError, QueryError
from tests.end_to_end.made_traces import event_lines, write_trace
from tests.end_to_end.running import Daemon, running_daemon, text_of, until, wait_until_gone

_FIRST_TS = 1_700_000_000_000_000


def _read(daemon: Daemon, path: Path, **arguments: Any) -> list[dict[str, Any]]:
    with daemon.client.read(path, **arguments) as batches:
        return [row for batch in batches for row in batch.to_pylist()]


def _rows_of_next(batches: Iterator[pa.RecordBatch]) -> int:
    """Return how many rows the next batch has that has any: before a reader has begun, batches
    without rows tell that it will."""
    return next(batch.num_rows for batch in batches if batch.num_rows)


def _readers(daemon: Daemon) -> list[int]:
    return daemon.running("dftindexd.actors.event_reader")


@pytest.fixture(scope="module")
def large(module_daemon: Daemon) -> Path:
    """A trace of three chunks, a small one below it, in a directory of their own."""
    directory = module_daemon.traces / "large"
    directory.mkdir()
    trace = directory / "large.pfw.gz"
    with trace.open("wb") as file:
        for member in range(20):
            lines = event_lines(20_000, first=1 + 20_000 * member)
            file.write(gzip.compress(lines, 1))
    (directory / "below").mkdir()
    write_trace(directory / "below" / "small.pfw", 10)
    module_daemon.client.wait(directory)
    return trace


def test_events_of_a_trace_come_with_the_columns_that_were_asked_for(
    module_daemon: Daemon, directory: Path
) -> None:
    trace = directory / "t.pfw.gz"
    write_trace(trace, 5)
    module_daemon.client.sync(directory)
    rows = _read(module_daemon, trace, columns=["trace", "line", "name", "ts", "ret"])
    assert rows == [
        {
            "trace": os.fspath(trace),
            "line": line,
            "name": "read",
            "ts": _FIRST_TS + 10 * (line + 1),
            "ret": 4096,
        }
        for line in range(5)
    ]
    assert {"pid", "tid", "dur", "args"} <= set(_read(module_daemon, trace)[0])


def test_what_a_growing_trace_holds_is_read(module_daemon: Daemon, directory: Path) -> None:
    trace = directory / "t.pfw"
    write_trace(trace, 3)
    module_daemon.client.sync(directory)
    write_trace(trace, 2, first=4, append=True)
    module_daemon.client.sync(directory)
    assert len(_read(module_daemon, trace)) == 5
    assert _read(module_daemon, directory, query=f"ts > {_FIRST_TS + 40}", columns=["line"]) == [
        {"line": 4}
    ]


def test_traces_of_a_directory_are_read_one_after_the_other_by_path(
    module_daemon: Daemon, large: Path
) -> None:
    rows = _read(module_daemon, large.parent, lines=(2, 4), columns=["trace", "line"])
    small = os.fspath(large.parent / "below" / "small.pfw")
    assert [(row["trace"], row["line"]) for row in rows] == [
        (small, 2),
        (small, 3),
        (os.fspath(large), 2),
        (os.fspath(large), 3),
    ]


def test_a_selective_query_reads_few_chunks_of_a_large_trace(
    module_daemon: Daemon, large: Path
) -> None:
    query = f"ts > {_FIRST_TS + 3_999_950}"
    told = module_daemon.client.explain(large, query=query)
    assert told.chunks > told.read == 1
    assert told.skipped == {"bounds ts": told.chunks - 1}
    assert told.tiers == {"statistics": told.chunks - 1}
    assert 0 < told.read_bytes < told.text_bytes == len(text_of(large))
    (detail,) = told.details
    assert (detail.path, detail.read) == (os.fspath(large), 1)
    lines = [row["line"] for row in _read(module_daemon, large, query=query, columns=["line"])]
    assert lines == list(range(399_995, 400_000))


@pytest.mark.parametrize(
    ("arguments", "tiers"),
    [
        ({"query": "name == 'nobody'"}, {"bloom"}),
        # Chunks that were committed together have a Bloom filter that is asked before.
        ({"query": "pid == 5"}, {"bloom", "manifest"}),
        ({"query": "ret < 0"}, {"statistics"}),
        ({"lines": (10**9, 10**9 + 1)}, {"checkpoints"}),
        ({"query": "name in []"}, {"query"}),
    ],
)
def test_each_tier_that_spares_a_read_is_named(
    module_daemon: Daemon, large: Path, arguments: dict[str, Any], tiers: set[str]
) -> None:
    told = module_daemon.client.explain(large.parent, **arguments)
    assert (told.traces, told.read, sum(told.tiers.values())) == (2, 0, told.chunks)
    assert told.tiers.keys() <= tiers
    assert _read(module_daemon, large.parent, **arguments) == []


def test_raw_lines_are_the_text_byte_by_byte(module_daemon: Daemon, directory: Path) -> None:
    trace = directory / "t.pfw"
    text = b"[\n" + event_lines(3) + b"\xff no event\n"
    trace.write_bytes(text)
    module_daemon.client.sync(directory)
    lines = [row["text"] for row in _read(module_daemon, trace, raw=True)]
    assert b"\n".join(lines) + b"\n" == text
    begin = text.index(b"\n") + 1
    (one,) = _read(module_daemon, trace, raw=True, bytes=(begin, begin + 1))
    assert one["text"] == text.split(b"\n")[1]
    kept = _read(module_daemon, trace, raw=True, query="name == 'read'")
    assert [row["text"] for row in kept] == text.split(b"\n")[1:4]


def test_a_client_that_takes_nothing_holds_a_reader_and_one_that_goes_frees_it(
    module_daemon: Daemon, large: Path
) -> None:
    idle = set(_readers(module_daemon))
    with module_daemon.client.read(large, columns=["json", "args"]) as batches:
        assert _rows_of_next(batches) > 0
        (reader,) = set(_readers(module_daemon)) - idle or idle
        assert module_daemon.client.ping().ready
    until(lambda: reader not in _readers(module_daemon), "the end of the reader")
    assert len(_read(module_daemon, large, lines=(0, 7))) == 7


def test_a_reader_that_dies_ends_its_answer_with_an_error_and_no_other(
    module_daemon: Daemon, large: Path
) -> None:
    with module_daemon.client.read(large, columns=["json", "args"]) as batches:
        _rows_of_next(batches)
        killed = _readers(module_daemon)
        for pid in killed:
            os.kill(pid, 9)
        wait_until_gone(killed)  # the idle ones as well, before one of them is asked
        with pytest.raises(Exception, match="was killed by signal 9; ask again"):
            list(batches)
    assert len(_read(module_daemon, large, lines=(0, 7))) == 7


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"query": "nmae == 'x'"}, QueryError, "did you mean name"),
        ({"columns": ["nmae"]}, QueryError, "no field nmae"),
        ({"query": "name = 1"}, QueryError, "a single ="),
        ({"lines": (5, 2)}, InvalidArgumentError, "lines 5 to 2 are no range"),
    ],
)
def test_what_is_no_read_is_refused_before_anything_is_read(
    module_daemon: Daemon,
    large: Path,
    arguments: dict[str, Any],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        _read(module_daemon, large, **arguments)


def test_a_trace_that_is_not_indexed_or_not_there_is_not_found(
    module_daemon: Daemon, directory: Path, tmp_path: Path
) -> None:
    assert _read(module_daemon, directory) == []
    for path in (directory / "nothing.pfw", tmp_path / "unwatched.pfw"):
        with pytest.raises(NotFoundError, match=path.name):
            _read(module_daemon, path)


@pytest.mark.anyio
async def test_an_asynchronous_client_reads_and_explains(
    module_daemon: Daemon, large: Path
) -> None:
    async with AsyncClient(module_daemon.socket) as client:
        async with client.read(large, lines=(1, 3), columns=["line"]) as batches:
            assert [row["line"] async for batch in batches for row in batch.to_pylist()] == [1, 2]
        assert (await client.explain(large, lines=(1, 3))).read == 1


def test_many_small_traces_are_read_in_several_parts_and_none_is_lost(
    module_daemon: Daemon, directory: Path
) -> None:
    for number in range(300):
        write_trace(directory / f"{number:03}.pfw", 1, first=number + 1)
    module_daemon.client.sync(directory)
    rows = _read(module_daemon, directory, columns=["ts"])
    assert [row["ts"] for row in rows] == [_FIRST_TS + 10 * number for number in range(1, 301)]
    told = module_daemon.client.explain(directory)
    assert (told.traces, told.chunks, told.read, len(told.details)) == (300, 300, 300, 100)


def test_raw_lines_on_the_command_line_are_those_of_the_trace(
    module_daemon: Daemon, directory: Path
) -> None:
    trace = directory / "t.pfw.gz"
    write_trace(trace, 30)
    module_daemon.client.sync(directory)
    done = module_daemon.run("read", trace, "--raw", "--lines", "10:12")
    assert done.stdout.encode() == b"".join(event_lines(30).splitlines(keepends=True)[10:12])


def test_a_trace_that_was_replaced_is_never_read_as_it_was(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        trace = daemon.traces / "t.pfw"
        write_trace(trace, 40_000)
        daemon.client.sync()
        with daemon.client.read(trace, columns=["name", "args"]) as batches:
            rows = _rows_of_next(batches)
            other = daemon.traces / "new"
            write_trace(other, 5)
            other.rename(trace)
            daemon.client.sync()
            # The file that was opened is read to its end: it is the one that was indexed.
            rows += sum(batch.num_rows for batch in batches)
        assert rows == 40_000
        assert len(_read(daemon, trace)) == 5
