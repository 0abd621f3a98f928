"""What ``agg`` writes: files of every format, whole or not at all, and pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from dftindexd.client.plot import (
    Activity,
    Spans,
    activity_of,
    activity_of_events,
    draw,
    over_time,
    unit_of,
)
from dftindexd.client.table_files import beside, format_of, write_batches
from tests.client.conftest import REPOSITORY
from tests.client.echo_daemon import ThreadedDaemon
from tests.client.test_cli import run


def _read_back(path: Path) -> list[dict[str, Any]]:
    match path.suffix:
        case ".csv":
            return csv.read_csv(path).to_pylist()
        case ".parquet":
            return parquet.read_table(path).to_pylist()
        case ".arrow":
            return pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "arrow"])
def test_rows_are_written_in_the_format_of_the_suffix(
    daemon: ThreadedDaemon, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out.{suffix}"
    result = run(daemon, "agg", "/rows-9", "--sort", "-n", "--limit", "7", "-o", os.fspath(out))
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"7 rows in {out}" in result.stderr
    rows = _read_back(out)
    assert [row["n"] for row in rows] == [8, 7, 6, 5, 4, 3, 2]
    assert [row["ratio"] for row in rows[:2]] == [4.0, None]
    assert {path.name for path in tmp_path.iterdir()} == {"d.sock", "d.sock.lock", out.name}
    umask = os.umask(0)
    os.umask(umask)
    assert out.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "json"])
def test_a_format_goes_to_standard_output_too(
    daemon: ThreadedDaemon, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"out.{form}"
    out.write_bytes(run(daemon, "agg", "/rows-3", "--format", form).stdout_bytes)
    assert [row["n"] for row in _read_back(out)] == [0, 1, 2]


def test_dictionaries_of_differing_batches_come_through_every_format(tmp_path: Path) -> None:
    batches = [
        pa.record_batch(
            {"cat": pa.array(values).dictionary_encode(), "n": list(range(len(values)))}
        )
        for values in (["a", "b"], ["b", None, "c"])
    ]
    for suffix in ("csv", "json", "parquet", "arrow"):
        out = tmp_path / f"out.{suffix}"
        with beside(os.fspath(out)) as target:
            rows = write_batches(iter(batches), batches[0].schema, target, format_of(out.name))
        assert rows == 5
        found = [row["cat"] or None for row in _read_back(out)]
        assert found == ["a", "b", "b", None, "c"]


def test_a_file_that_is_not_written_whole_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("before")

    def write_half() -> None:
        with beside(os.fspath(out)) as target:
            target.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


def test_an_answer_that_breaks_off_writes_nothing(daemon: ThreadedDaemon, tmp_path: Path) -> None:
    out = tmp_path / "files" / "out.csv"
    out.parent.mkdir()
    result = run(daemon, "agg", "/breaks", "-o", os.fspath(out))
    assert result.exit_code == 1
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["-o", "x.txt"], 1, "the suffix of x.txt names no format"),
        (["-o", "/nowhere/x.csv"], 1, "/nowhere/x.csv cannot be written"),
        (["-o", "x.csv", "--format", "table"], 2, "a table is for the screen"),
        (["--json", "--format", "csv"], 2, "--json is --format json"),
        (["--meta", "--format", "csv"], 2, "--meta goes with --json"),
        (["--plot", "x.gif"], 1, "x.gif is no picture that can be drawn; name a file .png"),
        (["--plot", "x.png", "--limit", "3"], 2, "--plot goes with"),
    ],
)
def test_what_cannot_be_written_is_an_error_that_says_why(
    daemon: ThreadedDaemon, options: list[str], code: int, text: str
) -> None:
    result = run(daemon, "agg", "/rows-3", *options)
    assert result.exit_code == code
    assert text in result.stderr


def test_without_matplotlib_the_error_names_the_extra(daemon: ThreadedDaemon) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\nfrom dftindexd.client.cli import cli; cli()"
    )
    command = [sys.executable, "-c", code, "--socket", daemon.path, "agg", "/t", "--plot", "x.png"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'dftindexd[plot]'" in done.stderr


_spans = st.lists(
    st.tuples(st.floats(0, 90), st.floats(1e-6, 10), st.floats(0, 1e9)), min_size=1, max_size=30
)


@given(_spans, st.integers(1, 50))
def test_what_is_drawn_adds_up_to_the_totals(
    spans: Sequence[tuple[float, float, float]], bins: int
) -> None:
    starts = [start for start, _, _ in spans]
    ends = [start + length for start, length, _ in spans]
    amounts = [amount for _, _, amount in spans]
    edges = np.linspace(min(starts), max(ends), bins + 1)
    rates = over_time(starts, ends, amounts, edges)
    assert (rates >= 0).all()
    total = float((rates * np.diff(edges)).sum())
    assert total == pytest.approx(sum(amounts), rel=1e-3, abs=100.0)


def test_amounts_are_spread_evenly_from_start_to_end() -> None:
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    assert over_time([0.5, 1.0], [1.5, 4.0], [10.0, 30.0], edges).tolist() == [5.0, 15.0, 10.0]


def _row(
    category: str, name: str, start: int | None, end: int | None, count: int, size: int | None
) -> dict[str, Any]:
    times = {"time_start": start, "time_end": end}
    return {"cat": category, "func_name": name, **times, "count": count, "size": size}


def _event(category: str, name: str, ts: int | None, dur: int, ret: int | None) -> dict[str, Any]:
    return {"cat": category, "name": name, "ts": ts, "dur": dur, "ret": ret}


def test_few_events_are_drawn_one_by_one_if_they_add_up_to_the_rows() -> None:
    rows = activity_of(
        [
            pa.RecordBatch.from_pylist(
                [
                    _row("posix", "read", 0, 900, 3, 4),
                    _row("posix", "open64", 0, 900, 1, None),
                    _row("posix", "close", None, None, 1, None),
                ]
            )
        ]
    )
    events = [
        _event("POSIX", "read", 100, 50, 4),
        _event("POSIX", "read", 200, 50, -1),
        _event("POSIX", "read", 300, 50, None),
        _event("POSIX", "open64", 0, 10, 3),
        _event("POSIX", "close", None, 10, 0),
    ]
    drawn = activity_of_events([pa.RecordBatch.from_pylist(events)], rows)
    assert drawn.categories["posix"].bytes == [4, 0, 0, 0]
    assert drawn.categories["posix"].starts == pytest.approx([1e-4, 2e-4, 3e-4, 0])
    assert (drawn.operations, drawn.untimed) == (5, 1)
    assert activity_of_events([pa.RecordBatch.from_pylist(events[1:])], rows) is rows


def test_operations_without_a_time_are_counted_and_not_drawn() -> None:
    batch = pa.RecordBatch.from_pylist(
        [
            _row("posix", "read", 10, 1_000_010, 4, 8),
            _row("app", "step", 5, 5, 1, None),
            _row("app", "step", None, None, 3, None),
        ]
    )
    activity = activity_of([batch])
    assert (activity.operations, activity.untimed) == (8, 3)
    posix = activity.categories["posix"]
    assert (posix.operations, posix.bytes) == ([4], [8])
    assert posix.starts + posix.ends == pytest.approx([1e-05, 1.00001])
    assert activity.seconds == pytest.approx(1.000005)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, (1.0, "B")), (999, (1.0, "B")), (1000, (1e3, "kB")), (2.5e9, (1e9, "GB"))],
)
def test_numbers_have_units_that_can_be_read(most: float, expected: tuple[float, str]) -> None:
    assert unit_of(most, "B") == expected


@pytest.mark.parametrize(
    ("form", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
@pytest.mark.parametrize("categories", [0, 1, 12])
def test_a_picture_is_drawn_of_any_number_of_categories(
    tmp_path: Path, form: str, magic: bytes, categories: int
) -> None:
    activity = Activity(operations=categories)
    for number in range(categories):
        activity.categories[f"category-{number}"] = Spans([number], [number + 1.5], [7], [1e6])
    out = tmp_path / f"run.{form}"
    with beside(os.fspath(out)) as target:
        draw(activity, "/scratch/traces/run1", target, form)
    content = out.read_bytes()
    assert content.startswith(magic)
    if form == "svg":
        text = content.decode()
        assert ("/scratch/traces/run1" in text, "others: 35 operations" in text) == (
            True,
            categories == 12,
        )
