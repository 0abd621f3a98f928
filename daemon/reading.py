"""Answers of single events: planned from the store, read from the traces, sent as they are found.

A plan is made of some traces at a time. The text is read by a process of its own, without the
store: a client that reads slowly holds that process and nothing else. All of an answer is of the
generation that its head names; a trace of which that is gone meanwhile ends the answer with an
error.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import anyio.to_thread
import msgspec
import pyarrow as pa

from dftindexd.actors.engine import Engine
from dftindexd.actors.read_order import ReadOrder
from dftindexd.actors.reader_pool import ReaderPool
from dftindexd.actors.root import Root
from dftindexd.actors.store_handle import StoreView
from dftindexd.daemon.aggregation import trace_warnings
from dftindexd.daemon.answer import ArrowAnswer, BatchStream
from dftindexd.daemon.partitions import partitions_table
from dftindexd.daemon.request_path import request_path
from dftindexd.daemon.sight import Sight
from dftindexd.daemon.tables import display
from dftindexd.daemon.time_limit import Patience
from dftindexd.index.errors import NotWatchedError, StoreDamagedError, TraceChangedError
from dftindexd.index.model import TraceRecord
from dftindexd.index.query.event_columns import DEFAULT_COLUMNS
from dftindexd.index.query.event_plan import (
    EventQuery,
    TraceChunks,
    TraceExplanation,
    TracePlan,
    plan_events,
    tier_of,
)
from dftindexd.index.query.event_scan import LINE_SCHEMA, EventScan
from dftindexd.index.query.events import TRACES_AT_ONCE
from dftindexd.index.store.registry import Registry, sets_below
from dftindexd.index.tier_sets import best, giving, only
from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.inverted_requests import PartitionsRequest
from dftindexd.protocol.requests import (
    AnswerHead,
    ExplainRequest,
    ExplainResult,
    ReadRequest,
    TraceReading,
)

__all__ = ("EventAnswers", "batch_of", "explained", "parts_of")

#: Some hundred chunks are some gigabytes of text; each can have a window of 32 KiB.
_CHUNKS_AT_ONCE: Final = 256
#: A client that waits for the next batch is told that we are at it.
_BEAT_SECONDS: Final = 1.0
_MOST_DETAILS: Final = 100


class _Chosen(NamedTuple):
    """The traces of an answer, as they are in one generation."""

    root: Root
    generation: int
    records: list[TraceRecord]
    warnings: tuple[str, ...]


class EventAnswers:
    """Answers requests for events, and what they would read. No read works for more than so many
    *seconds* without finding anything."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._readers = ReaderPool()

    async def close(self) -> None:
        """End the processes that are kept."""
        await self._readers.close()

    async def handle(
        self, request: ReadRequest | ExplainRequest | PartitionsRequest, sight: Sight
    ) -> ArrowAnswer | ExplainResult:
        """Answer any kind of request from what *sight* shows.

        :raises QueryError: the filter does not parse, or a field or column does not exist.
        :raises NotWatchedError: no root holds the path, or the trace is not in the index.
        """
        if isinstance(request, ReadRequest):
            return await self._read(request, sight)
        if isinstance(request, PartitionsRequest):
            return await self._partitions(request, sight)
        return await self._explain(request, sight)

    async def _read(self, request: ReadRequest, sight: Sight) -> ArrowAnswer:
        """Return the events that *request* asks for, to be read while they are sent."""
        query = _query_of(request)
        columns = None if request.raw else request.columns or DEFAULT_COLUMNS
        schema = LINE_SCHEMA if columns is None else EventScan(query, columns).schema
        chosen, first = await self._begin(request, query, sight)
        order = ReadOrder(
            root=chosen.root.path,
            query=request.query,
            predicates=request.predicates,
            lines=request.lines,
            text_range=request.bytes,
            columns=columns,
        )
        return ArrowAnswer(
            AnswerHead(generation=chosen.generation, warnings=chosen.warnings),
            BatchStream(schema, self._batches(chosen, query, order, schema, first, sight.uid)),
        )

    async def _explain(self, request: ExplainRequest, sight: Sight) -> ExplainResult:
        """Return what a read would read."""
        query = _query_of(request)
        chosen, plans = await self._begin(request, query, sight)
        traces: list[TraceExplanation] = []
        read_bytes = 0
        async for plan in self._every_plan(chosen, query, plans):
            plan.explanation.read = len(plan.wanted.chunks)
            read_bytes += sum(chunk.uc_size for chunk in plan.wanted.chunks)
            traces.append(plan.explanation)
        result = explained(traces, chosen.root.path, read_bytes)
        return msgspec.structs.replace(
            result, generation=chosen.generation, warnings=chosen.warnings
        )

    async def _partitions(self, request: PartitionsRequest, sight: Sight) -> ArrowAnswer:
        """Return the chunks that a read would read."""
        query = EventQuery(request.query, predicates=request.predicates)
        chosen, plans = await self._begin(request, query, sight)
        below = request_path(request.path)
        every = [plan async for plan in self._every_plan(chosen, query, plans)]
        head = AnswerHead(generation=chosen.generation, warnings=chosen.warnings)
        table = await anyio.to_thread.run_sync(partitions_table, chosen.root, below, every)
        return ArrowAnswer(head, table)

    async def _begin(
        self,
        request: ReadRequest | ExplainRequest | PartitionsRequest,
        query: EventQuery,
        sight: Sight,
    ) -> tuple[_Chosen, list[TracePlan]]:
        """Choose the traces and plan the first of them; what is damaged there is rebuilt before."""
        path = request_path(request.path)
        root = self._engine.root_of(path)

        def begin(view: StoreView) -> tuple[_Chosen, list[TracePlan]]:
            registry = sight.registry(root, path, view.registry)
            chosen = _choose(root, path, registry, finished_only=request.finished_only)
            return chosen, _plans(chosen, view, query, 0)

        _, begun = await self._engine.answer(root, path, begin)
        return begun

    async def _plan(self, chosen: _Chosen, query: EventQuery, start: int) -> list[TracePlan]:
        """Return the plans of some more traces, from the place *start* on.

        :raises StoreDamagedError: one is damaged; it is rebuilt for the next answer.
        :raises TraceChangedError: what was chosen of one is gone by now.
        """
        root = chosen.root
        try:
            _, plans = await self._engine.read(
                root, lambda view: _plans(chosen, view, query, start)
            )
        except StoreDamagedError as error:
            records = chosen.records[start : start + TRACES_AT_ONCE]
            gone = _gone(records, root.handle.registry)
            if gone is None:
                root.note_damage(error)
                raise
            raise TraceChangedError(
                f"{display(gone.path)} changed while {display(root.path)} was read", "ask again"
            ) from error
        return plans

    async def _every_plan(
        self, chosen: _Chosen, query: EventQuery, first: list[TracePlan]
    ) -> AsyncGenerator[TracePlan, None]:
        """Yield the plans of all that was *chosen*; those of the *first* traces are made."""
        for start in range(0, len(chosen.records), TRACES_AT_ONCE):
            for plan in first if start == 0 else await self._plan(chosen, query, start):
                yield plan

    async def _batches(
        self,
        chosen: _Chosen,
        query: EventQuery,
        order: ReadOrder,
        schema: pa.Schema,
        plans: list[TracePlan],
        guest: int | None,
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        patience = Patience(self._seconds)
        for start in range(0, len(chosen.records), TRACES_AT_ONCE):
            if start:
                plans = await self._plan(chosen, query, start)
            for traces in parts_of([plan.wanted for plan in plans]):
                part = msgspec.structs.replace(order, traces=traces)
                async with aclosing(self._readers.read(part, _BEAT_SECONDS, guest)) as messages:
                    async for message in patience.spent_on(messages):
                        yield batch_of(message, schema)


def _choose(root: Root, path: bytes, registry: Registry, *, finished_only: bool) -> _Chosen:
    """Choose the traces at or below *path*, each in the set that knows most of its chunks."""
    tiers = only(root.options.tiers, checkpoints=True, bloom=True, manifest=True, postings=True)
    sets = sets_below(registry, root.relative(path))
    if not sets and not os.path.isdir(path):
        raise NotWatchedError(
            f"{display(path)} is not in the index",
            "check the path, or wait for it with dftindexd-client sync",
        )
    below = [(one, giving(one, tiers) or best(one, lambda have: have.checkpoints)) for one in sets]
    records = sorted(
        (one for _, one in below if one is not None and (one.ending or not finished_only)),
        key=lambda record: record.path,
    )
    return _Chosen(root, registry.generation, records, trace_warnings(root, below, tiers))


def _plans(chosen: _Chosen, view: StoreView, query: EventQuery, start: int) -> list[TracePlan]:
    records = chosen.records[start : start + TRACES_AT_ONCE]
    damaged = chosen.root.handle.damage.of(records)
    if damaged is not None:
        raise damaged
    return plan_events(view.rows, records, query)


def _gone(records: Iterable[TraceRecord], registry: Registry) -> TraceRecord | None:
    """Return one of *records* that is not that of its set any more."""
    return next((one for one in records if one not in registry.sets.get(one.path, ())), None)


def batch_of(message: bytes, schema: pa.Schema) -> pa.RecordBatch:
    """Return the batch of an IPC message, one without rows for an empty message."""
    if not message:
        # Not pa.array, which imports pandas where that is installed, and holds the loop meanwhile.
        arrays = [pa.nulls(0, field.type) for field in schema]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
    return pa.ipc.read_record_batch(pa.py_buffer(message), schema)


def _query_of(request: ReadRequest | ExplainRequest) -> EventQuery:
    for name, wanted in (("lines", request.lines), ("bytes", request.bytes)):
        if wanted is not None and not 0 <= wanted[0] <= wanted[1]:
            raise InvalidArgumentError(
                f"{name} {wanted[0]} to {wanted[1]} are no range",
                "give the first, from 0, and the one after the last",
            )
    return EventQuery(
        request.query,
        predicates=request.predicates,
        lines=request.lines,
        text_range=request.bytes,
    )


def parts_of(
    traces: Iterable[TraceChunks], most: int = _CHUNKS_AT_ONCE
) -> Iterator[tuple[TraceChunks, ...]]:
    """Cut *traces* into parts of at most *most* chunks; those without chunks are left out."""
    part: list[TraceChunks] = []
    room = most
    for trace in traces:
        chunks = trace.chunks
        while chunks:
            part.append(msgspec.structs.replace(trace, chunks=chunks[:room]))
            room, chunks = max(room - len(chunks), 0), chunks[room:]
            if not room:
                yield tuple(part)
                part, room = [], most
    if part:
        yield tuple(part)


def explained(traces: Sequence[TraceExplanation], root: bytes, read_bytes: int) -> ExplainResult:
    """Return the explanations of *traces* together."""
    skipped: Counter[str] = Counter()
    tiers: Counter[str] = Counter()
    for trace in traces:
        skipped.update(trace.skipped)
    for reason, count in skipped.items():
        tiers[tier_of(reason)] += count
    most_read = sorted(traces, key=lambda trace: -trace.read)[:_MOST_DETAILS]
    return ExplainResult(
        generation=0,
        traces=len(traces),
        chunks=sum(trace.chunks for trace in traces),
        read=sum(trace.read for trace in traces),
        text_bytes=sum(trace.text_bytes for trace in traces),
        read_bytes=read_bytes,
        skipped=dict(skipped),
        tiers=dict(tiers),
        details=tuple(
            TraceReading(
                path=os.path.join(display(root), trace.path),
                chunks=trace.chunks,
                read=trace.read,
                skipped=trace.skipped,
            )
            for trace in most_read
        ),
    )
