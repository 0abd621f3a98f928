"""Verifying one root: in a copy of its store, beside everything else that goes on.

Rows are checked in a thread, a few traces at a time, so that it can be given up at any moment; a
sample of the traces is parsed again by the workers, when it is their turn. What is found is noted
as damage, which has the scheduler rebuild the traces; damage of no trace has the store set aside.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Final

import anyio
import anyio.to_thread
import msgspec

from dftindexd.actors.admission import Demand
from dftindexd.actors.commands import (
    Condemn,
    ParsedOutcome,
    ParseJob,
    ParseResult,
    StoreCopy,
    Verify,
)
from dftindexd.actors.dispatcher import Dispatcher
from dftindexd.actors.errors import ActorEndedError
from dftindexd.actors.jobs import segments_of
from dftindexd.actors.mailbox import Mailbox
from dftindexd.actors.parser_pool import WorkerDiedError
from dftindexd.actors.store_handle import StoreHandle
from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import ParseRequest, TraceRecord
from dftindexd.index.store.registry import sets_below
from dftindexd.index.store.rocks import RocksStore
from dftindexd.index.store.sst import remove_ssts
from dftindexd.index.tier_sets import Sets
from dftindexd.index.verify import (
    Problem,
    compare_parse,
    verify_files,
    verify_registry,
    verify_trace,
)

__all__ = ("Verification", "copy_name", "sample_of", "store_copy", "verify")

#: How many traces are checked between two looks at whether it is given up.
_SLICE_TRACES = 64
#: A trace of more bytes is not parsed again as a sample.
_MOST_SAMPLE_BYTES = 64 << 20

#: What makes of a root's path a name among those that wait for workers, which no path can be.
_SAMPLE: Final = b"\0verify"

_numbers = count(1)


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified, and the problems found: of traces, or of the whole store."""

    generation: int
    traces: int
    sampled: int
    problems: tuple[Problem, ...]


def copy_name(purpose: str) -> str:
    """Return a name for a copy of a store that no other copy has."""
    return f"{purpose}-{next(_numbers)}"


@asynccontextmanager
async def store_copy(store: Mailbox, purpose: str) -> AsyncIterator[StoreCopy]:
    """Have *store* make a copy of itself for as long as the context lasts."""
    copy = await store.ask(Verify(name=copy_name(purpose)))
    try:
        yield copy
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(shutil.rmtree, copy.path, True)


async def verify(
    root: bytes,
    below: bytes,
    handle: StoreHandle,
    store: Mailbox,
    pool: Mailbox,
    dispatcher: Dispatcher,
    *,
    sample: int,
) -> Verification:
    """Verify the traces at or below *below* (relative to *root*) and note what is damaged.

    :param sample: how many traces are parsed again.
    """
    generation = handle.registry.generation
    traces: list[Sets] = []
    taken: list[TraceRecord] = []
    problems = await anyio.to_thread.run_sync(verify_files, handle.path)
    try:
        async with store_copy(store, "verify") as copy:
            generation, traces = copy.registry.generation, sets_below(copy.registry, below)
            problems += await _verify_rows(root, traces, copy, handle)
        taken = sample_of(traces, sample)
        problems += await _verify_sample(root, taken, handle, pool, dispatcher)
    except StoreDamagedError as error:
        problems.append(Problem(kind="store", reason=error.message))
    except ActorEndedError:
        # The copy was what showed the damage, and the store is being set aside.
        if not handle.rebuilding:
            raise
        found = Problem(kind="store", reason=handle.rebuilding)
        return Verification(generation=generation, traces=0, sampled=0, problems=(found,))
    finally:
        handle.verifying = ""
    await _act_on(problems, handle, store)
    return Verification(
        generation=generation,
        traces=len(traces),
        sampled=len(taken),
        problems=tuple(problems),
    )


async def _act_on(problems: Sequence[Problem], handle: StoreHandle, store: Mailbox) -> None:
    for problem in problems:
        if problem.segments:
            reason = f"{os.fsdecode(problem.path)}: {problem.reason}"
            handle.damage.note(problem.segments, reason, handle.registry.sets)
    whole = next((problem for problem in problems if not problem.segments), None)
    if whole is not None:
        with suppress(ActorEndedError):  # that is what it is asked for
            await store.ask(Condemn(reason=whole.reason))


async def _verify_rows(
    root: bytes, traces: Sequence[Sets], copy: StoreCopy, handle: StoreHandle
) -> list[Problem]:
    rows = await anyio.to_thread.run_sync(_open_copy, copy.path)
    try:
        problems = await anyio.to_thread.run_sync(verify_registry, rows, copy.registry)
        for first in range(0, len(traces), _SLICE_TRACES):
            handle.verifying = f"{first} of {len(traces)} traces"
            part = traces[first : first + _SLICE_TRACES]
            problems += await anyio.to_thread.run_sync(_verify_slice, rows, root, part)
        return problems
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(rows.close)


def _open_copy(path: str) -> RocksStore:
    return RocksStore(path, read_only=True)


def _verify_slice(rows: RocksStore, root: bytes, traces: Sequence[Sets]) -> list[Problem]:
    return [problem for sets in traces for problem in verify_trace(rows, root, sets)]


def sample_of(traces: Sequence[Sets], number: int) -> list[TraceRecord]:
    """Return up to *number* records to compare with a new parse, spread evenly over *traces*."""
    fit = [
        sets[0]
        for sets in sorted(traces, key=lambda sets: sets[0].path)
        if not sets[0].quarantined and sets[0].stamp.size <= _MOST_SAMPLE_BYTES
    ]
    if len(fit) <= number:
        return fit
    return [fit[place * len(fit) // number] for place in range(number)]


async def _verify_sample(
    root: bytes,
    records: Sequence[TraceRecord],
    handle: StoreHandle,
    pool: Mailbox,
    dispatcher: Dispatcher,
) -> list[Problem]:
    problems: list[Problem] = []
    for done, record in enumerate(records):
        handle.verifying = f"sample {done} of {len(records)}"
        run = segments_of(record.stamp.size)
        number = handle.new_segment_id(2 * run)
        stem = f"verify-{number:016x}"
        staging = handle.staging
        request = ParseRequest(
            path=os.path.join(root, record.path),
            segment_id=number,
            provisional_id=number + run,
            run=run,
            tiers=record.tiers,
        )
        try:
            async with dispatcher.slot(root + _SAMPLE, Demand(False, record.stamp.size)):
                result: ParseResult = await pool.ask(
                    ParseJob(requests=(request,), staging=staging, stem=stem)
                )
        except WorkerDiedError:
            continue  # the trace is not known to be damaged, and nobody waits for its rows
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove_ssts, staging, stem)
        problems += [
            problem
            for outcome in result.outcomes
            if isinstance(outcome, ParsedOutcome)
            for problem in compare_parse(record, outcome.parsed)
        ]
    return problems
