"""What a trace becomes in a published store: from the daemon's rows, or after another reading."""

from __future__ import annotations

import os
from typing import NamedTuple, TypeAlias

from dftindexd.compat.published_traces import IndexedTrace
from dftindexd.index.errors import TraceChangedError
from dftindexd.index.model import AggregationTier
from dftindexd.index.publish.aggregation import AggregatedTrace
from dftindexd.index.publish.chunk_parts import chunk_parts, merged_chunk
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.members import (
    CHECKPOINT_BYTES,
    Member,
    can_have_checkpoints,
    members_of,
)
from dftindexd.index.publish.registry_rows import content_hash, file_rows
from dftindexd.index.publish.summaries import Summary
from dftindexd.index.publish.trace_rows import trace_rows
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.trace.trace_file import TraceFile, open_trace

__all__ = ("Numbered", "PublishedTrace", "TracePlan", "plan_trace", "published_trace")


class TracePlan(NamedTuple):
    """How to publish a trace: the hash of its contents, how much text it has, the ``members`` that
    may have checkpoints, and another aggregation than the daemon's, if one is wanted."""

    file_id: int
    trace: IndexedTrace
    content: int
    text_bytes: int
    members: list[Member]
    tier: AggregationTier | None

    @property
    def is_read(self) -> bool:
        """Whether the trace has to be read again."""
        return bool(self.members) or self.tier is not None


class PublishedTrace(NamedTuple):
    """What is in a trace, its rows, and those of another aggregation than the daemon's."""

    summary: Summary
    rows: list[PublishedRow]
    aggregated: AggregatedTrace | None


#: The place of a trace among all, and what it becomes.
Numbered: TypeAlias = tuple[int, PublishedTrace]


def plan_trace(file_id: int, trace: IndexedTrace, tier: AggregationTier | None) -> TracePlan:
    """Look at a trace's file, of which little is read, and nothing inflated.

    :raises TraceChangedError: it is another file than the one that was indexed.
    """
    with open_trace(trace.path) as file:
        _check_stamp(file, trace)
        size = _text_bytes(_chunks(trace))
        members: list[Member] = []
        if size > CHECKPOINT_BYTES and file.is_gzip():
            members = members_of(file, size)
        wanted = members if can_have_checkpoints(members) else []
        return TracePlan(file_id, trace, content_hash(file), size, wanted, tier)


def published_trace(plan: TracePlan) -> PublishedTrace:
    """Return the rows of a trace, having read it where it has to be.

    :raises TraceChangedError: it is not what was indexed any longer.
    :raises StoreDamagedError: the daemon's rows do not decode.
    """
    trace = plan.trace
    registration = file_rows(plan.file_id, trace.name, trace.stamp, plan.content)
    if not plan.is_read:
        whole = merged_chunk(chunk_parts(trace.chunk_stats, trace.event_order))
        summary, rows = trace_rows(plan.file_id, [whole], (), plan.text_bytes)
        return PublishedTrace(summary, registration + rows, None)
    from dftindexd.index.publish.second_reading import read_again  # late: most need no parser

    with open_trace(trace.path) as file:
        _check_stamp(file, trace)
        read = read_again(file, _chunks(trace), plan.members, plan.tier)
    parts = chunk_parts(read.chunk_stats, read.event_order)
    made = [merged_chunk([part]) for part in parts]
    summary, rows = trace_rows(plan.file_id, made, read.places, plan.text_bytes)
    aggregated = None
    if plan.tier is not None:
        aggregated = AggregatedTrace(trace.hash_tables, read.aggregation, read.system_metrics)
    return PublishedTrace(summary, registration + rows, aggregated)


def _chunks(trace: IndexedTrace) -> list[Checkpoint]:
    return [one for value in trace.checkpoints for one in decode_checkpoints(value)]


def _text_bytes(chunks: list[Checkpoint]) -> int:
    return chunks[-1].uc_offset + chunks[-1].uc_size if chunks else 0


def _check_stamp(file: TraceFile, trace: IndexedTrace) -> None:
    if file.stamp != trace.stamp:
        raise TraceChangedError(
            f"{os.fsdecode(trace.path)} has changed since it was indexed",
            "publish again after a sync",
        )
