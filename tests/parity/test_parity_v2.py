"""Counts, sums and bounds of v2 traces against dftracer-utils 0.0.14, row for row.

It buckets events by their start, so that is what is compared. What differs on purpose has a test of
its own here, which says what 0.0.14 makes of it, and is in ``docs/differences.md``.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dftindexd.index.model import AggregationTier, ParseRequest, TierConfig
from dftindexd.index.query.aggregation import hash_tables, read_aggregation
from dftindexd.index.query.answers import clock_of
from dftindexd.index.query.rows import Kind
from dftindexd.index.query.system_metrics import system_metrics_table
from dftindexd.index.segment import parse_trace
from tests.index.query.traces import MemoryStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TIER = AggregationTier(bucket_by="start")

#: Their columns and ours.
EXACT = {
    "count": "count",
    "sum_dur": "dur_total",
    "min_dur": "dur_min",
    "max_dur": "dur_max",
    "sum_size": "size_total",
    "min_size": "size_min",
    "max_size": "size_max",
    "min_offset": "offset_min",
    "max_offset": "offset_max",
    "min_ts": "ts",
    "max_te": "te",
}
#: Folders with events alone, or with the counters of the metrics service. Their plain traces are
#: packed for the reference, which refuses them.
EVENTS = (
    *("int_small", "kill9_small", "live_16384", "live_def", "mp_fork", "mp_spawn", "nofinal"),
    *("nometa", "notids", "plain", "term_bind", "term_small", "threads"),
)
SERVICE = ("service",)
AGGREGATED = ("agg_full", "agg_plain", "agg_sel")

Row = dict[str, Any]
Key = tuple[Any, ...]
Table = dict[Key, Row]


@pytest.fixture(scope="module")
def reference(newer_reference: Path) -> Path:
    """The version that reads generation 2."""
    return newer_reference


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for traces."""
    traces = tmp_path / "traces"
    traces.mkdir()
    return traces


def _copy(source: Path, folder: Path) -> None:
    for path in sorted(source.glob("*.pfw*")):
        if path.suffix == ".gz":
            shutil.copy(path, folder)
        else:
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))


def _key(row: Row) -> Key:
    texts = (row["cat"].lower(), row["name"], row["fhash"] or "", row["hhash"] or "")
    return (*texts, int(row["pid"]), int(row["tid"]), int(row["time_bucket"]))


def _theirs(reference: Path, folder: Path) -> dict[str, Any]:
    index, out = folder.parent / "index", folder.parent / "theirs.json"
    index.mkdir()
    script = Path(__file__).with_name("dump_reference_v2.py")
    command = [str(part) for part in (reference, "-P", script, folder, index, out)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _store(folder: Path) -> MemoryStore:
    store = MemoryStore(TIER)
    for number, path in enumerate(sorted(folder.glob("*.pfw.gz"))):
        request = ParseRequest(
            path=os.fsencode(path),
            segment_id=2 * number + 1,
            provisional_id=2 * number + 2,
            tiers=TierConfig(aggregation=TIER),
        )
        store.add_parsed(parse_trace(request))
    return store


def _ours(store: MemoryStore, kind: Kind) -> Table:
    rows = read_aggregation(store, store.records, TIER, kind).to_pylist()
    return {_key(row): row for row in rows}


def _differences(ours: Table, theirs: list[Row]) -> list[tuple[str, Key, object, object]]:
    """Return each value that differs: its column, the row's key, theirs and ours."""
    by_key = {_key(row): row for row in theirs}
    assert len(by_key) == len(theirs)
    assert by_key.keys() == ours.keys()
    found = []
    for key, row in by_key.items():
        mine = ours[key]
        for name, our_name in EXACT.items():
            same = row[name] == mine[our_name]
            # Without samples they have null where we have, as 0.0.12, 0.
            if not same and not (row[name] is None and mine["size_max"] == mine[our_name] == 0):
                found.append((name, key, row[name], mine[our_name]))
        if mine["dur_std"] is not None:
            assert math.isclose(mine["dur_std"], _deviation(row), rel_tol=1e-6, abs_tol=1e-3)
    return found


def _deviation(row: Row) -> float:
    count, mean = row["count"], row["sum_dur"] / row["count"]
    if count < 2:
        return 0.0
    return math.sqrt(max(row["sumsq_dur"] - count * mean * mean, 0.0) / (count - 1))


def test_generated_traces_have_the_counts_sums_and_bounds_of_the_reference(
    reference: Path, folder: Path
) -> None:
    program = reference.parent / "dftracer_gen_fake_trace"
    options = ("-p", "3", "-H", "2", "-e", "2", "-s", "200", "--num-train-files", "3")
    command = [str(program), "--output-dir", str(folder), *options]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(folder / ".dftindex", ignore_errors=True)
    ours, theirs = _ours(_store(folder), "events"), _theirs(reference, folder)
    assert len(theirs["ready"]) == 3
    assert theirs["aggregated"] == theirs["counters"] == []
    for name, _, value, mine in _differences(ours, theirs["regular"]):
        # 0.0.14 takes offsets that all are 0 for none.
        assert (name in ("min_offset", "max_offset"), value, mine) == (True, None, 0)


@pytest.mark.parametrize("name", EVENTS)
def test_events_of_real_traces_have_those_of_the_reference(
    reference: Path, shared_traces: Path, folder: Path, name: str
) -> None:
    _copy(shared_traces / "v2" / name, folder)
    store, theirs = _store(folder), _theirs(reference, folder)
    assert theirs["regular"]
    assert _differences(_ours(store, "events"), theirs["regular"]) == []
    assert _differences(_ours(store, "profiles"), theirs["aggregated"]) == []


@pytest.mark.parametrize("name", SERVICE)
def test_counters_and_system_metrics_are_those_of_the_reference(
    reference: Path, shared_traces: Path, folder: Path, name: str
) -> None:
    _copy(shared_traces / "v2" / name, folder)
    store, theirs = _store(folder), _theirs(reference, folder)
    assert theirs["aggregated"]
    assert _differences(_ours(store, "profiles"), theirs["aggregated"]) == []
    hashes, clock = hash_tables(store, store.records), clock_of(0, 5.0, 1e6)
    ours = system_metrics_table(store, store.records, TIER, hashes, clock).to_pylist()
    by_key = {(row["host_hash"], row["name"], row["time_bucket"]): row for row in ours}
    assert len(by_key) == len(theirs["counters"])
    for row in theirs["counters"]:
        mine = by_key[row["host_hash"], row["name"], int(row["time_bucket"])]
        for column, value in row.items():
            if isinstance(value, float):  # a metric that this row lacks is NaN to them
                value = None if math.isnan(value) else pytest.approx(value)
            assert mine[column] == value, (column, row["name"])


@pytest.mark.parametrize("name", AGGREGATED)
def test_aggregated_records_are_profiles_of_many_calls_and_plain_events_to_the_reference(
    reference: Path, shared_traces: Path, folder: Path, name: str
) -> None:
    _copy(shared_traces / "v2" / name, folder)
    store, theirs = _store(folder), _theirs(reference, folder)
    events, profiles = _ours(store, "events"), _ours(store, "profiles")
    assert profiles
    rows = {_key(row): row for row in theirs["regular"]}
    assert theirs["aggregated"] == []
    assert rows.keys() == events.keys() | profiles.keys()
    folded = [rows[key] for key in profiles.keys() - events.keys()]
    assert all(row["sum_dur"] == 0 for row in folded)
    ours = sum(row["count"] for row in profiles.values())
    assert sum(row["count"] for row in folded) < ours
    plain = [row for key, row in rows.items() if key not in profiles]
    kept = {key: row for key, row in events.items() if key not in profiles}
    assert _differences(kept, plain) == []


def test_a_last_line_without_newline_counts_and_not_to_the_reference(
    reference: Path, folder: Path
) -> None:
    line = (
        '{{"id":{0},"name":"read","cat":"POSIX","type":3,"pid":1,"tid":1,"ts":{0},"dur":1,"ph":1}}'
    )
    text = "\n".join(line.format(number) for number in range(1, 1001))
    (folder / "t.pfw.gz").write_bytes(gzip.compress(text.encode()))
    (ours,) = _ours(_store(folder), "events").values()
    (theirs,) = _theirs(reference, folder)["regular"]
    assert (ours["count"], theirs["count"]) == (1000, 999)


@pytest.mark.parametrize(("name", "scale"), [("ns", Fraction(1, 1000)), ("ms", Fraction(1000))])
def test_times_become_microseconds_and_stay_in_their_unit_for_the_reference(
    reference: Path, shared_traces: Path, folder: Path, name: str, scale: Fraction
) -> None:
    _copy(shared_traces / "v2" / name, folder)
    ours = _ours(_store(folder), "events")
    theirs = _theirs(reference, folder)["regular"]
    assert sum(row["count"] for row in theirs) == sum(row["count"] for row in ours.values())
    first = min(row["min_ts"] for row in theirs)
    assert min(row["ts"] for row in ours.values()) == math.floor(first * scale)
