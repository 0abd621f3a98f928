"""kill -9 at random moments, under every kind of change: nothing is lost, nothing is torn."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dftindexd.index.failpoints import STORE_FAILPOINTS
from tests.crash.harness import BROKEN_DAEMON, Harness
from tests.crash.oracle import ViolationError

pytestmark = pytest.mark.crash

_LONG = "DFTINDEXD_TEST_CRASH_CYCLES" in os.environ
_CYCLES = int(os.environ.get("DFTINDEXD_TEST_CRASH_CYCLES", "4"))
_SEED = int(os.environ.get("DFTINDEXD_TEST_CRASH_SEED", "1"))
#: So many cycles show a store to be broken; it takes one or two.
_BROKEN_CYCLES = 12


def test_nothing_acknowledged_is_lost_and_nothing_is_torn_by_kills_at_random_moments(
    tmp_path: Path,
) -> None:
    report = Harness(tmp_path, _SEED).run(_CYCLES)
    print(f"\n{report}")
    assert report.daemons + report.workers + report.both + report.starting == _CYCLES
    assert report.acknowledgements > 0


@pytest.mark.parametrize("action", ["raise", "kill"])
@pytest.mark.skipif(not _LONG, reason="make crash does this")
def test_a_daemon_that_fails_or_dies_at_any_step_of_its_store_loses_nothing(
    tmp_path: Path, action: str
) -> None:
    turns = (1, 4)
    points = [f"{point}={action}#{turn}" for point in STORE_FAILPOINTS for turn in turns]
    report = Harness(tmp_path, _SEED).run(1, points)
    print(f"\n{action}: {report}")
    assert report.acknowledgements > 0


@pytest.mark.parametrize("how", ["no-log", "torn", "early"])
def test_a_store_that_breaks_its_promises_is_found_out(tmp_path: Path, how: str) -> None:
    daemon = [sys.executable, "-P", str(BROKEN_DAEMON), how]
    with pytest.raises(ViolationError) as found:
        Harness(tmp_path, _SEED, daemon=daemon).run(_BROKEN_CYCLES)
    print(f"\n{how}: {found.value}")
