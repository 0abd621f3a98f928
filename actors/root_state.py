"""What the scheduler of one root knows and decides: no I/O, no clock, no concurrency.

The disk is told by :meth:`RootState.observe` and :meth:`RootState.apply_scan`, the store by the
registry at hand, time by ``now`` (monotonic seconds) and ``wall_ns`` (the wall clock, to compare
with modification times). Out come jobs for the parser workers and commits for the store. A trace is
in at most one job at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Final

import immutables

from dftindexd.index.model import FileStamp, TraceRecord
from dftindexd.index.reconcile import Action, reconcile
from dftindexd.index.scan import Scan
from dftindexd.index.store.registry import Commit, CommitQuarantine, CommitRemoval, CommitSettled

__all__ = ("MAX_ATTEMPTS", "Job", "RootState", "Task", "Waiter", "retry_delay")

#: After how many failures a trace is quarantined.
MAX_ATTEMPTS: Final = 3

_BATCH_TRACES: Final = 64
_BATCH_BYTES: Final = 8 << 20
#: A trace never seen to change counts as quiet if its modification time is that many settle times
#: old; the writer's clock may be wrong, so that less says nothing.
_OLD_SETTLE_TIMES: Final = 4

Traces = immutables.Map[bytes, TraceRecord]


@dataclass(frozen=True, slots=True)
class Task:
    """One trace of a job: what to do, on which record, and how often it has failed."""

    path: bytes
    action: Action
    record: TraceRecord | None
    stamp: FileStamp
    attempt: int


@dataclass(frozen=True, slots=True)
class Job:
    """Traces that one worker reads in one go; numbers ascend with the moment a job was made."""

    number: int
    tasks: tuple[Task, ...]


@dataclass(slots=True)
class Waiter:
    """Somebody who waits for traces below a path.

    ``until_finished`` waits for each trace's end, else only for what was on disk: then ``pending``
    holds the traces still owed, each satisfied by a job numbered above ``floor``.
    """

    below: bytes
    until_finished: bool = False
    pending: set[bytes] = field(default_factory=set)
    floor: int = 0
    problems: dict[bytes, str] = field(default_factory=dict)

    def covers(self, path: bytes) -> bool:
        """Return whether *path* is the waiter's trace or lies below its directory."""
        return not self.below or path == self.below or path.startswith(self.below + b"/")


@dataclass(slots=True)
class _Seen:
    stamp: FileStamp
    since: float
    changed: bool


def retry_delay(attempt: int) -> float:
    """Return how many seconds a trace rests after its *attempt*-th failure (from 1)."""
    return float(min(30.0, 0.1 * 4.0 ** (attempt - 1)))


class RootState:
    """The disk as last seen, the queue, the jobs in hand and who waits for them."""

    def __init__(self, *, tiers: bytes, settle_seconds: float) -> None:
        self.tiers = tiers
        self.settle_seconds = settle_seconds
        self.seen: dict[bytes, _Seen] = {}
        self.problems: dict[bytes, str] = {}
        self.root_error = ""
        self.in_flight: dict[bytes, int] = {}
        self.waiters: list[Waiter] = []
        self._urgent: dict[bytes, None] = {}
        self._queue: dict[bytes, None] = {}
        self._removals: dict[bytes, None] = {}
        self._unfinished: dict[bytes, None] = {}
        self._forced: set[bytes] = set()
        self._attempts: dict[bytes, int] = {}
        self._rest_until: dict[bytes, float] = {}
        self._last_job = 0

    @property
    def queued(self) -> int:
        """How many traces wait for a worker."""
        return len(self._queue) + len(self._urgent)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in hand, or to be removed."""
        return not (self._queue or self._urgent or self.in_flight or self._removals)

    def queued_bytes(self, traces: Traces) -> int:
        """Return how many bytes on disk the queued and running jobs have to read."""
        return sum(
            self._cost(path, traces.get(path))
            for group in (self._urgent, self._queue, self.in_flight)
            for path in group
        )

    def _cost(self, path: bytes, record: TraceRecord | None) -> int:
        seen = self.seen.get(path)
        if seen is None:
            return 0
        if record is None or record.resume is None or path in self._forced:
            return seen.stamp.size
        return max(0, seen.stamp.size - record.resume.c_offset)

    # -- what the disk shows ----------------------------------------------------------------

    def observe(
        self, path: bytes, stamp: FileStamp | None, traces: Traces, *, now: float, wall_ns: int
    ) -> Action:
        """Take in that *path* now has *stamp* (``None``: it is gone) and queue what follows."""
        known = self.seen.get(path)
        if stamp is None:
            self.seen.pop(path, None)
        elif known is None:
            self.seen[path] = _Seen(stamp, now, changed=False)
        elif known.stamp != stamp:
            self.seen[path] = _Seen(stamp, now, changed=True)
            self._attempts.pop(path, None)
            self._rest_until.pop(path, None)
        return self.evaluate(path, traces, now=now, wall_ns=wall_ns)

    def apply_scan(self, scan: Scan, traces: Traces, *, now: float, wall_ns: int) -> None:
        """Take in a scan: what it does not show below its directory is gone, unless the scan could
        not look there."""
        if scan.root_error:
            self.root_error = scan.root_error
            return
        self.root_error = ""
        self.problems = {
            path: reason
            for path, reason in self.problems.items()
            if not _is_below(path, scan.directory)
        } | scan.problems
        for path, stamp in scan.stamps.items():
            known = self.seen.get(path)
            record = traces.get(path)
            if (
                known is not None
                and record is not None
                and known.stamp == stamp == record.stamp
                and record.ending is not None
                and record.tiers == self.tiers
                and path not in self._forced
            ):
                continue
            self.observe(path, stamp, traces, now=now, wall_ns=wall_ns)
        for path in [*self.seen, *traces]:
            if path in scan.stamps or not _is_below(path, scan.directory):
                continue
            if not any(_is_below(path, problem) for problem in scan.problems):
                self.observe(path, None, traces, now=now, wall_ns=wall_ns)

    def force(self, paths: Iterable[bytes]) -> None:
        """Have *paths* parsed anew, whatever the store holds of them."""
        for path in paths:
            if path in self.seen:
                self._forced.add(path)
                self._urgent[path] = None

    def hurry(self, paths: Iterable[bytes]) -> None:
        """Move those of *paths* that are queued ahead of the others."""
        for path in paths:
            if path in self._queue:
                del self._queue[path]
                self._urgent[path] = None

    # -- what follows from it ---------------------------------------------------------------

    def evaluate(self, path: bytes, traces: Traces, *, now: float, wall_ns: int) -> Action:
        """Queue whatever *path* needs, drop what it no longer needs, and return its action."""
        action = self._action(path, traces.get(path), now, wall_ns)
        if action.parses:
            if path not in self._urgent:
                self._queue[path] = None
        else:
            self._urgent.pop(path, None)
            self._queue.pop(path, None)
        _keep(self._removals, path, action is Action.REMOVE)
        _keep(self._unfinished, path, action in (Action.WAIT, Action.SETTLE))
        return action

    def _action(self, path: bytes, record: TraceRecord | None, now: float, wall_ns: int) -> Action:
        seen = self.seen.get(path)
        if seen is not None and path in self._forced:
            return Action.INDEX if record is None else Action.REPLACE
        return reconcile(
            record,
            seen.stamp if seen is not None else None,
            tiers=self.tiers,
            quiet_seconds=self._quiet(seen, now, wall_ns) if seen is not None else 0.0,
            settle_seconds=self.settle_seconds,
        )

    def _quiet(self, seen: _Seen, now: float, wall_ns: int) -> float:
        watched = now - seen.since
        by_clock = (wall_ns - seen.stamp.mtime_ns) / 1e9
        if not seen.changed and by_clock >= _OLD_SETTLE_TIMES * self.settle_seconds:
            return by_clock
        return watched

    def next_job(self, traces: Traces, *, now: float, wall_ns: int, workers: int) -> Job | None:
        """Take the next traces from the queue: one large one, or a batch of small ones."""
        limit = min(_BATCH_TRACES, ceil(self.queued / (2 * workers)) or 1)
        tasks: list[Task] = []
        room = _BATCH_BYTES
        for path in self._ready(now):
            record = traces.get(path)
            cost = self._cost(path, record)
            failed_before = path in self._attempts
            if tasks and (failed_before or cost > room):
                continue
            action = self._action(path, record, now, wall_ns)
            tasks.append(
                Task(path, action, record, self.seen[path].stamp, self._attempts.get(path, 0))
            )
            room -= cost
            if len(tasks) == limit or room <= 0 or failed_before:
                break
        if not tasks:
            return None
        self._last_job += 1
        for task in tasks:
            self._urgent.pop(task.path, None)
            self._queue.pop(task.path, None)
            self._forced.discard(task.path)
            self.in_flight[task.path] = self._last_job
        return Job(self._last_job, tuple(tasks))

    def _ready(self, now: float) -> Iterator[bytes]:
        for group in (self._urgent, self._queue):
            for path in group:
                if path in self.in_flight or self._rest_until.get(path, now) > now:
                    continue
                yield path

    def removals(self, traces: Traces) -> list[Commit]:
        """Return the commits for traces that are gone from disk."""
        return [
            CommitRemoval(path=path, base_version=traces[path].version)
            for path in self._removals
            if path in traces and path not in self.in_flight
        ]

    def settled(self, traces: Traces, *, now: float, wall_ns: int) -> list[Commit]:
        """Return the commits for unfinished traces that have been quiet for long enough."""
        return [
            CommitSettled(path=path, base_version=record.version)
            for path in self._unfinished
            if path not in self.in_flight
            and (record := traces.get(path)) is not None
            and self._action(path, record, now, wall_ns) is Action.SETTLE
        ]

    # -- what became of it ------------------------------------------------------------------

    def failed(self, task: Task, reason: str, *, now: float, final: bool = False) -> Commit | None:
        """Note that *task* failed; return the quarantine commit if that was once too often."""
        attempt = task.attempt + 1
        if final or attempt >= MAX_ATTEMPTS:
            self._attempts.pop(task.path, None)
            return CommitQuarantine(
                path=task.path,
                base_version=task.record.version if task.record is not None else 0,
                tiers=self.tiers,
                stamp=task.stamp,
                reason=reason,
            )
        self._attempts[task.path] = attempt
        self._rest_until[task.path] = now + retry_delay(attempt)
        return None

    def rest(self, paths: Iterable[bytes], until: float) -> None:
        """Leave *paths* in the queue but take none of them before *until*."""
        self._rest_until.update(dict.fromkeys(paths, until))

    def finished(
        self, job: Job, traces: Traces, *, unresolved: frozenset[bytes], now: float, wall_ns: int
    ) -> None:
        """Take in that *job* is over and the store is as in *traces*; *unresolved* are those of its
        traces that failed and will be tried again."""
        for task in job.tasks:
            self.in_flight.pop(task.path, None)
            if task.path not in unresolved:
                self._rest_until.pop(task.path, None)
            self.evaluate(task.path, traces, now=now, wall_ns=wall_ns)
            if task.path in unresolved:
                continue
            for waiter in self.waiters:
                if job.number > waiter.floor:
                    waiter.pending.discard(task.path)

    # -- who waits --------------------------------------------------------------------------

    def owe(self, waiter: Waiter) -> None:
        """Have *waiter* wait for all that is queued, in hand or to be removed now below its path."""
        waiter.floor = self._last_job
        for group in (self._urgent, self._queue, self.in_flight, self._removals):
            waiter.pending.update(path for path in group if waiter.covers(path))
        self.waiters.append(waiter)

    def satisfied(self, traces: Traces) -> list[Waiter]:
        """Take out and return the waiters who have what they waited for."""
        done = [waiter for waiter in self.waiters if self._is_satisfied(waiter, traces)]
        for waiter in done:
            self.waiters.remove(waiter)
            waiter.problems = self._problems(waiter, traces)
        return done

    def _is_satisfied(self, waiter: Waiter, traces: Traces) -> bool:
        waiter.pending = {path for path in waiter.pending if self._has_work(path)}
        if waiter.pending:
            return False
        if not waiter.until_finished:
            return True
        unfinished = (path for path in self._unfinished if waiter.covers(path))
        busy = (path for path in [*self.seen, *self.in_flight] if waiter.covers(path))
        return next(unfinished, None) is None and not any(map(self._has_work, busy))

    def _has_work(self, path: bytes) -> bool:
        return (
            path in self.in_flight
            or path in self._queue
            or path in self._urgent
            or path in self._removals
        )

    def _problems(self, waiter: Waiter, traces: Traces) -> dict[bytes, str]:
        unreadable = {path: text for path, text in self.problems.items() if waiter.covers(path)}
        quarantined = {
            path: record.quarantined
            for path, record in traces.items()
            if record.quarantined and waiter.covers(path)
        }
        return unreadable | quarantined


def _keep(group: dict[bytes, None], path: bytes, wanted: bool) -> None:
    if wanted:
        group[path] = None
    else:
        group.pop(path, None)


def _is_below(path: bytes, directory: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")
