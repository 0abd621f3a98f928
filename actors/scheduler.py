"""The scheduler of one root: it looks at the disk, has traces parsed, and has them committed.

What it decides is in :class:`RootState`; this actor does what that says. Looking at the disk and
running jobs are child tasks that report back by messages, so that the actor always answers. Whoever
waits leaves a :class:`Ticket`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import assert_never

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from dftindexd.actors.actor import Actor, ActorContext
from dftindexd.actors.children import ChildFailed, Children
from dftindexd.actors.commands import (
    CommitResult,
    Ingest,
    ParsedOutcome,
    ParseJob,
    ParseResult,
    TraceFailure,
    Write,
)
from dftindexd.actors.errors import ActorEndedError, ActorError
from dftindexd.actors.exit_status import ExitStatus
from dftindexd.actors.jobs import Job, Task
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.parser_pool import WorkerDiedError
from dftindexd.actors.root_state import RootState
from dftindexd.actors.store import StoreHandle
from dftindexd.actors.tickets import Leave, Ticket
from dftindexd.actors.watcher import Hint
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.model import ParseRequest, TierConfig
from dftindexd.index.reconcile import Action
from dftindexd.index.scan import Scan, scan_tree
from dftindexd.index.store.registry import Commit, CommitParsed

__all__ = ("RootOptions", "RootScheduler", "Ticket")

_log = structlog.get_logger(__name__)

_TICK_SECONDS = 0.25
_RETRY_SECONDS = 2.0
#: More hinted paths than this at once are looked at by one walk of the whole tree.
_MOST_HINTED_PATHS = 1000


class RootOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one root is indexed; times are seconds.

    ``follow``: index whatever is and comes below the root; else only what tickets ask for.
    ``recursive``: look below the directories of what is asked for, too.
    """

    tiers: TierConfig = TierConfig()
    settle_seconds: float = 5.0
    rescan_seconds: float = 30.0
    follow: bool = True
    recursive: bool = True


class _Looked(msgspec.Struct, frozen=True):
    """What a look at the disk showed, and the tickets that wanted it."""

    life: int
    scans: tuple[Scan, ...]
    tickets: tuple[Ticket, ...]


class _JobDone(msgspec.Struct, frozen=True):
    """A job is over: ``failures`` by path; ``error`` where no trace is to blame that nothing of it
    was committed."""

    life: int
    job: Job
    failures: dict[bytes, TraceFailure]
    error: Exception | None = None


class RootScheduler(Actor):
    """Keeps the store of one root equal to the disk."""

    tick_interval = _TICK_SECONDS

    def __init__(
        self,
        root: bytes,
        options: RootOptions,
        *,
        state: RootState,
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
        self._handle = handle
        self._store = store
        self._pool = pool
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

    async def initialize(self, context: ActorContext) -> None:
        self._life = context.generation
        self._look(context.mailbox)

    async def handle(
        self, message: Hint | Leave | _Looked | _JobDone | ChildFailed, context: ActorContext
    ) -> None:
        match message:
            case Hint():
                self._note(message)
            case Leave():
                self._wanted.append(message.ticket)
            case _Looked():
                if message.life == self._life:
                    self._take_in(message)
            case _JobDone():
                if message.life == self._life:
                    await self._conclude(message, context)
            case ChildFailed():
                raise message.error
            case _:
                assert_never(message)
        await self._advance(context)

    async def tick(self, context: ActorContext) -> None:
        if self._options.follow and anyio.current_time() >= self._next_rescan:
            self._look_everywhere = True
        settled = self._state.settled(
            self._handle.registry.traces, now=anyio.current_time(), wall_ns=time.time_ns()
        )
        await self._commit(settled, context)
        await self._advance(context)

    async def finalize(self, status: ExitStatus, context: ActorContext) -> None:
        await self._children.cancel()
        error = CoreError(f"indexing of {os.fsdecode(self._root)} was interrupted", "ask again")
        for ticket in [*self._wanted, *self._tickets.values()]:
            ticket.settle(error)

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
            self._next_rescan = anyio.current_time() + self._options.rescan_seconds
        tickets = tuple(self._wanted)
        self._hinted, self._look_everywhere, self._wanted = set(), False, []
        self._looking = True
        self._tickets |= {id(ticket.waiter): ticket for ticket in tickets}

        async def look() -> None:
            scans = await anyio.to_thread.run_sync(
                self._scan, self._outermost(directories), abandon_on_cancel=True
            )
            await mailbox.tell(_Looked(self._life, scans, tickets))

        self._children.start(look, f"{self.name}:look", mailbox)

    def _outermost(self, directories: set[bytes]) -> list[bytes]:
        """Return *directories* without those that a look at another of them shows anyway."""
        if not self._options.recursive:
            return list(directories)
        if b"" in directories:
            return [b""]
        return [path for path in directories if directories.isdisjoint(_ancestors(path))]

    def _scan(self, directories: Iterable[bytes]) -> tuple[Scan, ...]:
        recursive = self._options.recursive
        return tuple(
            scan_tree(self._root, directory, recursive=recursive) for directory in directories
        )

    def _take_in(self, looked: _Looked) -> None:
        self._looking = False
        traces = self._handle.registry.traces
        now, wall_ns = anyio.current_time(), time.time_ns()
        for scan in looked.scans:
            self._state.apply_scan(scan, traces, now=now, wall_ns=wall_ns)
        for ticket in looked.tickets:
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
        covered = [path for path in self._state.seen if waiter.covers(path)]
        ticket.traces = len(covered)
        if ticket.force:
            self._state.force(covered)
        self._state.hurry(covered)
        self._state.owe(waiter)

    # -- jobs ---------------------------------------------------------------------------------

    async def _advance(self, context: ActorContext) -> None:
        self._look(context.mailbox)
        traces = self._handle.registry.traces
        await self._commit(self._state.removals(traces), context)
        while self._jobs < 2 * self._workers:
            job = self._state.next_job(
                self._handle.registry.traces,
                now=anyio.current_time(),
                wall_ns=time.time_ns(),
                workers=self._workers,
            )
            if job is None:
                break
            self._start(job, context.mailbox)
        for waiter in self._state.satisfied(self._handle.registry.traces):
            self._tickets.pop(id(waiter)).settle()

    def _start(self, job: Job, mailbox: Mailbox) -> None:
        self._jobs += 1

        async def run() -> None:
            await mailbox.tell(await self._run(job))

        self._children.start(run, f"{self.name}:job-{job.number}", mailbox)

    async def _run(self, job: Job) -> _JobDone:
        """Have a job parsed and committed. What does not come from its traces is not held against
        them: a store that takes nothing, or a pool without workers."""
        try:
            request = ParseJob(
                requests=tuple(map(self._request, job.tasks)),
                staging=self._handle.staging,
                stem=f"{self._handle.new_segment_id():016x}",
            )
            result = await self._pool.ask(request)
            failures: dict[bytes, TraceFailure] = {}
            commits: list[Commit] = []
            for task, outcome in zip(job.tasks, result.outcomes, strict=True):
                if isinstance(outcome, ParsedOutcome):
                    commits.append(self._commit_of(task, outcome))
                else:
                    failures[task.path] = outcome
            if result.staging_error:
                return self._done(job, failures, StoreReadOnlyError(result.staging_error))
            if commits:
                await self._store.ask(_store_command(result, commits))
        except WorkerDiedError as error:
            failure = TraceFailure(reason=str(error))
            return self._done(job, {task.path: failure for task in job.tasks})
        except (CoreError, ActorError) as error:
            return self._done(job, {}, error)
        return self._done(job, failures)

    def _done(
        self, job: Job, failures: dict[bytes, TraceFailure], error: Exception | None = None
    ) -> _JobDone:
        return _JobDone(self._life, job, failures, error)

    def _request(self, task: Task) -> ParseRequest:
        record = task.record
        request = ParseRequest(
            path=os.path.join(self._root, task.path),
            segment_id=self._handle.new_segment_id(),
            provisional_id=self._handle.new_segment_id(),
            tiers=self._options.tiers,
        )
        if task.action is Action.EXTEND and record is not None and record.resume is not None:
            return msgspec.structs.replace(request, resume=record.resume, facts=record.facts)
        return request

    def _commit_of(self, task: Task, outcome: ParsedOutcome) -> CommitParsed:
        return CommitParsed(
            path=task.path,
            base_version=task.record.version if task.record is not None else 0,
            tiers=self._state.tiers,
            parsed=outcome.parsed,
        )

    async def _conclude(self, done: _JobDone, context: ActorContext) -> None:
        self._jobs -= 1
        now, wall_ns = anyio.current_time(), time.time_ns()
        paths = [task.path for task in done.job.tasks]
        unresolved: set[bytes] = set()
        if done.error is not None:
            _log.warning("job_failed", store=self._handle.path, reason=str(done.error))
            self._state.rest(paths, now + _RETRY_SECONDS)
            self._give_up_waiting(done.error)
            unresolved.update(paths)
        quarantines: list[Commit] = []
        for task in done.job.tasks:
            failure = done.failures.get(task.path)
            if failure is None or done.error is not None:
                continue
            _log.warning(
                "trace_failed",
                trace=os.fsdecode(task.path),
                reason=failure.reason,
                attempt=task.attempt + 1,
            )
            if failure.gone:
                self._state.vanished(task)
                continue
            quarantine = self._state.failed(task, failure.reason, now=now)
            if quarantine is None:
                unresolved.add(task.path)
            else:
                quarantines.append(quarantine)
        await self._commit(quarantines, context)
        self._state.finished(
            done.job,
            self._handle.registry.traces,
            unresolved=frozenset(unresolved),
            now=now,
            wall_ns=wall_ns,
        )

    async def _commit(self, commits: list[Commit], context: ActorContext) -> None:
        """Have the store take *commits* that need no parsing; what it does not take stays due."""
        if not commits:
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
        traces, now, wall_ns = self._handle.registry.traces, anyio.current_time(), time.time_ns()
        for commit in commits:
            self._state.evaluate(commit.path, traces, now=now, wall_ns=wall_ns)

    def _give_up_waiting(self, error: Exception) -> None:
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


def _ancestors(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _store_command(result: ParseResult, commits: list[Commit]) -> Write | Ingest:
    if result.artifacts:
        artifacts: dict[str, tuple[str, ...]] = {
            family: (path,) for family, path in result.artifacts.items()
        }
        return Ingest(commits=tuple(commits), artifacts=artifacts)
    return Write(commits=tuple(commits), rows=result.rows)
