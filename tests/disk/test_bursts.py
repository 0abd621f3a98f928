"""Very many small traces at once, and a start where nothing has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.end_to_end.made_traces import event_lines
from tests.end_to_end.running import Daemon, running_daemon

pytestmark = pytest.mark.disk

_TRACES = int(os.environ.get("DFTINDEXD_TEST_BURST", "2000"))
_EVENTS = 3


def _make_burst(folder: Path) -> None:
    """Make finished traces in nested directories, a few in each."""
    text = b"[\n" + event_lines(_EVENTS).replace(b'"ph":1', b'"ph":"X"') + b"]\n"
    for number in range(_TRACES):
        place = folder / f"run{number % 20}" / f"node{number // 400}" / f"step{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"t{number}.pfw").write_bytes(text)


def _parsed(daemon: Daemon) -> int:
    """Return how many commits the store of the root has seen."""
    return daemon.client.status().roots[0].generation


def test_all_of_a_burst_is_indexed_and_a_start_without_changes_parses_nothing(
    tmp_path: Path,
) -> None:
    with running_daemon(tmp_path) as first:
        _make_burst(first.traces)
        first.client.sync(timeout=600)
        (root,) = first.client.status().roots
        assert (root.traces, root.indexed, root.queued) == (_TRACES, _TRACES, 0)
        assert root.events == first.events() == _TRACES * _EVENTS
        generation = _parsed(first)
    with running_daemon(tmp_path) as second:
        second.client.sync(timeout=600)
        assert second.events() == _TRACES * _EVENTS
        assert _parsed(second) == generation
