"""Requests of a program that has the index of exactly these traces, as an embedded indexer has.

Each names the traces: those of *names*, relative to the real path *directory*, or without names
those that lie in it, not below it. They are answered as an index of these traces alone would be.
Names are the file system's bytes. Configurations of tiers are JSON, as the store writes them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from dftindexd.protocol.message import AnswerHead, Reply, Request

__all__ = (
    "HashKind",
    "IndexBuildRequest",
    "IndexBuildResult",
    "IndexChunksRequest",
    "IndexHead",
    "IndexNamesRequest",
    "IndexPart",
    "IndexPidsRequest",
    "IndexPlansRequest",
    "IndexRequests",
    "IndexRowsRequest",
    "IndexSegmentsRequest",
    "IndexSetsRequest",
    "IndexStatisticsRequest",
    "OfTraces",
)

HashKind: TypeAlias = Literal["file", "host", "string", "proc"]
#: ``metrics`` are the means of the system metrics, of which the analyzer's ``system`` is derived.
IndexPart: TypeAlias = Literal["events", "profiles", "system", "metrics"]


class OfTraces(msgspec.Struct, frozen=True, kw_only=True):
    """What each of these requests begins with: which traces it is about."""

    directory: bytes
    names: tuple[bytes, ...] | None = None


class IndexHead(AnswerHead, frozen=True, kw_only=True):
    """The store that has the traces, and which tiers its daemon keeps up to date."""

    store: str
    tiers: str


class IndexSetsRequest(OfTraces, Request[IndexHead], frozen=True, kw_only=True, tag="index-sets"):
    """Which tier sets the traces have, one row a set.

    Columns: ``name``, ``file_id``, ``version``, ``generation``, ``ino``, ``size``, ``mtime_ns``,
    ``ctime_ns``, ``tiers``, ``quarantined``.
    """


class IndexBuildResult(Reply, frozen=True):
    """The traces are indexed as they were on disk at the request, as far as they can be."""

    generation: int


class IndexBuildRequest(
    OfTraces, Request[IndexBuildResult], frozen=True, kw_only=True, tag="index-build"
):
    """Index the traces as they are on disk now; *force* parses them anew."""

    force: bool = False


class IndexRowsRequest(OfTraces, Request[AnswerHead], frozen=True, kw_only=True, tag="index-rows"):
    """The aggregation *tier* of the traces that have it; an Arrow stream for each of *parts*.

    *stored*: the rows as they are stored; else the analyzer's, with the other arguments.
    """

    tier: str
    parts: tuple[IndexPart, ...]
    stored: bool = False
    query: str | None = None
    group_by: tuple[str, ...] | None = None
    time_granularity: float = 1.0
    time_resolution: float = 1e6
    io_cat_table: Literal["analyzer", "0.0.12"] = "analyzer"


class IndexNamesRequest(
    OfTraces, Request[AnswerHead], frozen=True, kw_only=True, tag="index-names"
):
    """What hashes of one kind stand for. Columns: ``hash``, ``name``."""

    kind: HashKind


class IndexPidsRequest(OfTraces, Request[AnswerHead], frozen=True, kw_only=True, tag="index-pids"):
    """The processes of each trace that has a manifest. Columns: ``name``, ``pids``."""


class IndexChunksRequest(
    OfTraces, Request[AnswerHead], frozen=True, kw_only=True, tag="index-chunks"
):
    """The chunks of *chunk_bytes* of each trace that has such. Columns: ``name``, ``uc_offset``,
    ``uc_size``, ``c_offset``, ``c_size``, ``first_line``, ``num_lines``, ``skip``, ``bits``."""

    chunk_bytes: int


class IndexPlansRequest(
    OfTraces, Request[AnswerHead], frozen=True, kw_only=True, tag="index-plans"
):
    """What has to be read of each trace for *query* and these ranges, which are as in ``read``.

    Columns: ``name``, ``plan``; a plan is MessagePack.
    """

    query: str = ""
    lines: tuple[int, int] | None = None
    bytes: tuple[int, int] | None = None


class IndexStatisticsRequest(
    OfTraces, Request[AnswerHead], frozen=True, kw_only=True, tag="index-statistics"
):
    """The statistics of each trace that has a manifest. Columns: ``name``, ``statistics``; these
    are MessagePack."""


class IndexSegmentsRequest(
    OfTraces, Request[IndexHead], frozen=True, kw_only=True, tag="index-segments"
):
    """What the store holds of each trace, as it is stored, for a store in another format.

    Columns: ``name``, ``record``, the commit record as MessagePack, and with a value a segment
    ``checkpoints``, ``chunk_stats``, ``event_order``, ``hash_tables``, ``aggregation`` and
    ``system_metrics``. The aggregation is that of the head's tiers; a trace without a set that has
    all is left out.
    """


#: All that a program may ask that has the index of exactly its traces.
IndexRequests: TypeAlias = (
    IndexSetsRequest
    | IndexBuildRequest
    | IndexRowsRequest
    | IndexSegmentsRequest
    | IndexNamesRequest
    | IndexPidsRequest
    | IndexChunksRequest
    | IndexPlansRequest
    | IndexStatisticsRequest
)
