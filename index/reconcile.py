"""What to do so that the index equals the disk: a pure function of a trace's records and its stamp.

Events of the file system only decide when this runs. What it returns depends on nothing but what
the store holds, what the disk shows, which tiers are wanted, and how long the trace has been quiet.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dftindexd.index.model import FileStamp, ResumePoint, TierConfig, TraceRecord
from dftindexd.index.tier_sets import Sets, cover, find_set

__all__ = ("Action", "Needs", "Step", "needs", "reconcile")


class Action(enum.Enum):
    """What one trace needs."""

    NOTHING = "nothing"
    #: read it from its beginning; the store holds nothing of it
    INDEX = "index"
    #: it grew: read what was added
    EXTEND = "extend"
    #: it is another file, or was changed in place: read it from its beginning
    REPLACE = "replace"
    #: it is gone from disk
    REMOVE = "remove"
    #: it is unfinished and may still grow
    WAIT = "wait"
    #: it is unfinished and has been quiet for long enough
    SETTLE = "settle"

    @property
    def parses(self) -> bool:
        """Whether a worker has to read the trace."""
        return self in (Action.INDEX, Action.EXTEND, Action.REPLACE)


@dataclass(frozen=True, slots=True)
class Step:
    """One parse of a trace: what it builds, and the set that it builds upon or replaces."""

    action: Action
    tiers: TierConfig
    record: TraceRecord | None

    @property
    def base_version(self) -> int:
        """The version of the set that the step is planned on."""
        return self.record.version if self.record is not None else 0

    @property
    def resumes_at(self) -> ResumePoint | None:
        """Where reading goes on, ``None`` for the beginning of the file."""
        if self.action is not Action.EXTEND or self.record is None:
            return None
        return self.record.resume

    @property
    def c_begin(self) -> int:
        """The byte of the file at which reading begins."""
        return self.resumes_at.c_offset if self.resumes_at is not None else 0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a trace needs: parses, and what follows from them.

    ``action`` is that of the first step, or where nothing is to be parsed what the trace is at.
    ``outdated`` are sets of an earlier file that no step replaces: they go when the steps commit.
    ``settled`` are sets that have been quiet for long enough.
    """

    action: Action
    steps: tuple[Step, ...] = ()
    outdated: Sets = ()
    settled: Sets = ()


def reconcile(
    record: TraceRecord | None,
    stamp: FileStamp | None,
    *,
    again: bool = False,
    quiet_seconds: float = 0.0,
    settle_seconds: float = float("inf"),
) -> Action:
    """Return what a set needs whose commit record and stamp on disk these are.

    :param record: what the store holds of it, ``None`` for nothing.
    :param stamp: what the disk shows, ``None`` where the trace is gone.
    :param again: whether it is to be tried though it is in quarantine.
    :param quiet_seconds: how long its stamp has been the same.
    :param settle_seconds: after how much silence an unfinished trace counts as finished.
    """
    if stamp is None:
        return Action.NOTHING if record is None else Action.REMOVE
    if record is None:
        return Action.INDEX
    if record.stamp == stamp:
        if record.quarantined:
            return Action.REPLACE if again else Action.NOTHING
        if record.ending is not None:
            return Action.NOTHING
        if quiet_seconds < settle_seconds:
            return Action.WAIT
        # An empty trace is one whose writer's buffer is not full yet; there is nothing to end.
        return Action.NOTHING if stamp.size == 0 else Action.SETTLE
    grew = stamp.ino == record.stamp.ino and stamp.size > record.stamp.size
    if grew and not record.quarantined:
        return Action.EXTEND
    return Action.REPLACE


def needs(
    sets: Sets,
    stamp: FileStamp | None,
    wanted: TierConfig,
    *,
    forced: bool = False,
    again: bool = False,
    quiet_seconds: float = 0.0,
    settle_seconds: float = float("inf"),
) -> Needs:
    """Return what a trace with these *sets* needs so that the *wanted* tiers are as on disk.

    Sets that give what is wanted are kept up to date, each with all that it holds; what none gives
    is built as one more set. A set of an earlier file gives nothing. *forced* parses anew whatever
    is used, but nothing that is not; *again* also what is in quarantine.
    """
    if stamp is None:
        return Needs(Action.REMOVE if sets else Action.NOTHING)
    actions = [
        reconcile(
            one, stamp, again=again, quiet_seconds=quiet_seconds, settle_seconds=settle_seconds
        )
        for one in sets
    ]
    usable = tuple(
        one for one, action in zip(sets, actions, strict=True) if action is not Action.REPLACE
    )
    used, missing = cover(usable, wanted)
    steps: list[Step] = []
    at: list[tuple[Action, TraceRecord]] = []
    for one, action in zip(sets, actions, strict=True):
        if one not in used:
            continue
        if forced or action.parses:
            steps.append(Step(Action.REPLACE if forced else action, one.tiers, one))
        else:
            at.append((action, one))
    if missing is not None:
        old = find_set(sets, missing)
        steps.append(Step(Action.INDEX if old is None else Action.REPLACE, missing, old))
    if steps:
        replaced = [step.record for step in steps]
        outdated = tuple(one for one in sets if one not in usable and one not in replaced)
    else:
        outdated = ()
    settled = tuple(one for action, one in at if action is Action.SETTLE)
    states = [action for action, _ in at]
    return Needs(_first(steps, states), tuple(steps), outdated, settled)


def _first(steps: list[Step], states: list[Action]) -> Action:
    if steps:
        return steps[0].action
    for action in (Action.SETTLE, Action.WAIT):
        if action in states:
            return action
    return Action.NOTHING
