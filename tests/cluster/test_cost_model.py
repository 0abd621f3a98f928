"""The model of what a distributed build costs: what it adds up, and that fitting finds what was put
in."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from benchmarks.cluster_model import Costs, Load, fitted, predict

NOTHING = replace(Costs(**{one.name: 0.0 for one in fields(Costs)}), slower=1.0)
LOAD = Load(files=64, text_bytes=1e6, events=1000, workers=4, threads=8, ssts=5, staged=True)


@pytest.mark.parametrize(
    ("cost", "part", "seconds"),
    [
        ("start", "start", 1),
        ("scan_file", "look", 64),
        ("register_file", "look", 64),
        ("plan_file", "plan", 64),
        ("task", "plan", 4),
        ("read_file", "build", 2),  # of each of the 32 threads
        ("read_byte", "build", 2e6),
        ("flush", "build", 1),
        ("move_file", "move", 5),
        ("ingest", "ingest", 1),
        ("ingest_sst", "ingest", 20),
    ],
)
def test_each_cost_is_of_one_part(cost: str, part: str, seconds: float) -> None:
    parts = predict(replace(NOTHING, **{cost: 1.0}), LOAD)
    assert getattr(parts, part) == seconds
    assert parts.total == seconds


def test_artifacts_are_moved_by_workers_and_taken_in_by_one() -> None:
    costs = replace(NOTHING, artifact_bytes=2.0, move_byte=1.0, ingest_byte=1.0)
    parts = predict(costs, LOAD)
    assert (parts.artifact_bytes, parts.move, parts.ingest) == (128_000, 32_000, 128_000)
    assert predict(costs, replace(LOAD, staged=False)).move == 0


def test_more_threads_than_traces_read_no_faster() -> None:
    costs = replace(NOTHING, read_file=1.0)
    assert predict(costs, replace(LOAD, workers=1000)).build == 1
    assert predict(replace(costs, slower=3.0), replace(LOAD, workers=1000)).build == 3


def test_fitting_finds_the_costs_that_made_the_samples() -> None:
    counts = [(1, 10), (1, 500), (4, 30), (9, 700)]
    samples = [({"file": float(a), "byte": float(b)}, 0.5 * a + 0.01 * b) for a, b in counts]
    assert fitted(samples, ("file", "byte")) == pytest.approx({"file": 0.5, "byte": 0.01})


def test_no_cost_is_negative() -> None:
    samples = [({"file": 1.0, "byte": 1.0}, 1.0), ({"file": 1.0, "byte": 9.0}, 0.9)]
    found = fitted(samples, ("file", "byte"))
    assert found["byte"] == 0
    assert 0.9 < found["file"] < 1.0
    with pytest.raises(ValueError, match="cannot tell 2 costs apart"):
        fitted(samples[:1], ("file", "byte"))
