"""What the scheduler of one root knows and decides: no I/O, no clock, no concurrency.

The disk is told by :meth:`RootState.observe` and :meth:`RootState.apply`, the store by the sets of
its traces, time by ``now`` (monotonic seconds) and ``wall_ns`` (the wall clock, to compare
with modification times). Out come jobs for the parser workers and commits for the store. A trace is
in at most one job at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import ceil
from typing import Final, TypeAlias

from msgspec.structs import replace
from rpds import HashTrieMap

from dftindexd.actors.admission import BATCH_BYTES, Demand
from dftindexd.actors.directories import Directories, is_below
from dftindexd.actors.jobs import (
    MAX_ATTEMPTS,
    Job,
    Task,
    Waiter,
    problems_of,
    quarantine_of,
    removals_of,
)
from dftindexd.actors.retries import Retries
from dftindexd.actors.seen import Seen
from dftindexd.actors.trace_queue import Group, TraceQueue
from dftindexd.index.model import FileStamp, TierConfig, TraceRecord
from dftindexd.index.reconcile import Action, Needs, Step, needs
from dftindexd.index.scan import Scan
from dftindexd.index.store.registry import Commit, CommitSettled
from dftindexd.index.tier_sets import Sets, find_set, newest_show

__all__ = ("RootState", "Traces")

_BATCH_TRACES: Final = 64
_UNMOUNTED: Final = "it is empty and lies on another file system: its own may not be mounted"
Traces: TypeAlias = "HashTrieMap[bytes, Sets]"


class RootState:
    """The disk as last seen, the queue, the jobs in hand and who waits for them."""

    def __init__(self, *, tiers: TierConfig, settle_seconds: float) -> None:
        self.tiers = tiers.normal()
        self.settle_seconds = settle_seconds
        self.seen: dict[bytes, Seen] = {}
        self.seen_bytes = 0
        self.problems: dict[bytes, str] = {}
        self.root_error = ""
        self.device: int | None = None
        """On which the root lies, as a scan of all of it last showed."""
        self.in_flight: dict[bytes, int] = {}
        self.waiters: list[Waiter] = []
        self.queue = TraceQueue()
        # How much each job in hand has to have read.
        self._reading: dict[int, int] = {}
        self._removals: dict[bytes, None] = {}
        self._unfinished: dict[bytes, None] = {}
        self._forced: set[bytes] = set()
        self.retries = Retries()
        # Paths to be looked at again: what was last seen of them may be older than their record.
        self._doubtful: dict[bytes, None] = {}
        # Paths whose job ended since the look that is on its way began.
        self._since_look: set[bytes] = set()
        # The sets of traces that needed nothing as last seen, which spares looking again.
        self._at_rest: dict[bytes, Sets] = {}
        self._directories = Directories()
        self._knows_store = False
        self._last_job = 0

    @property
    def queued(self) -> int:
        """How many traces wait for a worker."""
        return len(self.queue)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in hand, to be removed, or to be looked at again."""
        return not any(self._work())

    def _work(self) -> tuple[Collection[bytes], ...]:
        return self.queue, self.in_flight, self._removals, self._doubtful

    @property
    def pending_bytes(self) -> int:
        """How many bytes on disk the queued and running jobs have to read."""
        return self.queue.bytes + sum(self._reading.values())

    def _cost(self, path: bytes, steps: Iterable[Step]) -> int:
        seen = self.seen.get(path)
        if seen is None:
            return 0
        return sum(max(0, seen.stamp.size - step.c_begin) for step in steps)

    # -- what the disk shows ----------------------------------------------------------------

    def observe(
        self, path: bytes, stamp: FileStamp | None, traces: Traces, *, now: float, wall_ns: int
    ) -> Action:
        """Take in that *path* now has *stamp* (``None``: it is gone) and queue what follows."""
        known = self.seen.get(path)
        self._doubtful.pop(path, None)
        self.seen_bytes += (stamp.size if stamp else 0) - (known.stamp.size if known else 0)
        if stamp is None:
            self.seen.pop(path, None)
            self._forced.discard(path)
            self.retries.forgive(path)
        elif known is None:
            self.seen[path] = Seen(stamp, now, changed=False)
            self._directories.note((path,))
        elif known.stamp != stamp:
            self.seen[path] = Seen(stamp, now, changed=True)
            # One that only grew does not lose its record: it may kill a worker at every size.
            if known.stamp.ino != stamp.ino:
                self.retries.forgive(path)
        return self.evaluate(path, traces, now=now, wall_ns=wall_ns)

    @property
    def doubtful(self) -> Collection[bytes]:
        """The paths that the next look at the disk has to include."""
        return self._doubtful.keys()

    def begin_look(self) -> None:
        """Note that a look at the disk begins now: jobs that end from here on may have seen the
        disk later than it."""
        self._since_look.clear()

    def compare(self, scan: Scan, traces: Traces) -> tuple[Scan, list[bytes]]:
        """Return *scan* without the traces that it shows as they were left, and those that it would
        have shown, but did not.

        It changes nothing and may run in another thread, beside anything but another look.
        """
        gone = self._maybe_gone(scan, traces)
        if gone and not scan.stamps and self.device not in (None, scan.device):
            return replace(scan, root_error=scan.root_error or _UNMOUNTED), []
        changed = {
            path: stamp
            for path, stamp in scan.stamps.items()
            if (known := self.seen.get(path)) is None
            or known.stamp != stamp
            or self._at_rest.get(path) is not traces.get(path, ())
            or path in self._forced
            or path in self._doubtful
        }
        return replace(scan, stamps=changed), gone

    def apply(
        self, scan: Scan, gone: Iterable[bytes], traces: Traces, *, now: float, wall_ns: int
    ) -> None:
        """Take in what is left of a scan: what is *gone* is removed, unless the scan could not look
        there."""
        if scan.root_error:
            self.root_error = scan.root_error
            self._doubtful.clear()  # the scan after its return shows everything
            return
        if not self._knows_store:
            self._knows_store = True
            self._directories.note(traces)
        self.root_error = ""
        if not scan.directory:
            self.device = scan.device
        self.problems = {
            path: reason for path, reason in self.problems.items() if not scan.covers(path)
        } | scan.problems
        for path, stamp in scan.stamps.items():
            sets = traces.get(path, ())
            if self._is_done(path, stamp, sets, now):
                continue
            if path in self._since_look and not newest_show(sets, stamp):
                self._doubtful[path] = None
                continue
            self.observe(path, stamp, traces, now=now, wall_ns=wall_ns)
        for path in gone:
            if any(is_below(path, problem) for problem in scan.problems):
                continue
            if path in self._since_look:
                self._doubtful[path] = None
                continue
            self.observe(path, None, traces, now=now, wall_ns=wall_ns)
        for path in [path for path in self._doubtful if scan.covers(path)]:
            if any(is_below(path, problem) for problem in scan.problems):
                self._doubtful.pop(path)

    def _is_done(self, path: bytes, stamp: FileStamp, sets: Sets, now: float) -> bool:
        """Take in a trace never seen before that needs nothing, where that is told at once: most
        traces of a large root never change again."""
        if path in self.seen or path in self._doubtful or path in self._removals or len(sets) != 1:
            return False
        (one,) = sets
        if one.stamp != stamp or one.tiers != self.tiers or one.ending is None:
            return False
        # The record's own path and stamp: of very many traces the scan's need not be held as well.
        self._at_rest[one.path] = sets
        self.seen[one.path] = Seen(one.stamp, now, changed=False)
        self.seen_bytes += stamp.size
        self._directories.note((path,))
        return True

    def _maybe_gone(self, scan: Scan, traces: Traces) -> list[bytes]:
        if self._knows_store and scan.directory not in self._directories:
            known = {scan.directory}  # a hint costs the same in a store of any size
        else:
            # A loop over the large map lets other threads run; a set made of it would not.
            known = {path for path in traces}  # noqa: C416
            known.update(self.seen, self._doubtful)
        return sorted(filter(scan.covers, known.difference(scan.stamps)))

    def seen_by(self, waiter: Waiter) -> list[bytes]:
        """Return the traces on disk that *waiter* covers."""
        if waiter.below not in self._directories:
            return [waiter.below] if waiter.below in self.seen else []
        return [path for path in self.seen if not waiter.below or waiter.covers(path)]

    def force(self, paths: Iterable[bytes]) -> None:
        """Have *paths* parsed anew, whatever the store holds of them."""
        for path in paths:
            if path in self.seen:
                self.retries.forgive(path)
                self._forced.add(path)
                self.queue.put(path, self.seen[path].stamp.size, urgent=True)

    def try_quarantined(self, traces: Traces, *, now: float, wall_ns: int) -> None:
        """Queue the quarantined traces whose time it is to be tried once more."""
        for path in self.retries.due(now):
            self.evaluate(path, traces, now=now, wall_ns=wall_ns)

    def hurry(self, paths: Iterable[bytes]) -> None:
        """Move those of *paths* that are queued ahead of the others."""
        for path in paths:
            self.queue.hurry(path)

    # -- what follows from it ---------------------------------------------------------------

    def evaluate(self, path: bytes, traces: Traces, *, now: float, wall_ns: int) -> Action:
        """Queue whatever *path* needs, drop what it no longer needs, and return its action."""
        sets = traces.get(path, ())
        needed = self._needs(path, sets, now, wall_ns)
        action = needed.action
        if action.parses and path not in self._doubtful:
            cost = self._cost(path, needed.steps)
            owed = any(path in waiter.pending for waiter in self.waiters)
            self.queue.put(path, cost, growing=action is Action.EXTEND, urgent=owed)
        else:
            self.queue.discard(path)
        _keep(self._removals, path, action is Action.REMOVE)
        _keep(self._unfinished, path, action in (Action.WAIT, Action.SETTLE))
        if action is Action.NOTHING and sets:
            self._at_rest[path] = sets
            if any(one.quarantined for one in sets):
                self.retries.quarantined(path, now)
        else:
            self._at_rest.pop(path, None)
        return action

    def _needs(self, path: bytes, sets: Sets, now: float, wall_ns: int) -> Needs:
        seen = self.seen.get(path)
        quiet = seen.quiet_seconds(self.settle_seconds, now, wall_ns) if seen is not None else 0.0
        return needs(
            sets,
            seen.stamp if seen is not None else None,
            self.tiers,
            forced=path in self._forced,
            again=self.retries.tries_again(path),
            quiet_seconds=quiet,
            settle_seconds=self.settle_seconds,
        )

    def next_job(self, traces: Traces, *, now: float, wall_ns: int, workers: int) -> Job | None:
        """Take the next traces from the queue: one large one, or a batch of small ones."""
        for group in self.queue.groups(self._last_job + 1):
            limit = min(_BATCH_TRACES, ceil(group.size / (2 * workers)) or 1)
            tasks = self._tasks_of(group, limit, traces, now, wall_ns)
            if tasks:
                return self._job(tasks, urgent=group.urgent)
        return None

    def demand(self, now: float) -> Demand | None:
        """Return how the next job begins, ``None`` where there is none now."""
        for group in self.queue.groups(self._last_job + 1):
            for path in group.paths:
                if self._is_ready(path, now):
                    return Demand(group.urgent, self.queue.cost(path))
        return None

    def _tasks_of(
        self, group: Group, limit: int, traces: Traces, now: float, wall_ns: int
    ) -> list[Task]:
        tasks: list[Task] = []
        room = BATCH_BYTES
        for path in group.paths:
            if not self._is_ready(path, now):
                continue
            task = self._task(path, self._needs(path, traces.get(path, ()), now, wall_ns))
            cost = self._cost(path, task.steps)
            failed_before = task.attempt > 0
            if tasks and failed_before:
                continue
            if tasks and cost > room:
                break
            tasks.append(task)
            room -= cost
            if len(tasks) == limit or room <= 0 or failed_before:
                break
        return tasks

    def _job(self, tasks: list[Task], *, urgent: bool) -> Job:
        self._last_job += 1
        size = sum(self._cost(task.path, task.steps) for task in tasks)
        self._reading[self._last_job] = size
        for task in tasks:
            self.queue.discard(task.path)
            self._forced.discard(task.path)
            self.in_flight[task.path] = self._last_job
        return Job(self._last_job, tuple(tasks), size, urgent)

    def _task(self, path: bytes, needed: Needs) -> Task:
        """Return the task of a trace. One that failed before takes its parses one at a time, so
        that a set that cannot be built does not cost the others."""
        attempt, forced = self.retries.attempts(path), path in self._forced
        steps = needed.steps[-1:] if attempt and not forced else needed.steps
        return Task(
            path=path,
            steps=steps,
            stamp=self.seen[path].stamp,
            attempt=attempt,
            forced=forced,
            whole=len(steps) == len(needed.steps),
            outdated=needed.outdated,
        )

    def _is_ready(self, path: bytes, now: float) -> bool:
        return path not in self.in_flight and not self.retries.rests(path, now)

    def removals(self, traces: Traces) -> list[Commit]:
        """Return the commits for traces that are gone from disk."""
        return [
            commit
            for path in self._removals
            if path not in self.in_flight
            for commit in removals_of(traces.get(path, ()))
        ]

    def settled(self, traces: Traces, *, now: float, wall_ns: int) -> list[Commit]:
        """Return the commits for unfinished traces that have been quiet for long enough."""
        commits: list[Commit] = []
        for path in [path for path in self._unfinished if path not in self.in_flight]:
            needed = self._needs(path, traces.get(path, ()), now, wall_ns)
            if needed.action is Action.NOTHING:  # it is empty, and nobody waits for it any more
                self.evaluate(path, traces, now=now, wall_ns=wall_ns)
            commits += [
                CommitSettled(path=path, base_version=one.version, tiers=one.tiers)
                for one in needed.settled
            ]
        return commits

    # -- what became of it ------------------------------------------------------------------

    def failed(self, task: Task, steps: Iterable[Step], reason: str, *, now: float) -> list[Commit]:
        """Note that *steps* of *task* failed; return the quarantine commits if that was once too
        often."""
        attempt = task.attempt + 1
        self.retries.failed(task.path, attempt, now)
        return quarantine_of(task, steps, reason) if attempt >= MAX_ATTEMPTS else []

    def vanished(self, task: Task) -> None:
        """Note that a worker found no file; only another look can tell whether there is one now."""
        self._doubtful[task.path] = None

    def finished(
        self, job: Job, traces: Traces, *, unresolved: frozenset[bytes], now: float, wall_ns: int
    ) -> None:
        """Take in that *job* is over and the store is as in *traces*; *unresolved* are those of its
        traces that failed and will be tried again."""
        self._reading.pop(job.number, None)
        for task in job.tasks:
            path = task.path
            self.in_flight.pop(path, None)
            sets, seen = traces.get(path, ()), self.seen.get(path)
            if path in unresolved:
                if task.forced and seen is not None:
                    self._forced.add(path)
                self.evaluate(path, traces, now=now, wall_ns=wall_ns)
                continue
            self._since_look.add(path)
            built = [find_set(sets, step.tiers) for step in task.steps]
            if task.whole and all(one is not None and not one.quarantined for one in built):
                self.retries.forgive(path)
            if seen is not None and any(one and one.stamp != seen.stamp for one in built):
                # The worker and the last look saw different sizes; which was later only the disk
                # can tell.
                self._doubtful[path] = None
            self.evaluate(path, traces, now=now, wall_ns=wall_ns)
            if not task.whole:
                continue
            for waiter in self.waiters:
                if job.number > waiter.floor:
                    waiter.pending.discard(path)

    # -- who waits --------------------------------------------------------------------------

    def owe(self, waiter: Waiter) -> None:
        """Have *waiter* wait for all that there is to do now below its path."""
        waiter.floor = self._last_job
        for group in self._work():
            waiter.pending.update(path for path in group if waiter.covers(path))
        self.waiters.append(waiter)

    def satisfied(self, shown: HashTrieMap[bytes, TraceRecord]) -> list[Waiter]:
        """Take out and return the waiters who have what they waited for; *shown* has the record of
        each trace that says how it is."""
        done = [waiter for waiter in self.waiters if self._is_satisfied(waiter)]
        for waiter in done:
            self.waiters.remove(waiter)
            waiter.problems = self._problems(waiter, shown)
        return done

    def _is_satisfied(self, waiter: Waiter) -> bool:
        if waiter.abandoned:
            return True
        while waiter.pending:
            path = waiter.pending.pop()
            if any(path in group for group in self._work()):
                waiter.pending.add(path)
                return False
        if not waiter.until_finished:
            return True
        return not any(
            waiter.covers(path) for group in (self._unfinished, *self._work()) for path in group
        )

    def _problems(self, waiter: Waiter, shown: HashTrieMap[bytes, TraceRecord]) -> dict[bytes, str]:
        if waiter.below in self._directories:
            known: Iterable[TraceRecord] = shown.values()
        else:
            known = (one,) if (one := shown.get(waiter.below)) is not None else ()
        return problems_of(waiter, self.problems, known)


def _keep(group: dict[bytes, None], path: bytes, wanted: bool) -> None:
    if wanted:
        group[path] = None
    else:
        group.pop(path, None)
