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
from dftindexd.actors.admission import Demand
from dftindexd.actors.children import ChildFailed, Children
from dftindexd.actors.commands import CommitResult, Write
from dftindexd.actors.dispatcher import Dispatcher, Turn
from dftindexd.actors.errors import ActorEndedError
from dftindexd.actors.events import RootEvents
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.holding import Hold, hold
from dftindexd.actors.job_runner import JobOutcome, JobRunner
from dftindexd.actors.jobs import Job
from dftindexd.actors.log import get_log
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.merging import Merging
from dftindexd.actors.parser_pool import ParserPool
from dftindexd.actors.progress import Progress
from dftindexd.actors.rebuilding import end_rebuilding
from dftindexd.actors.repairing import interrupted, reclaim, repair, unreadable
from dftindexd.actors.root_options import RootOptions
from dftindexd.actors.root_state import RootState
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.actors.store_state import store_state
from dftindexd.actors.tickets import Leave, Merge, Ticket
from dftindexd.actors.watch_state import WatchState, seconds_to_next_look
from dftindexd.actors.watcher import Hint
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.scan import Scan, outermost_of, scan_tree
from dftindexd.index.store.registry import Commit

__all__ = ("RootScheduler", "Ticket")

_log = get_log(__name__)

_TICK_SECONDS = 0.25
_RETRY_SECONDS = 2.0
#: More hinted paths than this at once are looked at by one walk of the whole tree.
_MOST_HINTED_PATHS = 1000


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
        pool: ParserPool,
        dispatcher: Dispatcher,
        events: RootEvents,
        progress: Progress,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        self.name = f"scheduler:{os.fsdecode(root)}"
        self._root = root
        self._options = options
        self._state = state
        self._watch = watch
        self._handle = handle
        self._store = store
        self._pool = pool
        self._runner = JobRunner(root, handle, store, pool.mailbox)
        self._dispatcher = dispatcher
        self._events = events
        self._progress = progress
        self._bytes_done = progress.done
        self._workers = pool.size
        self._repair = partial(repair, state, handle, store)
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
        self._dispatcher.join(self._root, context.mailbox)
        self._notice_store(context.mailbox)
        self._look(context.mailbox)

    async def handle(
        self,
        message: Hint | Leave | Merge | Hold | Turn | _Looked | _JobDone | ChildFailed,
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
            case Hold():
                now, traces = anyio.current_time(), self._handle.registry.sets
                hold(self._state, traces, message, now=now, wall_ns=time.time_ns())
            case Turn():
                self._take_turn(message.slot, context.mailbox)
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
        traces, now, wall_ns = self._handle.registry.sets, anyio.current_time(), time.time_ns()
        self._state.try_quarantined(traces, now=now, wall_ns=wall_ns)
        settled = self._state.settled(traces, now=now, wall_ns=wall_ns)
        await self._commit(settled, context)
        if self._state.idle and (path := self._merging.take()) is not None:
            self._state.force([path])
        if self._handle.reclaim_is_due:
            reclaiming = partial(reclaim, self._handle, self._store)
            self._children.start(reclaiming, f"{self.name}:reclaim", context.mailbox)
        await self._advance(context)
        self._note_progress()

    def _note_progress(self) -> None:
        if not self._handle.is_open:
            return
        reading = self._pool.job_bytes(self._handle.staging)
        pending = max(0, self._state.pending_bytes - reading)
        self._progress.sample(self._bytes_done + reading, pending, anyio.current_time())

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        await self._children.cancel()
        self._dispatcher.leave(self._root)
        error = interrupted(self._root, self._handle)
        for ticket in [*self._wanted, *self._tickets.values()]:
            ticket.settle(error)

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
            ticket.settle(unreadable(self._root, self._state.root_error))
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
        demand = self._state.demand(anyio.current_time()) if self._may_begin else None
        self._dispatcher.want(self._root, demand)
        generation = self._handle.registry.generation
        self._events.tell("queued", self._state.queue.take_fresh(), generation)
        self._events.store_is(store_state(self._handle, self._state), generation)
        self._settle_satisfied()
        if self._handle.read_only:
            self._give_up_waiting(StoreReadOnlyError(self._handle.read_only))

    @property
    def _may_begin(self) -> bool:
        """Whether another job can be sent: some of the earlier ones may wait for their commit."""
        return self._jobs < 2 * self._workers and not self._handle.read_only

    def _take_turn(self, slot: int, mailbox: Mailbox) -> None:
        """Send the next job; without one the slot is given back."""
        if not self._dispatcher.holds(slot):
            return  # it was given to an earlier life
        job = None
        if self._may_begin:
            job = self._state.next_job(
                self._handle.registry.sets,
                now=anyio.current_time(),
                wall_ns=time.time_ns(),
                workers=self._workers,
            )
        if job is None:
            self._dispatcher.release(slot)
            return
        self._dispatcher.begin(slot, Demand(job.urgent, job.bytes, len(job.tasks)))
        paths = [task.path for task in job.tasks]
        self._events.tell("parsing", paths, self._handle.registry.generation)
        self._start(job, slot, mailbox)

    def _settle_satisfied(self) -> None:
        if self._store.closed:
            self._give_up_waiting(interrupted(self._root, self._handle))
        if not self._handle.is_known or self._handle.condemned:
            return  # the next one may lack what this one had
        registry = self._handle.registry
        # To look for quarantined ones among very many traces takes a while.
        told = registry.traces if registry.tally.quarantined else HashTrieMap()
        for waiter in self._state.satisfied(told):
            self._tickets.pop(id(waiter)).settle()

    def _start(self, job: Job, slot: int, mailbox: Mailbox) -> None:
        self._jobs += 1

        async def run() -> None:
            free = partial(self._dispatcher.release, slot)
            try:
                outcome = await self._runner.run(job, on_parsed=free)
            finally:
                free()
            await mailbox.tell(_JobDone(self._life, job, outcome))

        self._children.start(run, f"{self.name}:job-{job.number}", mailbox)

    async def _conclude(self, done: _JobDone, context: ActorContext) -> None:
        self._jobs -= 1
        self._bytes_done += done.job.bytes
        now, wall_ns = anyio.current_time(), time.time_ns()
        paths = [task.path for task in done.job.tasks]
        failures, error = done.outcome.failures, done.outcome.error
        unresolved: set[bytes] = set()
        if error is not None:
            _log.warning("job_failed", store=self._handle.path, reason=str(error))
            self._state.retries.rest(paths, now + _RETRY_SECONDS)
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
                generation = self._handle.registry.generation
                self._events.tell("failed", (task.path,), generation, reason)
        if error is None:
            self._tell_commits(path for path in paths if path not in failures)
        await self._commit(quarantines, context)
        self._state.finished(
            done.job,
            self._handle.registry.sets,
            unresolved=frozenset(unresolved),
            now=now,
            wall_ns=wall_ns,
        )
        self._consider_merging(paths)

    def _tell_commits(self, paths: Iterable[bytes]) -> None:
        registry = self._handle.registry
        for path in paths:
            self._events.committed(path, registry.traces.get(path), registry.generation)

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
        refused = {path for path, _ in result.refused}
        self._tell_commits({one.path: None for one in commits if one.path not in refused})
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
