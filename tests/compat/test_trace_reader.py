"""The reader of traces: lines, events, Arrow; with an index, without one, and by directory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dftindexd.compat import (
    ArrowTable,
    DFTUtilsIOError,
    DFTUtilsQueryError,
    Indexer,
    JsonDictValue,
    Runtime,
    TraceReader,
)

from .writing import write_trace

EVENTS = 300


@pytest.fixture(params=["plain", "packed"])
def trace(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A trace of reads between brackets, with the name of a file."""
    return write_trace(tmp_path / ("t.pfw" if request.param == "plain" else "t.pfw.gz"), EVENTS)


def text_of(trace: Path) -> bytes:
    """Return the text of a trace, read without any of ours."""
    data = trace.read_bytes()
    return gzip.decompress(data) if trace.suffix == ".gz" else data


def _texts(views: list[memoryview]) -> list[bytes]:
    return [bytes(view) for view in views]


def _answers(reader: TraceReader) -> dict[str, Any]:
    """Return what a reader answers that must not depend on an index."""
    return {
        "lines": _texts(reader.read_lines()),
        "some": _texts(reader.read_lines(3, 5)),
        "bytes": _texts(reader.read_lines(start_byte=200, end_byte=900)),
        "both": _texts(reader.read_lines(3, 9, 200, 900)),
        "query": _texts(reader.read_lines(query="ts > 290000000")),
        "exact": b"".join(reader.iter_raw(start_byte=200, end_byte=901, line_aligned=False)),
        "raw": b"".join(reader.iter_raw(start_byte=200, end_byte=901)),
        "json": [one.to_dict() for one in reader.iter_json(query='name == "read"')],
        "arrow": pa.table(reader.read_arrow(flatten_objects=True)),
        "normal": pa.table(reader.read_arrow(normalize=True, query="dur > 0")),
        "count": reader.num_lines,
    }


def test_an_index_changes_no_answer(trace: Path) -> None:
    without = TraceReader(str(trace))
    assert not without.has_index
    answers = _answers(without)
    with_index = TraceReader(str(trace), checkpoint_size=4096, auto_build_index=True)
    assert with_index.has_index
    assert _answers(with_index) == answers
    assert len(answers["lines"]) == EVENTS + 3
    assert [json.loads(line)["ts"] for line in answers["query"]] == [
        1_000_000 * number for number in range(291, 301)
    ]


def test_ranges_are_those_of_the_text(trace: Path) -> None:
    reader, text = TraceReader(str(trace)), text_of(trace)
    lines = text.splitlines()
    assert _texts(reader.read_lines()) == lines
    assert _texts(reader.read_lines(end_line=2)) == lines[:2]
    assert _texts(reader.read_lines(EVENTS)) == lines[EVENTS - 1 :]
    assert _texts(reader.read_lines(9, 3)) == []
    assert b"".join(reader.read_raw()) == text
    assert b"".join(reader.read_raw(start_byte=10, line_aligned=False)) == text[10:]
    assert _texts(reader.read_raw(2, 3, multi_line=False)) == [line + b"\n" for line in lines[1:3]]
    pieces = reader.read_raw(buffer_size=1000)
    assert max(map(len, pieces)) <= 1000
    assert b"".join(pieces) == text
    begins = [sum(len(line) + 1 for line in lines[:count]) for count in range(3)]
    assert _texts(reader.read_lines(start_byte=begins[1], end_byte=begins[2])) == [lines[1]]
    assert _texts(reader.read_lines(start_byte=begins[1] + 1, end_byte=begins[2])) == []


def test_sizes_are_known_by_an_index_alone(trace: Path) -> None:
    reader, text = TraceReader(str(trace)), text_of(trace)
    assert reader.num_lines == EVENTS + 3
    is_plain = trace.suffix == ".pfw"
    assert (reader.get_num_lines(), reader.get_max_bytes()) == (0, len(text) if is_plain else 0)
    Indexer(str(trace.parent)).ensure_indexed()
    again = TraceReader(str(trace))
    assert again.has_index
    assert (again.get_num_lines(), again.get_max_bytes()) == (EVENTS + 3, len(text))
    assert again.num_lines == EVENTS + 3


def test_an_index_in_another_place_is_not_found_by_itself(trace: Path, tmp_path: Path) -> None:
    index = str(tmp_path / "index")
    Indexer(str(trace.parent), index_dir=index).ensure_indexed()
    assert TraceReader(str(trace), index).has_index
    assert TraceReader(str(trace), index).index_dir == index
    assert not TraceReader(str(trace)).has_index


def test_a_trace_that_grew_since_is_read_as_it_is(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "t.pfw", 10)
    Indexer(str(tmp_path)).ensure_indexed()
    with trace.open("a") as file:
        file.write('{"name": "late", "cat": "c", "ph": "X", "ts": 5, "dur": 1}\n')
    reader = TraceReader(str(trace))
    assert not reader.has_index
    assert [one["name"] for one in reader.read_json(query='name == "late"')] == ["late"]


def test_a_directory_is_read_at_any_depth(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "deeper").mkdir(parents=True)
    write_trace(folder / "a.pfw", 5, pid=1)
    write_trace(folder / "deeper" / "b.pfw.gz", 7, pid=2)
    reader = TraceReader(str(folder))
    assert (reader.has_index, reader.num_lines) == (False, 5 + 7 + 6)
    assert len(reader.read_lines(1, 2)) == 4
    assert [one["pid"] for one in reader.read_json(query='name == "read"')] == [1] * 5 + [2] * 7
    built = TraceReader(str(folder), auto_build_index=True)
    assert (built.has_index, built.get_num_lines()) == (True, 18)
    assert _texts(built.read_lines()) == _texts(reader.read_lines())


def test_an_empty_directory_has_no_lines(tmp_path: Path) -> None:
    reader = TraceReader(str(tmp_path))
    assert (reader.read_lines(), reader.num_lines, reader.has_index) == ([], 0, False)
    assert pa.table(reader.read_arrow()).schema.names == ["_extra"]
    assert pa.table(reader.read_arrow()).num_rows == 0


@pytest.mark.parametrize("name", ["none.pfw", "none.pfw.gz"])
def test_a_trace_that_is_not_there_is_an_error_of_the_read(tmp_path: Path, name: str) -> None:
    reader = TraceReader(str(tmp_path / name))
    reads: list[Callable[[], object]] = [
        reader.read_lines,
        reader.read_json,
        reader.read_raw,
        reader.read_arrow,
        lambda: reader.num_lines,
    ]
    assert (reader.has_index, reader.get_num_lines(), reader.get_max_bytes()) == (False, 0, 0)
    for read in reads:
        with pytest.raises(DFTUtilsIOError, match=name):
            read()


def test_damage_is_warned_of_and_the_rest_is_read(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    line = b'{"name": "read", "cat": "POSIX", "ph": "X", "ts": 1, "dur": 1}\n'
    trace.write_bytes(gzip.compress(line) + b"damage" * 9 + gzip.compress(line))
    with pytest.warns(RuntimeWarning, match="are not gzip"):
        lines = TraceReader(str(trace)).read_lines()
    assert _texts(lines) == [line.rstrip()] * 2


def test_a_trace_of_which_the_end_is_not_written_yet_is_read_up_to_there(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw.gz"
    trace.write_bytes(gzip.compress(b"x" * 999 + b"\n" + bytes(range(255)) * 99)[:-20])
    assert bytes(TraceReader(str(trace)).read_lines(1, 1)[0]) == b"x" * 999


def test_an_event_is_read_like_a_dictionary(trace: Path) -> None:
    reader = TraceReader(str(trace))
    event = reader.read_json(query="ts == 7000000")[0]
    assert isinstance(event, JsonDictValue)
    assert (event["name"], event["args"]["ret"], len(event), "dur" in event) == (
        *("read", 4096, 9, True),
    )
    assert isinstance(event["args"], JsonDictValue)
    assert event.keys() == list(event.to_dict())
    assert event.values()[:2] == [7, "read"]
    assert event.items()[1] == ("name", "read")
    assert (event.get("none"), event.get("none", 3), event.get("ts")) == (None, 3, 7_000_000)
    assert event.to_dict()["args"] == {"fhash": "f1", "ret": 4096}
    with pytest.raises(KeyError):
        event["none"]
    with pytest.raises(TypeError, match="not iterable"):
        iter(event)  # type: ignore[call-overload]


def test_columns_are_those_of_the_events(trace: Path) -> None:
    reader = TraceReader(str(trace))
    table = reader.read_arrow(batch_size=100, flatten_objects=True)
    assert isinstance(table, ArrowTable)
    assert (table.num_rows, table.num_batches) == (EVENTS + 1, 4)
    rows = pa.table(table)
    assert rows.schema.names == [
        *("id", "name", "cat", "pid", "tid", "ph", "args.name", "args.value"),
        *("ts", "dur", "args.fhash", "args.ret", "_extra"),
    ]
    assert rows["args.ret"].type == pa.int64()
    assert rows.column("ts")[0].as_py() is None
    batches = [pa.record_batch(batch) for batch in reader.iter_arrow(batch_size=1)]
    assert batches[0].schema.names == ["id", "name", "cat", "pid", "tid", "ph", "args"]
    assert json.loads(batches[1].column("args")[0].as_py()) == {"fhash": "f1", "ret": 4096}
    streamed = pa.RecordBatchReader.from_stream(reader.iter_arrow_stream(flatten_objects=True))
    assert streamed.read_all().combine_chunks() == rows.combine_chunks()
    assert reader.read_lines_json()[1]["args.ret"] == 4096


def test_a_column_of_several_kinds_loses_nothing(tmp_path: Path) -> None:
    lines = ['{"a": 1, "b": 1, "c": true}', '{"a": 2.5, "b": "x", "c": null}']
    lines += ['{"a": 3, "b": [1, {"z": null}], "d": 18446744073709551615}', "no event"]
    trace = tmp_path / "t.pfw"
    trace.write_text("\n".join(lines) + "\n")
    for batch_size in (1, 9):
        rows = pa.table(TraceReader(str(trace)).read_arrow(batch_size)).to_pylist()
        assert [row["a"] for row in rows] == [1.0, 2.5, 3.0]
        assert [row["b"] for row in rows] == ["1", "x", '[1,{"z":null}]']
        assert [row["c"] for row in rows] == [True, None, None]
        assert [row["d"] for row in rows] == [None, None, "18446744073709551615"]


def test_normal_columns_are_microseconds_in_the_unit_that_the_trace_names(tmp_path: Path) -> None:
    trace = tmp_path / "t.pfw"
    unit = {"name": "CM", "ph": "M", "args": {"name": "time_metric", "value": "NS"}}
    event = {"name": "read", "cat": "POSIX", "ph": "X", "ts": 5000, "dur": 2000, "args": {}}
    trace.write_text(f"[\n{json.dumps(unit)}\n{json.dumps(event)}\n")
    for reader in (TraceReader(str(trace)), TraceReader(str(trace), auto_build_index=True)):
        assert len(reader.read_lines(query="ts == 5")) == 1
        assert len(reader.read_lines(3, 3, query="ts == 5")) == 1
        (row,) = pa.table(reader.read_arrow(normalize=True, query="dur == 2")).to_pylist()
        assert (row["type"], row["ts"], row["dur"], row["te"], row["io_cat"]) == (0, 5, 2, 7, 1)


def test_arguments_are_checked_as_there(trace: Path) -> None:
    reader = TraceReader(str(trace))
    for wrong in ({"start_line": -1}, {"end_byte": -5}, {"buffer_size": 0}):
        with pytest.raises(ValueError, match="must be >= 0; buffer_size"):
            reader.read_lines(**wrong)  # type: ignore[arg-type]
    for size in (0, -3):
        with pytest.raises(ValueError, match="batch_size must be > 0"):
            reader.read_arrow(size)
        with pytest.raises(ValueError, match="batch_size must be > 0"):
            reader.read_json(batch_size=size)
    with pytest.raises(TypeError):
        reader.read_lines(1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="query must be str or None"):
        reader.read_lines(query=3)  # type: ignore[arg-type]
    for query in ("name ==", "  ", 'nonsense == "x"'):
        with pytest.raises(DFTUtilsQueryError):
            reader.iter_lines(query=query)
    with pytest.raises(TypeError, match="path must be str"):
        TraceReader(trace)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Runtime instance or None"):
        TraceReader(str(trace), runtime=3)  # type: ignore[arg-type]
    with TraceReader(str(trace), runtime=Runtime(threads=1)) as entered:
        assert entered.path == str(trace)
    assert len(entered.read_lines(query="")) == EVENTS + 3
