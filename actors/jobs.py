"""What a root's state hands out: jobs for the workers, and who waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from dftindexd.actors.directories import is_below
from dftindexd.index.model import FileStamp, TraceRecord
from dftindexd.index.reconcile import Step
from dftindexd.index.store.registry import Commit, CommitQuarantine, CommitRemoval
from dftindexd.index.tier_sets import Sets

__all__ = (
    "MAX_ATTEMPTS",
    "FailedStep",
    "Job",
    "Task",
    "Waiter",
    "problems_of",
    "quarantine_delay",
    "quarantine_of",
    "removals_of",
    "retry_delay",
    "segments_of",
)

#: After how many failures a trace is quarantined.
MAX_ATTEMPTS: Final = 3

_HOUR: Final = 3600
_DAY: Final = 24 * _HOUR

#: A segment ends early when it holds very many distinct texts, which take more on disk than this.
_BYTES_OF_FULL_SEGMENT: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class Task:
    """One trace of a job: how often it has failed, and whether it is to be parsed whatever the
    store holds.

    ``steps`` are its parses, ``whole`` whether these are all that it needs. ``outdated`` sets go
    when one of them commits.
    """

    path: bytes
    steps: tuple[Step, ...]
    stamp: FileStamp
    attempt: int = 0
    forced: bool = False
    whole: bool = True
    outdated: Sets = ()


@dataclass(frozen=True, slots=True)
class FailedStep:
    """A parse that failed, and why; ``gone``: there is no file at the path."""

    step: Step
    reason: str
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Traces that one worker reads in one go; numbers ascend with the moment a job was made.

    ``bytes`` is how much of their files is read. Somebody waits for *urgent* ones.
    """

    number: int
    tasks: tuple[Task, ...]
    bytes: int = 0
    urgent: bool = False


@dataclass(slots=True)
class Waiter:
    """Somebody who waits for traces below a path.

    ``until_finished`` waits for each trace's end, else only for what was on disk: then ``pending``
    holds the traces still owed, each satisfied by a job numbered above ``floor``. ``abandoned``:
    nobody waits any more.
    """

    below: bytes
    until_finished: bool = False
    pending: set[bytes] = field(default_factory=set)
    floor: int = 0
    problems: dict[bytes, str] = field(default_factory=dict)
    abandoned: bool = False

    def covers(self, path: bytes) -> bool:
        """Return whether *path* is the waiter's trace or lies below its directory."""
        return is_below(path, self.below)


def removals_of(sets: Sets) -> list[CommitRemoval]:
    """Return the commits that take *sets* of a trace away."""
    return [CommitRemoval(path=one.path, base_version=one.version, tiers=one.tiers) for one in sets]


def problems_of(
    waiter: Waiter, unreadable: Mapping[bytes, str], records: Iterable[TraceRecord]
) -> dict[bytes, str]:
    """Return what *waiter* does not get as it is on disk, with the reason of each: paths that are
    *unreadable*, and those of *records* that are quarantined."""
    hidden = {
        path: text
        for path, text in unreadable.items()
        if waiter.covers(path) or is_below(waiter.below, path)
    }
    quarantined = {
        one.path: one.quarantined for one in records if one.quarantined and waiter.covers(one.path)
    }
    return hidden | quarantined


def quarantine_of(task: Task, steps: Iterable[Step], reason: str) -> list[Commit]:
    """Return the commits that put what *steps* of *task* build in quarantine."""
    quarantines = [
        CommitQuarantine(
            path=task.path,
            base_version=step.base_version,
            tiers=step.tiers,
            stamp=task.stamp,
            reason=reason,
        )
        for step in steps
    ]
    return [*quarantines, *removals_of(task.outdated)]


def segments_of(size: int) -> int:
    """Return how many segments *size* bytes of a trace can take at most."""
    return 1 + max(size, 0) // _BYTES_OF_FULL_SEGMENT


def retry_delay(attempt: int) -> float:
    """Return how many seconds a trace rests after its *attempt*-th failure (from 1)."""
    return float(min(30.0, 0.1 * 4.0 ** (attempt - 1)))


def quarantine_delay(tries: int) -> float:
    """Return after how many seconds a quarantined trace is tried by itself that was so *tries*
    times already: what kills a worker today may be a full memory, or a file system that is ill."""
    return float(min(_DAY, _HOUR * 2 ** min(tries, 5)))
