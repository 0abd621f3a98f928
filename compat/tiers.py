"""What the requirements of dftracer-utils are in our tiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dftindexd.compat.config import AggregationConfig
from dftindexd.compat.translation import translated_errors
from dftindexd.index.model import AggregationTier, TierConfig
from dftindexd.index.tiers.aggregation_schema import check_tier

__all__ = ("aggregation_tier", "cluster_tiers")

#: What has Bloom filters in any case.
_ALWAYS: Final = frozenset(("name", "cat", "pid", "tid", "hhash", "fhash", "shash"))


def aggregation_tier(config: AggregationConfig) -> AggregationTier:
    """Return the aggregation tier that *config* describes.

    :raises ValueError: it describes none that can be built.
    """
    tier = AggregationTier(
        interval_us=int(config.time_interval_ms * 1000),
        group_keys=tuple(config.group_keys or ()),
        custom_metric_fields=tuple(config.custom_metric_fields or ()),
        percentiles=config.compute_percentiles,
        bucket_by=config.bucket_by,
    )
    with translated_errors():
        check_tier(tier)
    return tier


def cluster_tiers(
    checkpoint_size: int,
    bloom_dimensions: Sequence[str] | None,
    aggregation_config: object,
    *,
    manifest: bool,
) -> TierConfig:
    """Return the tiers that a distributed build is asked for.

    *aggregation_config* is an :class:`AggregationConfig` or has its attributes, ``True`` for the
    default; nothing is aggregated where it is ``None`` or ``False``.

    :raises ValueError: a value is out of its range.
    """
    if checkpoint_size < 1:
        raise ValueError(f"checkpoint_size must be at least 1, not {checkpoint_size}")
    return TierConfig(
        manifest=manifest,
        aggregation=_aggregation(aggregation_config),
        chunk_bytes=checkpoint_size,
        arguments=tuple(name for name in bloom_dimensions or () if name not in _ALWAYS),
    ).normal()


def _aggregation(config: Any) -> AggregationTier | None:
    if config is None or config is False:
        return None
    default = AggregationConfig()
    if config is True:
        return aggregation_tier(default)
    values = {
        name: getattr(config, name, getattr(default, name)) for name in AggregationConfig.__slots__
    }
    return aggregation_tier(AggregationConfig(**values))
