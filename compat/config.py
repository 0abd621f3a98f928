"""What an indexer is told and what it tells: plain records with the names of dftracer-utils."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ("AggregationConfig", "IndexStatus")


@dataclass(slots=True)
class AggregationConfig:
    """How the aggregation tier is built. ``time_interval_ms`` is the width of a time bucket.

    ``bucket_by`` says which time of an event chooses its bucket: its ``midpoint``, as in
    dftracer-utils 0.0.12, or its ``start``, as in 0.0.14.
    """

    time_interval_ms: float = 5000.0
    group_keys: list[str] | None = None
    custom_metric_fields: list[str] | None = None
    compute_percentiles: bool = False
    bucket_by: Literal["midpoint", "start"] = "midpoint"


@dataclass(slots=True)
class IndexStatus:
    """How far the index of some traces is.

    ``ready`` are the traces that the index holds as they are on disk, with all that is required,
    ``needs_work`` all others: new or changed ones, those that are missing or cannot be read.
    ``missing`` has for each of these the requirements it lacks: ``checkpoint``, ``bloom``,
    ``manifest``, ``aggregation``. ``index_path`` is the store, ""
    where there are no traces; ``aggregation_interval_us`` is 0 without an aggregation tier.
    """

    total_files: int = 0
    ready: list[str] = field(default_factory=list)
    needs_work: list[str] = field(default_factory=list)
    index_path: str = ""
    aggregation_interval_us: int = 0
    missing: dict[str, list[str]] = field(default_factory=dict)
