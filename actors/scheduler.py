"""The scheduler of one root: it looks at the disk, has traces parsed, and has them committed.

What it decides is in :class:`RootState`; this actor does what that says. Looking at the disk and
running jobs are child tasks that report back by messages, so that the actor always answers. Whoever
waits leaves a :class:`Ticket`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from functools import partial
from typing import assert_never

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
from rpds import HashTrieMap

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.children import ChildFailed, Children
from dftindexd.actors.commands import CommitResult, Condemn, Remove, Write
from dftindexd.actors.errors import ActorEndedError, ActorError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.file_systems import WantedBackend
from dftindexd.actors.job_runner import JobOutcome, JobRunner
from dftindexd.actors.jobs import Job, removals_of
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.merging import Merging
from dftindexd.actors.rebuilding import end_rebuilding
from dftindexd.actors.root_state import RootState
from dftindexd.actors.store_handle import RETENTION_SECONDS, StoreHandle
from dftindexd.actors.tickets import Leave, Merge, Ticket
from dftindexd.actors.watch_state import WatchState, seconds_to_next_look
from dftindexd.actors.watcher import Hint
from dftindexd.index.errors import CoreError, StoreDamagedError, StoreReadOnlyError
from dftindexd.index.model import TierConfig
from dftindexd.index.scan import Scan, outermost_of, scan_tree
from dftindexd.index.store.registry import Commit
from dftindexd.index.trace_rules import TraceRules

__all__ = ("RootOptions", "RootScheduler", "Ticket")

_log = get_log(__name__)

_TICK_SECONDS = 0.25
_RETRY_SECONDS = 2.0
#: More hinted paths than this at once are looked at by one walk of the whole tree.
_MOST_HINTED_PATHS = 1000


class RootOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one root is indexed; times are seconds.

    ``follow``: index whatever is and comes below the root; else only what tickets ask for.
    ``recursive``: look below the directories of what is asked for, too. ``retention_seconds``: how
    long what was dropped is kept. A store becomes read-only where it takes more than
    ``store_limit_bytes``, or all in the state directory more than ``state_limit_bytes``. Everything
    is looked at every ``rescan_seconds``, or ``poll_seconds`` where no kernel tells of changes.
    """

    tiers: TierConfig = TierConfig()
    settle_seconds: float = 5.0
    retention_seconds: float = RETENTION_SECONDS
    store_limit_bytes: int | None = None
    state_limit_bytes: int | None = None
    rescan_seconds: float = 30.0
    poll_seconds: float = 5.0
    backend: WantedBackend = "auto"
    rules: TraceRules = TraceRules()
    follow: bool = True
    recursive: bool = True


class _Looked(msgspec.Struct, frozen=True):
    """What a look at the disk showed, and the tickets that wanted it."""

    life: int
    scans: tuple[tuple[Scan, list[bytes]], ...]
    tickets: tuple[Ticket, ...]
    seconds: float


class _JobDone(msgspec.Struct, frozen=True):
    """A job is over."""

    life: int
    job: Job
    outcome: JobOutcome


class RootScheduler(Actor):
    """Keeps the store of one root equal to the disk."""

    tick_interval = _TICK_SECONDS

    def __init__(
        self,
        root: bytes,
        options: RootOptions,
        *,
        state: RootState,
        watch: WatchState,
        handle: StoreHandle,
        store: Mailbox,
        pool: Mailbox,
        workers: int,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self.name = f"scheduler:{os.fsdecode(root)}"
        self._root = root
        self._options = options
        self._state = state
        self._watch = watch
        self._handle = handle
        self._store = store
        self._runner = JobRunner(root, handle, store, pool)
        self._workers = workers
        self._children = Children(tasks)
        self._life = 0
        self._jobs = 0
        self._hinted: set[bytes] = set()
        self._look_everywhere = options.follow
        self._wanted: list[Ticket] = []
        self._looking = False
        self._tickets: dict[int, Ticket] = {}
        self._next_rescan = 0.0
        self._store_life = 0
        self._merging = Merging()

    async def initialize(self, context: ActorContext) -> None:
        self._life = context.generation
        self._notice_store(context.mailbox)
        self._look(context.mailbox)

    async def handle(
        self,
        message: Hint | Leave | Merge | _Looked | _JobDone | ChildFailed,
        context: ActorContext,
    ) -> None:
        self._notice_store(context.mailbox)
        match message:
            case Hint():
                self._note(message)
            case Leave():
                self._wanted.append(message.ticket)
            case Merge():
                self._consider_merging(self._handle.registry.traces)
            case _Looked():
                if message.life == self._life:
                    await self._take_in(message, context)
            case _JobDone():
                if message.life == self._life:
                    await self._conclude(message, context)
            case ChildFailed():
                raise message.error
            case _:
                assert_never(message)
        await self._advance(context)

    async def tick(self, context: ActorContext) -> None:
        self._notice_store(context.mailbox)
        if self._options.follow and anyio.current_time() >= self._next_rescan:
            self._look_everywhere = True
        settled = self._state.settled(
            self._handle.registry.sets, now=anyio.current_time(), wall_ns=time.time_ns()
        )
        await self._commit(settled, context)
        if self._state.idle and (path := self._merging.take()) is not None:
            self._state.force([path])
        if self._handle.reclaim_is_due:
            self._children.start(self._reclaim, f"{self.name}:reclaim", context.mailbox)
        await self._advance(context)

    async def _reclaim(self) -> None:
        try:
            await self._handle.reclaim()
        except CoreError as error:
            _log.warning("reclaim_failed", store=self._handle.path, reason=str(error))

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        await self._children.cancel()
        error = self._interrupted()
        for ticket in [*self._wanted, *self._tickets.values()]:
            ticket.settle(error)

    def _interrupted(self) -> CoreError:
        """Return what those are told who wait in vain."""
        what = f"indexing of {os.fsdecode(self._root)} was interrupted"
        if self._handle.condemned:
            reason = f"its store is damaged and could not be set aside: {self._handle.condemned}"
            return StoreDamagedError(f"{what}: {reason}", "see the log")
        return CoreError(what, "ask again")

    # -- damage -------------------------------------------------------------------------------

    def _notice_store(self, mailbox: Mailbox) -> None:
        """Take in that the store was opened: it may be another one, which lacks everything."""
        if self._handle.lives == self._store_life:
            return
        is_first, self._store_life = self._store_life == 0, self._handle.lives
        if not is_first:
            self._look_everywhere = self._options.follow
            self._wanted += self._tickets.values()
            self._tickets.clear()
            self._state.waiters.clear()
        if self._handle.rebuilding and self._options.follow:
            self._children.start(
                partial(end_rebuilding, self._store, mailbox),
                f"{self.name}:rebuilding-{self._store_life}",
                mailbox,
            )

    async def _repair(self, context: ActorContext) -> None:
        """Have damaged traces parsed anew, damaged sets that nobody needs dropped, and a store that
        is damaged again and again set aside."""
        state, sets = self._state, self._handle.registry.sets
        due = self._handle.damage.due(sets, state.seen, state.tiers)
        for path in due.parse:
            reason = self._handle.damage.of(sets[path])
            _log.warning("trace_damaged", trace=os.fsdecode(path), reason=str(reason))
        state.force(due.parse)
        for commit in removals_of(due.drop):
            await self._ask_store(Remove(paths=(commit.path,), tiers=commit.tiers), context)
        if due.condemn:
            await self._ask_store(Condemn(reason=due.condemn), context)

    async def _ask_store(self, message: Remove | Condemn, context: ActorContext) -> None:
        try:
            with context.protect():
                await self._store.ask(message)
        except (CoreError, ActorError) as error:
            _log.warning("repair_failed", store=self._handle.path, reason=str(error))

    # -- looking at the disk ------------------------------------------------------------------

    def _note(self, hint: Hint) -> None:
        if hint.paths is None:
            self._look_everywhere = True
        else:
            self._hinted |= hint.paths
        if len(self._hinted) > _MOST_HINTED_PATHS:
            self._look_everywhere = True

    def _look(self, mailbox: Mailbox) -> None:
        """Start a look at the disk if one is wanted and none is on its way."""
        if self._looking:
            return
        doubtful = self._state.doubtful
        if not (self._look_everywhere or self._hinted or self._wanted or doubtful):
            return
        self._state.begin_look()
        directories = {*self._hinted, *doubtful, *(one.waiter.below for one in self._wanted)}
        if self._look_everywhere:
            directories.add(b"")
            self._next_rescan = math.inf
        tickets = tuple(self._wanted)
        self._hinted, self._look_everywhere, self._wanted = set(), False, []
        self._looking = True
        self._tickets |= {id(ticket.waiter): ticket for ticket in tickets}

        options, traces = self._options, self._handle.registry.sets
        outermost = outermost_of(directories) if options.recursive else directories

        def scan() -> tuple[tuple[Scan, list[bytes]], ...]:
            return tuple(
                self._state.compare(
                    scan_tree(
                        self._root, directory, recursive=options.recursive, rules=options.rules
                    ),
                    traces,
                )
                for directory in outermost
            )

        async def look() -> None:
            begin = anyio.current_time()
            scans = await anyio.to_thread.run_sync(scan, abandon_on_cancel=True)
            seconds = anyio.current_time() - begin
            await mailbox.tell(_Looked(self._life, scans, tickets, seconds))

        self._children.start(look, f"{self.name}:look", mailbox)

    async def _take_in(self, looked: _Looked, context: ActorContext) -> None:
        self._looking = False
        traces = self._handle.registry.sets
        now, wall_ns = anyio.current_time(), time.time_ns()
        if self._next_rescan == math.inf:
            self._next_rescan = now + seconds_to_next_look(self._watch.interval, looked.seconds)
        for scan, gone in looked.scans:
            self._state.apply(scan, gone, traces, now=now, wall_ns=wall_ns)
        await self._repair(context)  # so that the tickets wait for it, too
        for ticket in looked.tickets:
            if id(ticket.waiter) in self._tickets:  # else it waits for another look
                self._serve(ticket)

    def _serve(self, ticket: Ticket) -> None:
        waiter = ticket.waiter
        if self._state.root_error:
            del self._tickets[id(waiter)]
            ticket.settle(
                CoreError(
                    f"{os.fsdecode(self._root)} cannot be read: {self._state.root_error}",
                    "the index is kept as it was; unwatch the root if it is gone for good",
                )
            )
            return
        covered = self._state.seen_by(waiter)
        ticket.traces = len(covered)
        if ticket.force:
            self._state.force(covered)
        self._state.hurry(covered)
        self._state.owe(waiter)

    # -- jobs ---------------------------------------------------------------------------------

    async def _advance(self, context: ActorContext) -> None:
        self._look(context.mailbox)
        await self._repair(context)
        removals = self._state.removals(self._handle.registry.sets)
        await self._commit(removals, context, frees=True)
        while self._jobs < 2 * self._workers and not self._handle.read_only:
            job = self._state.next_job(
                self._handle.registry.sets,
                now=anyio.current_time(),
                wall_ns=time.time_ns(),
                workers=self._workers,
            )
            if job is None:
                break
            self._start(job, context.mailbox)
        self._settle_satisfied()
        if self._handle.read_only:
            self._give_up_waiting(StoreReadOnlyError(self._handle.read_only))

    def _settle_satisfied(self) -> None:
        if self._store.closed:
            self._give_up_waiting(self._interrupted())
        if not self._handle.is_open or self._handle.condemned:
            return  # the next one may lack what this one had
        registry = self._handle.registry
        # To look for quarantined ones among very many traces takes a while.
        told = registry.traces if registry.tally.quarantined else HashTrieMap()
        for waiter in self._state.satisfied(told):
            self._tickets.pop(id(waiter)).settle()

    def _start(self, job: Job, mailbox: Mailbox) -> None:
        self._jobs += 1

        async def run() -> None:
            await mailbox.tell(_JobDone(self._life, job, await self._runner.run(job)))

        self._children.start(run, f"{self.name}:job-{job.number}", mailbox)

    async def _conclude(self, done: _JobDone, context: ActorContext) -> None:
        self._jobs -= 1
        now, wall_ns = anyio.current_time(), time.time_ns()
        paths = [task.path for task in done.job.tasks]
        failures, error = done.outcome.failures, done.outcome.error
        unresolved: set[bytes] = set()
        if error is not None:
            _log.warning("job_failed", store=self._handle.path, reason=str(error))
            self._state.rest(paths, now + _RETRY_SECONDS)
            self._give_up_waiting(error)
            unresolved.update(paths)
        quarantines: list[Commit] = []
        for task in done.job.tasks:
            failed = failures.get(task.path)
            if failed is None or error is not None:
                continue
            reason = failed[0].reason
            _log.warning(
                "trace_failed",
                trace=os.fsdecode(task.path),
                reason=reason,
                attempt=task.attempt + 1,
            )
            if any(one.gone for one in failed):
                self._state.vanished(task)
                continue
            if self._merging.gave_up(task.path):
                continue
            steps = [one.step for one in failed]
            due = self._state.failed(task, steps, reason, now=now)
            quarantines += due
            if not due:
                unresolved.add(task.path)
        await self._commit(quarantines, context)
        self._state.finished(
            done.job,
            self._handle.registry.sets,
            unresolved=frozenset(unresolved),
            now=now,
            wall_ns=wall_ns,
        )
        self._consider_merging(paths)

    def _consider_merging(self, paths: Iterable[bytes]) -> None:
        shown = self._handle.registry.traces
        self._merging.consider(shown[path] for path in paths if path in shown)

    async def _commit(
        self, commits: list[Commit], context: ActorContext, *, frees: bool = False
    ) -> None:
        """Have the store take *commits* that need no parsing; what it does not take stays due.

        *frees*: they make a store smaller, which one that is too large takes.
        """
        handle = self._handle
        if not commits or (handle.read_only and not (frees and handle.over_limit)):
            return
        try:
            with context.protect():
                result: CommitResult = await self._store.ask(Write(commits=tuple(commits)))
        except (CoreError, ActorEndedError) as error:
            _log.warning("commit_failed", store=self._handle.path, reason=str(error))
            self._give_up_waiting(error)
            return
        if result.refused:
            _log.info("commits_refused", store=self._handle.path, refused=len(result.refused))
        traces, now, wall_ns = self._handle.registry.sets, anyio.current_time(), time.time_ns()
        for commit in commits:
            self._state.evaluate(commit.path, traces, now=now, wall_ns=wall_ns)
        self._consider_merging(commit.path for commit in commits)

    def _give_up_waiting(self, error: Exception) -> None:
        if self._handle.condemned and not self._store.closed:
            return  # they wait for the store that is built anew
        for waiter in self._state.waiters:
            self._tickets.pop(id(waiter)).settle(error)
        self._state.waiters.clear()

    def observe(self) -> dict[str, object]:
        return {
            "jobs": self._jobs,
            "queued": self._state.queued,
            "in_flight": len(self._state.in_flight),
            "waiting": len(self._tickets),
        }
