"""Running one job: its traces are parsed by a worker, and what that gave is committed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import anyio.to_thread
import msgspec

from dftindexd.actors.commands import Ingest, ParsedOutcome, ParseJob, ParseResult, Write
from dftindexd.actors.errors import ActorError
from dftindexd.actors.jobs import FailedStep, Job, Task, removals_of, segments_of
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.open_stores import in_use
from dftindexd.actors.parser_pool import WorkerDiedError
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.model import ParseRequest, TraceFacts
from dftindexd.index.reconcile import Step
from dftindexd.index.store.registry import Commit, CommitParsed
from dftindexd.index.store.sst import remove_ssts

__all__ = ("Failures", "JobOutcome", "JobRunner")

Failures: TypeAlias = dict[bytes, list[FailedStep]]


class JobOutcome(msgspec.Struct, frozen=True):
    """Which steps of which trace failed; ``error`` where no trace is to blame that nothing of the
    job was committed."""

    failures: Failures
    error: Exception | None = None


class JobRunner:
    """Runs the jobs of one root; any number may run at once."""

    def __init__(self, root: bytes, handle: StoreHandle, store: Mailbox, pool: Mailbox) -> None:
        self._root = root
        self._handle = handle
        self._store = store
        self._pool = pool

    async def run(self, job: Job, on_parsed: Callable[[], None]) -> JobOutcome:
        """Have a job parsed and committed; *on_parsed* is called when it has been parsed. What does
        not come from its traces is not held against them: a store that takes nothing, or a pool
        without workers."""
        try:
            # Parked meanwhile, the store would lose what the workers leave in its staging folder.
            async with in_use(self._handle, self._store):
                return await self._run(job, on_parsed)
        except (CoreError, ActorError) as error:
            return JobOutcome({}, error)

    async def _run(self, job: Job, on_parsed: Callable[[], None]) -> JobOutcome:
        planned = [(task, step) for task in job.tasks for step in task.steps]
        failures: Failures = {}
        try:
            request = ParseJob(
                requests=tuple(self._request(task, step) for task, step in planned),
                staging=self._handle.staging,
                stem=f"{self._handle.new_segment_id():016x}",
                urgent=job.urgent,
            )
            result = await self._pool.ask(request)
            on_parsed()
            commits: list[Commit] = []
            built: dict[bytes, Task] = {}
            for (task, step), outcome in zip(planned, result.outcomes, strict=True):
                if isinstance(outcome, ParsedOutcome):
                    commits.append(_commit_of(task, step, outcome))
                    built[task.path] = task
                else:
                    failed = FailedStep(step, outcome.reason, outcome.gone)
                    failures.setdefault(task.path, []).append(failed)
            commits += [one for task in built.values() for one in removals_of(task.outdated)]
            if result.staging_error:
                self._handle.trouble.failed(result.staging_error)
                return JobOutcome(failures, StoreReadOnlyError(result.staging_error))
            if commits:
                await self._store.ask(_store_command(result, commits))
        except WorkerDiedError as error:
            await anyio.to_thread.run_sync(remove_ssts, request.staging, request.stem)
            for task, step in planned:
                failures.setdefault(task.path, []).append(FailedStep(step, str(error)))
        return JobOutcome(failures)

    def _request(self, task: Task, step: Step) -> ParseRequest:
        resume = step.resumes_at
        run = segments_of(task.stamp.size - step.c_begin)
        first_id = self._handle.new_segment_id(2 * run)
        return ParseRequest(
            path=os.path.join(self._root, task.path),
            segment_id=first_id,
            provisional_id=first_id + run,
            run=run,
            tiers=step.tiers,
            resume=resume,
            facts=step.record.facts if resume and step.record else TraceFacts(),
        )


def _commit_of(task: Task, step: Step, outcome: ParsedOutcome) -> CommitParsed:
    return CommitParsed(
        path=task.path,
        base_version=step.base_version,
        tiers=step.tiers,
        parsed=outcome.parsed,
    )


def _store_command(result: ParseResult, commits: list[Commit]) -> Write | Ingest:
    if result.artifacts:
        return Ingest(commits=tuple(commits), artifacts=result.artifacts)
    return Write(commits=tuple(commits), rows=result.rows)
