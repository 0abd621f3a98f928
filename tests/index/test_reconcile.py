"""What a trace needs: every case of record and stamp."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dftindexd.index.model import Ending, FileStamp, TraceRecord
from dftindexd.index.reconcile import Action, reconcile

STAMP = FileStamp(ino=1, size=10, mtime_ns=5, ctime_ns=5)
GROWN = FileStamp(ino=1, size=11, mtime_ns=6, ctime_ns=6)
RECORD = TraceRecord(file_id=1, path=b"a", version=1, generation=1, stamp=STAMP, tiers=b"t")
QUARANTINED = replace(RECORD, quarantined="kills workers")


def needs(record: TraceRecord | None, stamp: FileStamp | None, quiet: float = 0.0) -> Action:
    return reconcile(record, stamp, tiers=b"t", quiet_seconds=quiet, settle_seconds=5.0)


@pytest.mark.parametrize("ending", ["end", "silence", "cut"])
def test_a_finished_trace_needs_nothing_until_it_changes(ending: Ending) -> None:
    finished = replace(RECORD, ending=ending)
    assert needs(finished, STAMP, quiet=100.0) is Action.NOTHING
    assert needs(finished, GROWN) is Action.EXTEND


@pytest.mark.parametrize(
    ("record", "stamp", "action"),
    [
        (None, None, Action.NOTHING),
        (RECORD, None, Action.REMOVE),
        (QUARANTINED, None, Action.REMOVE),
        (None, STAMP, Action.INDEX),
        (RECORD, STAMP, Action.WAIT),
        (RECORD, GROWN, Action.EXTEND),
        (RECORD, FileStamp(1, 9, 6, 6), Action.REPLACE),
        (RECORD, FileStamp(1, 10, 6, 5), Action.REPLACE),
        (RECORD, FileStamp(1, 10, 5, 6), Action.REPLACE),
        (RECORD, FileStamp(2, 10, 5, 5), Action.REPLACE),
        (RECORD, FileStamp(2, 11, 6, 6), Action.REPLACE),
        (QUARANTINED, STAMP, Action.NOTHING),
        (QUARANTINED, GROWN, Action.REPLACE),
        (replace(RECORD, tiers=b"u"), STAMP, Action.REPLACE),
        (replace(RECORD, tiers=b"u", ending="end"), STAMP, Action.REPLACE),
        (replace(QUARANTINED, tiers=b"u"), STAMP, Action.REPLACE),
        (replace(RECORD, tiers=b"u"), GROWN, Action.REPLACE),
        (replace(RECORD, tiers=b"u"), None, Action.REMOVE),
    ],
)
def test_the_action_follows_from_record_and_stamp_alone(
    record: TraceRecord | None, stamp: FileStamp | None, action: Action
) -> None:
    assert needs(record, stamp) is action


def test_an_unfinished_trace_settles_after_enough_silence() -> None:
    assert needs(RECORD, STAMP, quiet=4.9) is Action.WAIT
    assert needs(RECORD, STAMP, quiet=5.0) is Action.SETTLE
    assert reconcile(RECORD, STAMP, tiers=b"t", quiet_seconds=1e9) is Action.WAIT


def test_only_three_actions_need_a_worker() -> None:
    assert {action for action in Action if action.parses} == {
        Action.INDEX,
        Action.EXTEND,
        Action.REPLACE,
    }
