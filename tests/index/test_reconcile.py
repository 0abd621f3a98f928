"""What a trace needs: every case of record and stamp, and of several sets."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from dftindexd.index.model import AggregationTier, Ending, FileStamp, TierConfig, TraceRecord
from dftindexd.index.reconcile import Action, Needs, Step, needs, reconcile
from dftindexd.index.tier_sets import Sets

STAMP = FileStamp(ino=1, size=10, mtime_ns=5, ctime_ns=5)
GROWN = FileStamp(ino=1, size=11, mtime_ns=6, ctime_ns=6)
RECORD = TraceRecord(file_id=1, path=b"a", version=1, generation=1, stamp=STAMP, tiers=TierConfig())
QUARANTINED = replace(RECORD, quarantined="kills workers")
OTHER = FileStamp(ino=2, size=10, mtime_ns=7, ctime_ns=7)

ALL = TierConfig()
ONE = AggregationTier(interval_us=1_000_000)
FINE = TierConfig(aggregation=ONE)
EXTRA = TierConfig(checkpoints=False, bloom=False, manifest=False, aggregation=ONE)
DONE = replace(RECORD, ending="end")
BESIDE = replace(DONE, tiers=EXTRA, version=7, generation=2)


def action_of(record: TraceRecord | None, stamp: FileStamp | None, quiet: float = 0.0) -> Action:
    return reconcile(record, stamp, quiet_seconds=quiet, settle_seconds=5.0)


@pytest.mark.parametrize("ending", ["end", "silence", "cut"])
def test_a_finished_trace_needs_nothing_until_it_changes(ending: Ending) -> None:
    finished = replace(RECORD, ending=ending)
    assert action_of(finished, STAMP, quiet=100.0) is Action.NOTHING
    assert action_of(finished, GROWN) is Action.EXTEND


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
    ],
)
def test_the_action_follows_from_record_and_stamp_alone(
    record: TraceRecord | None, stamp: FileStamp | None, action: Action
) -> None:
    assert action_of(record, stamp) is action
    sets = () if record is None else (record,)
    assert needs(sets, stamp, ALL).action is action


def test_an_unfinished_trace_settles_after_enough_silence() -> None:
    assert action_of(RECORD, STAMP, quiet=4.9) is Action.WAIT
    assert action_of(RECORD, STAMP, quiet=5.0) is Action.SETTLE
    assert reconcile(RECORD, STAMP, quiet_seconds=1e9) is Action.WAIT


def test_only_three_actions_need_a_worker() -> None:
    assert {action for action in Action if action.parses} == {
        Action.INDEX,
        Action.EXTEND,
        Action.REPLACE,
    }


@pytest.mark.parametrize(
    ("sets", "stamp", "wanted", "steps", "outdated"),
    [
        ((), STAMP, FINE, [Step(Action.INDEX, FINE, None)], ()),
        ((DONE,), STAMP, FINE, [Step(Action.INDEX, EXTRA, None)], ()),
        ((DONE, BESIDE), STAMP, FINE, [], ()),
        ((DONE, BESIDE), STAMP, ALL, [], ()),
        ((DONE, BESIDE), GROWN, ALL, [Step(Action.EXTEND, ALL, DONE)], ()),
        (
            (DONE, BESIDE),
            GROWN,
            FINE,
            [Step(Action.EXTEND, ALL, DONE), Step(Action.EXTEND, EXTRA, BESIDE)],
            (),
        ),
        ((DONE,), GROWN, EXTRA, [Step(Action.INDEX, EXTRA, None)], ()),
        ((DONE, BESIDE), OTHER, FINE, [Step(Action.INDEX, FINE, None)], (DONE, BESIDE)),
        ((DONE, BESIDE), OTHER, ALL, [Step(Action.REPLACE, ALL, DONE)], (BESIDE,)),
        ((DONE, BESIDE), OTHER, EXTRA, [Step(Action.REPLACE, EXTRA, BESIDE)], (DONE,)),
        ((DONE, BESIDE), None, FINE, [], ()),
    ],
)
def test_sets_that_give_what_is_wanted_are_followed_and_what_is_missing_is_built(
    sets: Sets, stamp: FileStamp | None, wanted: TierConfig, steps: list[Step], outdated: Sets
) -> None:
    found = needs(sets, stamp, wanted)
    assert list(found.steps) == steps
    assert found.outdated == outdated


def test_an_old_set_that_nobody_asks_for_goes_only_when_something_is_built() -> None:
    elsewhere = replace(BESIDE, stamp=OTHER)
    assert needs((DONE, elsewhere), OTHER, EXTRA) == Needs(Action.NOTHING)
    assert needs((DONE, elsewhere), OTHER, FINE).outdated == (DONE,)


def test_a_forced_trace_has_what_is_used_parsed_anew_and_nothing_else() -> None:
    assert needs((DONE, BESIDE), STAMP, ALL, forced=True).steps == (
        Step(Action.REPLACE, ALL, DONE),
    )
    both = needs((DONE, BESIDE), STAMP, FINE, forced=True)
    assert [step.tiers for step in both.steps] == [ALL, EXTRA]
    assert both.outdated == ()


def test_a_quarantined_set_is_left_alone_and_does_not_hold_up_the_others() -> None:
    bad = replace(BESIDE, quarantined="kills workers")
    assert needs((DONE, bad), STAMP, FINE).steps == ()
    grown = needs((DONE, bad), GROWN, FINE)
    assert [(step.action, step.tiers) for step in grown.steps] == [
        (Action.EXTEND, ALL),
        (Action.REPLACE, EXTRA),
    ]
    assert grown.outdated == ()


def test_only_the_sets_in_use_settle() -> None:
    waiting = replace(DONE, ending=None)
    found = needs((waiting, BESIDE), STAMP, FINE, quiet_seconds=9.0, settle_seconds=5.0)
    assert (found.action, found.settled) == (Action.SETTLE, (waiting,))
    assert needs((waiting, BESIDE), STAMP, EXTRA, quiet_seconds=9.0).action is Action.NOTHING


def test_a_step_knows_its_version_and_where_it_goes_on() -> None:
    assert Step(Action.INDEX, ALL, None).base_version == 0
    assert Step(Action.REPLACE, EXTRA, BESIDE).base_version == 7
    assert Step(Action.REPLACE, EXTRA, BESIDE).resumes_at is None
    assert Step(Action.EXTEND, EXTRA, BESIDE).c_begin == 0
