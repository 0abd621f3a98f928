"""``dftindexd demo``: what a stranger sees first."""

from __future__ import annotations

import pytest

from tests.end_to_end.running import run_to_end

pytest.importorskip("dftracer", reason="the tracer is not installed: pip install dftracer")


def test_the_demo_shows_a_run_found_growing_finished_and_answered() -> None:
    done = run_to_end("daemon", "demo", "--seconds", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    stages = ("found", "growing", "finished", "indexed", "I/O by function and file")
    places = [done.stdout.index(stage) for stage in stages]
    assert places == sorted(places)
    for function in ("write", "read", "open64"):
        assert function in done.stdout
    assert "after the program's exit" in " ".join(done.stdout.split())
    assert done.stderr == ""
