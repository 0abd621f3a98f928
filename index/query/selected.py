"""What an indexer of some traces is answered with, by whoever has the store open.

All is of *sets*, those of each trace in the order of their paths. Each function takes, of each
trace, the set that can answer; a trace without one is not in the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pyarrow as pa
from msgspec.structs import replace

from dftindexd.index.model import AggregationTier, TierConfig, TraceRecord
from dftindexd.index.query.aggregation import dfanalyzer_table
from dftindexd.index.query.answers import clock_of
from dftindexd.index.query.event_plan import EventQuery, TracePlan, plan_events
from dftindexd.index.query.hash_names import HashKind, hash_tables
from dftindexd.index.query.io_categories import IoCategoryTable
from dftindexd.index.query.prepared import PreparedRows
from dftindexd.index.query.source import RowSource, origin_of, segment_rows
from dftindexd.index.query.system_metrics import system_metrics_table
from dftindexd.index.store.layout import CHECKPOINTS, MANIFEST
from dftindexd.index.tier_sets import Sets, best, giving
from dftindexd.index.tiers.checkpoints import Checkpoint, decode_checkpoints
from dftindexd.index.tiers.manifest import decode_manifest

__all__ = (
    "AnalyzerQuery",
    "Part",
    "aggregated",
    "analyzer_part",
    "chunk_config",
    "chunks_of",
    "names_of",
    "pids_of",
    "plans_of",
    "readable",
    "with_manifest",
)

#: ``metrics`` are the means of the system metrics, of which the analyzer's ``system`` is derived.
Part: TypeAlias = Literal["events", "profiles", "system", "metrics"]


@dataclass(frozen=True, slots=True)
class AnalyzerQuery:
    """What a table for the analyzer is asked with."""

    time_granularity: float = 1.0
    time_resolution: float = 1e6
    query: str | None = None
    group_by: Sequence[str] | None = None
    io_cat_table: IoCategoryTable = "analyzer"


def aggregated(sets: Iterable[Sets], tier: AggregationTier) -> list[TraceRecord]:
    """Return the set with the aggregation *tier* of each trace that has one and can be read."""
    found = (best(one, lambda tiers: tiers.aggregation == tier) for one in sets)
    return [record for record in found if record is not None and not record.quarantined]


def with_manifest(sets: Sets) -> TraceRecord | None:
    """Return the set of a trace that has a manifest."""
    return best(sets, lambda tiers: tiers.manifest)


def readable(sets: Sets) -> TraceRecord | None:
    """Return the set of a trace by which its text is read: one that spares most, if there is."""
    found = best(sets, lambda tiers: tiers.bloom and tiers.manifest)
    found = found or best(sets, lambda tiers: tiers.checkpoints)
    return None if found is None or found.quarantined else found


def plans_of(
    source: RowSource, sets: Mapping[bytes, Sets], query: EventQuery
) -> dict[bytes, TracePlan]:
    """Return what *query* has to read of each trace that can be read, by the names in *sets*."""
    found = {name: record for name, one in sets.items() if (record := readable(one)) is not None}
    plans = plan_events(source, list(found.values()), query)
    return {
        name: plan._replace(wanted=replace(plan.wanted, path=name))
        for name, plan in zip(found, plans, strict=True)
    }


def chunk_config(chunk_bytes: int) -> TierConfig:
    """Return the configuration of checkpoints alone, for chunks of *chunk_bytes*."""
    return TierConfig(
        bloom=False, manifest=False, aggregation=None, chunk_bytes=chunk_bytes
    ).normal()


def names_of(source: RowSource, sets: Iterable[Sets], kind: HashKind) -> dict[str, str]:
    """Return hash to name; a hash that traces name differently has the name ""."""
    records = [record for one in sets if (record := best(one, lambda _: True)) is not None]
    table: dict[str, str] = getattr(hash_tables(source, records).merged, kind)
    return table


def pids_of(source: RowSource, records: Sequence[TraceRecord]) -> list[set[int]]:
    """Return the processes whose records each of *records*, of sets with a manifest, holds."""
    rows = segment_rows(source, MANIFEST, records)
    return [
        {pid for value in values for chunk in decode_manifest(value) for pid in chunk.pids}
        for values in rows
    ]


def chunks_of(source: RowSource, sets: Sets, chunk_bytes: int) -> list[Checkpoint]:
    """Return the chunks of this size of a trace, none where it has no such set."""
    record = giving(sets, chunk_config(chunk_bytes))
    if record is None:
        return []
    (rows,) = segment_rows(source, CHECKPOINTS, [record])
    return [chunk for value in rows for chunk in decode_checkpoints(value)]


def analyzer_part(
    source: RowSource, prepared: PreparedRows, part: Part, query: AnalyzerQuery
) -> pa.Table:
    """Return one part of the analyzer's tables, of the records of *prepared*."""
    if part == "metrics":
        return _metrics(source, prepared, query)
    return dfanalyzer_table(
        source,
        prepared.records,
        prepared.tier,
        part,
        query=query.query,
        group_by=query.group_by,
        time_granularity=query.time_granularity,
        time_resolution=query.time_resolution,
        io_cat_table=query.io_cat_table,
        prepared=prepared,
    )


def _metrics(source: RowSource, prepared: PreparedRows, query: AnalyzerQuery) -> pa.Table:
    records, tier, hashes = prepared.records, prepared.tier, prepared.hashes(source)
    clock = clock_of(origin_of(records), query.time_granularity, query.time_resolution)
    everything = system_metrics_table(source, records, tier, hashes, clock)
    # Traces without metrics are no reason to refuse a query of columns that metrics do not have.
    if not everything.num_rows or not (query.query or query.group_by):
        return everything
    return system_metrics_table(
        source, records, tier, hashes, clock, query=query.query, group_by=query.group_by
    )
