"""Views of traces, their Arrow files, statistics, and the other names of the module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dftindexd
from dftindexd import compat
from dftindexd.actors.log import get_log, own_output
from dftindexd.compat import (
    DFTUtilsIOError,
    DFTUtilsNotFoundError,
    DFTUtilsQueryError,
    DFTUtilsReaderError,
    Indexer,
    StatisticsQueryUtility,
    TraceReader,
    read_arrow,
    write_arrow,
)

from .writing import write_trace


def _event(number: int, name: str, cat: str, **arguments: object) -> str:
    record = {"id": number, "name": name, "cat": cat, "pid": 1, "tid": number % 3, "ph": "X"}
    times = {"ts": 1000 * number, "dur": number % 50}
    return json.dumps(record | times | {"args": arguments})


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of reads of two files, of computing and of others, in many small chunks."""
    lines = ["["]
    lines += [
        json.dumps({"name": "FH", "ph": "M", "args": {"name": f"/data/{one}", "value": one}})
        for one in ("f0", "f1")
    ]
    for number in range(1, 101):
        lines.append(_event(number, "read", "POSIX", fhash=f"f{number % 2}", ret=number))
        lines.append(_event(number, "forward", "compute", step=number))
        lines.append(_event(number, "fork", "POSIX"))
    path = tmp_path / "t.pfw"
    path.write_text("\n".join([*lines, "]"]) + "\n")
    return path


def _rows(path: str) -> list[dict[str, Any]]:
    table = read_arrow([path])
    assert table is not None
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_a_view_passes_over_chunks_that_cannot_match(trace: Path) -> None:
    reader = TraceReader(str(trace), checkpoint_size=2048)
    everything = reader.get_view_chunks()
    chunks = everything["chunks"]
    assert everything["total_checkpoints"] == len(chunks) > 5
    assert [one["checkpoint_idx"] for one in chunks] == list(range(len(chunks)))
    assert chunks[0]["start_byte"] == 0
    assert chunks[-1]["end_byte"] == trace.stat().st_size
    late = reader.get_view_chunks({"name": "late", "query": "ts > 99000"})
    assert 0 < len(late["chunks"]) < len(chunks)
    assert late["skipped_checkpoints"] == len(chunks) - len(late["chunks"])
    assert late["chunks"] == chunks[-len(late["chunks"]) :]
    nothing = reader.get_view_chunks({"query": 'name == "nothing"'})
    assert (nothing["chunks"], nothing["file_may_match"]) == ([], False)


def test_the_files_of_all_chunks_hold_every_event_once(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = write_arrow(str(trace), str(out), checkpoint_size=2048)
    assert done["total_chunks"] == len(done["files"]) > 5
    assert done["total_rows"] == done["total_events_matched"] == 302
    table = read_arrow(done["files"])
    assert table is not None
    assert sorted(row["ts"] for row in table.to_pylist() if row["ts"] is not None) == sorted(
        1000 * number for number in range(1, 101) for _ in range(3)
    )
    assert "_extra" not in table.schema.names


def test_known_views_keep_what_their_names_say(trace: Path, tmp_path: Path) -> None:
    done = TraceReader(str(trace)).write_arrow(
        str(tmp_path / "out"),
        ["io", "compute", {"name": "first", "query": "ret == 1", "include_metadata": True}],
    )
    rows = {
        name: [row["name"] for file in one["files"] for row in _rows(file)]
        for name, one in done["partitions"].items()
    }
    assert rows["io"] == ["read"] * 100 + ["FH"] * 2
    assert rows["compute"] == ["forward"] * 100
    assert rows["first"] == ["read", "FH"]  # only the name that it needs
    assert done["total_rows"] == 204
    assert done["total_bytes"] == sum(one["bytes"] for one in done["partitions"].values()) > 0
    assert (done["chunks_scanned"], done["chunks_skipped"]) == (3, 0)
    assert (
        Path(done["partitions"]["io"]["files"][0]) == tmp_path / "out" / "io" / "part-00000.arrow"
    )


def test_files_have_about_the_size_that_was_asked_for(trace: Path, tmp_path: Path) -> None:
    reader = TraceReader(str(trace), checkpoint_size=2048)
    one = reader.write_arrow(str(tmp_path / "one"), compression="none")["partitions"]["all"]
    assert len(one["files"]) == 1
    many = reader.write_arrow(str(tmp_path / "many"), chunk_size_mb=0)["partitions"]["all"]
    assert len(many["files"]) == len(reader.get_view_chunks()["chunks"])
    assert many["rows"] == one["rows"] == 302
    nothing = {"name": "none", "query": 'name == "nothing"'}
    empty = reader.write_arrow(str(tmp_path / "none"), [nothing])["partitions"]["none"]
    assert empty == {"files": [], "rows": 0, "bytes": 0}


def test_one_chunk_is_written_where_it_is_told(trace: Path, tmp_path: Path) -> None:
    reader = TraceReader(str(trace), checkpoint_size=2048)
    chunk = reader.get_view_chunks("io")["chunks"][2]
    file = str(tmp_path / "one.arrow")
    done = reader.write_view_chunk(file, **chunk, view={"query": 'cat == "compute"'})
    assert done["rows_written"] == done["events_matched"] == len(_rows(file)) > 0
    assert done["events_scanned"] > done["events_matched"]
    assert done["bytes_written"] == Path(file).stat().st_size
    with pytest.raises(DFTUtilsIOError, match="none"):
        reader.write_view_chunk(str(tmp_path / "none" / "x.arrow"), **chunk)
    with pytest.raises(TypeError, match="each chunk must be a dict"):
        reader.write_view_chunks([3], str(tmp_path))  # type: ignore[list-item]
    with pytest.raises(KeyError, match="checkpoint_idx"):
        reader.write_view_chunks([{"checkpoint_idx": 1}], str(tmp_path))


def test_what_is_no_view_is_refused(trace: Path, tmp_path: Path) -> None:
    reader, out = TraceReader(str(trace)), str(tmp_path / "out")
    with pytest.raises(TypeError, match="view must be a string or dict"):
        reader.get_view_chunks(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no view 'oi'; known are io"):
        reader.get_view_chunks("oi")
    with pytest.raises(DFTUtilsQueryError):
        reader.get_view_chunks({"query": "pid =="})
    with pytest.raises(TypeError, match="views must be a list or None"):
        reader.write_arrow(out, "io")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must contain strings or dicts"):
        reader.write_arrow(out, [3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="must have 'name' string"):
        reader.write_arrow(out, [{"query": ""}])
    with pytest.raises(ValueError, match="Unknown compression: lz"):
        reader.write_arrow(out, compression="lz")
    with pytest.raises(DFTUtilsReaderError, match="is a directory"):
        TraceReader(str(tmp_path)).get_view_chunks()
    with pytest.raises(DFTUtilsReaderError, match=r"none\.pfw"):
        write_arrow(str(tmp_path / "none.pfw"), out)


def test_files_that_are_not_there_are_passed_over(tmp_path: Path) -> None:
    assert read_arrow([]) is None
    empty = tmp_path / "empty.arrow"
    empty.touch()
    assert read_arrow([str(empty), str(tmp_path / "none.arrow")]) is None


def test_statistics_are_those_of_the_events(trace: Path) -> None:
    query = StatisticsQueryUtility()
    summary = query.process(str(trace))
    durations = [number % 50 for number in range(1, 101)] * 3
    mean = sum(durations) / 300
    spread = sum((one - mean) ** 2 for one in durations) / 299
    assert summary == {
        "query_type": "summary",
        "total_events": 300,
        "min_timestamp_us": 1000,
        "max_timestamp_us": 100_000,
        "time_span_seconds": 0.099,
        "duration_count": 300,
        "duration_mean_us": pytest.approx(mean),
        "duration_stddev_us": pytest.approx(spread**0.5),
        "duration_min_us": 0,
        "duration_max_us": 49,
        "results": [("POSIX", 200), ("compute", 100)],
    }
    assert query(str(trace), "top_n_names", 2)["results"] == [("fork", 100), ("forward", 100)]
    assert len(query(str(trace), "top_n_names", 0)["results"]) == 3
    assert query(str(trace), "pid_tids")["results"] == [("1:1", 102), ("1:0", 99), ("1:2", 99)]
    ranged = query(str(trace), "time_range")
    assert (ranged["max_timestamp_us"], ranged["duration_count"], ranged["results"]) == (
        *(100_000, 0, []),
    )


def test_statistics_of_what_is_no_trace_are_refused(trace: Path, tmp_path: Path) -> None:
    query = StatisticsQueryUtility()
    with pytest.raises(ValueError, match="unknown query_type: 'bogus'"):
        query(str(trace), "bogus")
    for path in ("", str(tmp_path / "none.pfw.gz"), str(tmp_path)):
        with pytest.raises(DFTUtilsNotFoundError):
            query(path)
    with pytest.raises(TypeError, match="file_path must be str"):
        query(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Runtime instance or None"):
        StatisticsQueryUtility(3)  # type: ignore[arg-type]


def test_statistics_follow_the_trace(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "t.pfw", 10)
    query = StatisticsQueryUtility()
    assert query(str(trace))["total_events"] == 10
    write_trace(trace, 25)
    assert query(str(trace))["total_events"] == 25
    assert Indexer(str(tmp_path)).resolve().needs_work == []


def test_the_level_chooses_what_an_embedded_engine_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compat.get_log_level() == "warn"
    log = get_log("test")
    try:
        compat.set_log_color("never")
        log.info("quiet")
        compat.set_log_level("info")
        log.info("loud", value=3)
        compat.set_log_level("off")
        log.error("silent")
        assert compat.get_log_level() == "off"
        compat.set_log_level("warning")
        assert compat.get_log_level() == "warn"
        compat.set_log_color("always")
        log.warning("colored")
    finally:
        own_output.level, own_output.color = 30, "auto"
        compat.set_log_level("warn")
    said = capsys.readouterr().err
    assert "loud" in said
    assert "value=3" in said.splitlines()[0]
    assert "\x1b[" not in said.splitlines()[0]
    assert "\x1b[" in said.splitlines()[1]
    assert len(said.splitlines()) == 2


def test_levels_and_colors_are_checked() -> None:
    for level in ("TRACE", "critical", ""):
        with pytest.raises(ValueError, match="invalid log level"):
            compat.set_log_level(level)
    with pytest.raises(ValueError, match=r"invalid color mode: 'x' \(auto\|always\|never\)"):
        compat.set_log_color("x")
    with pytest.raises(TypeError):
        compat.set_log_level(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        compat.set_log_color(True)  # type: ignore[arg-type]


def test_the_module_has_all_names_of_the_reference() -> None:
    names = (
        "AggregationConfig CheckpointIndexer Expr Field Indexer IndexerCheckpoint IndexStatus "
        "JsonDictValue TraceReader Runtime TaskHandle get_default_runtime get_log_level read_arrow "
        "set_default_runtime set_log_color set_log_level write_arrow DFTUtilsAggregationError "
        "DFTUtilsCompressionError DFTUtilsError DFTUtilsIndexerError DFTUtilsIOError "
        "DFTUtilsNotFoundError DFTUtilsParseError DFTUtilsPipelineError DFTUtilsQueryError "
        "DFTUtilsReaderError DFTUtilsValueError"
    )
    assert [name for name in names.split() if name not in compat.__all__] == []
    assert compat.__version__ == dftindexd.__version__
