"""A trace that grew in many steps is parsed once more as one, and answers stay the same."""

from __future__ import annotations

import gzip
from pathlib import Path

from dftindexd.index.store.writer import StoreWriter
from tests.end_to_end.made_traces import end_line, write_trace
from tests.end_to_end.running import Daemon, running_daemon, until

_STEPS = 40


def _segments(folder: Path) -> dict[bytes, int]:
    (store,) = (folder / "state" / "stores").iterdir()
    writer = StoreWriter(str(store), root="", owner="the test")
    try:
        return {path: len(one.segments) for path, one in writer.registry.traces.items()}
    finally:
        writer.close()


def _grow(daemon: Daemon) -> None:
    for step in range(_STEPS):
        write_trace(daemon.traces / "t.pfw.gz", 10, first=1 + 10 * step, append=True)
        daemon.client.sync()


def test_a_finished_trace_in_many_pieces_becomes_one(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--settle", "600") as daemon:
        _grow(daemon)
        growing = daemon.client.status().roots[0].generation
        with (daemon.traces / "t.pfw.gz").open("ab") as trace:
            trace.write(gzip.compress(end_line(10 * _STEPS)))
        daemon.client.wait()
        until(
            lambda: daemon.client.status().roots[0].generation == growing + 2,
            "the commits of the last piece and of merging",
        )
        assert daemon.events() == 10 * _STEPS + 1
        assert daemon.client.ping().caught_up
    assert _segments(tmp_path) == {b"t.pfw.gz": 1}


def test_compact_merges_what_another_daemon_left_in_pieces(tmp_path: Path) -> None:
    with running_daemon(tmp_path, "--settle", "60") as daemon:
        _grow(daemon)
        daemon.process.kill()
        daemon.process.wait()
    assert _segments(tmp_path)[b"t.pfw.gz"] >= _STEPS
    with running_daemon(tmp_path, "--settle", "0.1") as again:
        again.client.wait()
        again.client.compact(again.traces)
        generation = again.client.status().roots[0].generation
        again.client.sync()
        until(lambda: again.client.compact(again.traces, now=True).segments_kept == 0, "merging")
        assert again.events() == 10 * _STEPS
        assert again.client.status().roots[0].generation >= generation
    assert _segments(tmp_path) == {b"t.pfw.gz": 1}
