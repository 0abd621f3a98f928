"""What the scheduler of one root knows and decides: no I/O, no clock, no concurrency.

The disk is told by :meth:`RootState.observe` and :meth:`RootState.apply_scan`, the store by the
registry at hand, time by ``now`` (monotonic seconds) and ``wall_ns`` (the wall clock, to compare
with modification times). Out come jobs for the parser workers and commits for the store. A trace is
in at most one job at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final, TypeAlias

from rpds import HashTrieMap

from dftindexd.actors.jobs import MAX_ATTEMPTS, Job, Task, Waiter, retry_delay
from dftindexd.index.model import FileStamp, TraceRecord
from dftindexd.index.reconcile import Action, reconcile
from dftindexd.index.scan import Scan
from dftindexd.index.store.registry import Commit, CommitQuarantine, CommitRemoval, CommitSettled

__all__ = ("RootState",)

_BATCH_TRACES: Final = 64
_BATCH_BYTES: Final = 8 << 20
#: A trace never seen to change counts as quiet if its modification time is that many settle times
#: old; the writer's clock may be wrong, so that less says nothing.
_OLD_SETTLE_TIMES: Final = 4

Traces: TypeAlias = "HashTrieMap[bytes, TraceRecord]"


@dataclass(slots=True)
class _Seen:
    stamp: FileStamp
    since: float
    changed: bool


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
        # Paths to be looked at again: what was last seen of them may be older than their record.
        self._doubtful: dict[bytes, None] = {}
        # Paths whose job ended since the look that is on its way began.
        self._since_look: set[bytes] = set()
        # Every directory that ever held a trace, however far below.
        self._directories: set[bytes] = {b""}
        self._knows_store = False
        self._last_job = 0

    @property
    def queued(self) -> int:
        """How many traces wait for a worker."""
        return len(self._queue) + len(self._urgent)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in hand, to be removed, or to be looked at again."""
        return not any(self._work())

    def _work(self) -> tuple[Collection[bytes], ...]:
        return self._urgent, self._queue, self.in_flight, self._removals, self._doubtful

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
        self._doubtful.pop(path, None)
        if stamp is None:
            self.seen.pop(path, None)
            self._forced.discard(path)
            self._forgive(path)
        elif known is None:
            self.seen[path] = _Seen(stamp, now, changed=False)
            self._note_directories((path,))
        elif known.stamp != stamp:
            self.seen[path] = _Seen(stamp, now, changed=True)
            # One that only grew does not lose its record: it may kill a worker at every size.
            if known.stamp.ino != stamp.ino:
                self._forgive(path)
        return self.evaluate(path, traces, now=now, wall_ns=wall_ns)

    def _forgive(self, path: bytes) -> None:
        self._attempts.pop(path, None)
        self._rest_until.pop(path, None)

    @property
    def doubtful(self) -> Collection[bytes]:
        """The paths that the next look at the disk has to include."""
        return self._doubtful.keys()

    def begin_look(self) -> None:
        """Note that a look at the disk begins now: jobs that end from here on may have seen the
        disk later than it."""
        self._since_look.clear()

    def apply_scan(self, scan: Scan, traces: Traces, *, now: float, wall_ns: int) -> None:
        """Take in a scan: what it does not show below its directory is gone, unless the scan could
        not look there."""
        if scan.root_error:
            self.root_error = scan.root_error
            self._doubtful.clear()  # the scan after its return shows everything
            return
        if not self._knows_store:
            self._knows_store = True
            self._note_directories(traces)
        self.root_error = ""
        self.problems = {
            path: reason for path, reason in self.problems.items() if not scan.covers(path)
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
                and path not in self._doubtful
            ):
                continue
            if path in self._since_look and (record is None or record.stamp != stamp):
                self._doubtful[path] = None
                continue
            self.observe(path, stamp, traces, now=now, wall_ns=wall_ns)
        for path in self._maybe_gone(scan, traces):
            if any(_is_below(path, problem) for problem in scan.problems):
                continue
            if path in self._since_look:
                self._doubtful[path] = None
                continue
            self.observe(path, None, traces, now=now, wall_ns=wall_ns)
        for path in [path for path in self._doubtful if scan.covers(path)]:
            if any(_is_below(path, problem) for problem in scan.problems):
                self._doubtful.pop(path)

    def _maybe_gone(self, scan: Scan, traces: Traces) -> list[bytes]:
        """Return the traces known of that the scan would have shown, but did not."""
        if scan.directory in self._directories:
            known: Iterable[bytes] = {**dict.fromkeys(traces), **self.seen, **self._doubtful}
        else:
            known = (scan.directory,)  # a hint costs the same in a store of any size
        return [path for path in known if path not in scan.stamps and scan.covers(path)]

    def _note_directories(self, paths: Iterable[bytes]) -> None:
        for path in paths:
            while b"/" in path:
                path = path.rpartition(b"/")[0]
                if path in self._directories:
                    break
                self._directories.add(path)

    def force(self, paths: Iterable[bytes]) -> None:
        """Have *paths* parsed anew, whatever the store holds of them."""
        for path in paths:
            if path in self.seen:
                self._forgive(path)
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
        if action.parses and path not in self._doubtful:
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
            if tasks and failed_before:
                continue
            if tasks and cost > room:
                break
            tasks.append(
                Task(
                    path=path,
                    action=self._action(path, record, now, wall_ns),
                    record=record,
                    stamp=self.seen[path].stamp,
                    attempt=self._attempts.get(path, 0),
                    forced=path in self._forced,
                )
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

    def failed(self, task: Task, reason: str, *, now: float) -> Commit | None:
        """Note that *task* failed; return the quarantine commit if that was once too often."""
        attempt = task.attempt + 1
        self._attempts[task.path] = attempt
        self._rest_until[task.path] = now + retry_delay(attempt)
        if attempt < MAX_ATTEMPTS:
            return None
        return CommitQuarantine(
            path=task.path,
            base_version=task.record.version if task.record is not None else 0,
            tiers=self.tiers,
            stamp=task.stamp,
            reason=reason,
        )

    def vanished(self, task: Task) -> None:
        """Note that a worker found no file; only another look can tell whether there is one now."""
        self._doubtful[task.path] = None

    def rest(self, paths: Iterable[bytes], until: float) -> None:
        """Leave *paths* in the queue but take none of them before *until*."""
        self._rest_until.update(dict.fromkeys(paths, until))

    def finished(
        self, job: Job, traces: Traces, *, unresolved: frozenset[bytes], now: float, wall_ns: int
    ) -> None:
        """Take in that *job* is over and the store is as in *traces*; *unresolved* are those of its
        traces that failed and will be tried again."""
        for task in job.tasks:
            path = task.path
            self.in_flight.pop(path, None)
            record, seen = traces.get(path), self.seen.get(path)
            if path in unresolved:
                if task.forced and seen is not None:
                    self._forced.add(path)
                self.evaluate(path, traces, now=now, wall_ns=wall_ns)
                continue
            self._since_look.add(path)
            if record is not None and not record.quarantined:
                self._forgive(path)
            if record is not None and seen is not None and record.stamp != seen.stamp:
                # The worker and the last look saw different sizes; which was later only the disk
                # can tell.
                self._doubtful[path] = None
            self.evaluate(path, traces, now=now, wall_ns=wall_ns)
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

    def satisfied(self, traces: Traces) -> list[Waiter]:
        """Take out and return the waiters who have what they waited for."""
        done = [waiter for waiter in self.waiters if self._is_satisfied(waiter)]
        for waiter in done:
            self.waiters.remove(waiter)
            waiter.problems = self._problems(waiter, traces)
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

    def _problems(self, waiter: Waiter, traces: Traces) -> dict[bytes, str]:
        unreadable = {
            path: text
            for path, text in self.problems.items()
            if waiter.covers(path) or _is_below(waiter.below, path)
        }
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
