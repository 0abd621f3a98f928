"""What a root's state hands out: jobs for the workers, and who waits for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dftindexd.index.model import FileStamp, TraceRecord
from dftindexd.index.reconcile import Action

__all__ = ("MAX_ATTEMPTS", "Job", "Task", "Waiter", "retry_delay")

#: After how many failures a trace is quarantined.
MAX_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Task:
    """One trace of a job: what to do, on which record, how often it has failed, and whether it is
    to be parsed whatever the store holds."""

    path: bytes
    action: Action
    record: TraceRecord | None
    stamp: FileStamp
    attempt: int
    forced: bool


@dataclass(frozen=True, slots=True)
class Job:
    """Traces that one worker reads in one go; numbers ascend with the moment a job was made."""

    number: int
    tasks: tuple[Task, ...]


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
        return not self.below or path == self.below or path.startswith(self.below + b"/")


def retry_delay(attempt: int) -> float:
    """Return how many seconds a trace rests after its *attempt*-th failure (from 1)."""
    return float(min(30.0, 0.1 * 4.0 ** (attempt - 1)))
