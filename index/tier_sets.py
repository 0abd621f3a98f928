"""The tier sets of a trace: which of them give what is wanted, and what is missing.

Tiers that one parse built together are a *set*, with its own commit record and segments. A trace
has one set at first; whatever is asked for later and missing is built as another set beside it. All
here is a pure function of records and configurations, and the same for whoever builds and whoever
answers, so that what is kept up to date is what answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from dftindexd.index.model import FileStamp, TierConfig, TraceRecord

__all__ = (
    "Cover",
    "Sets",
    "best",
    "cover",
    "find_set",
    "giving",
    "newest_show",
    "only",
    "parts",
    "shown",
)

#: The records of a trace, one a set.
Sets: TypeAlias = tuple[TraceRecord, ...]


class Cover(NamedTuple):
    """The sets that give what is wanted, and what none of them gives (``None``: nothing)."""

    used: Sets
    missing: TierConfig | None


def only(
    tiers: TierConfig,
    *,
    checkpoints: bool = False,
    bloom: bool = False,
    manifest: bool = False,
    aggregation: bool = False,
    postings: bool = False,
) -> TierConfig:
    """Return the configuration of the named tiers as *tiers* has them, and of no others; postings
    go with blooms and manifest, or not at all."""
    return replace(
        tiers,
        checkpoints=checkpoints and tiers.checkpoints,
        bloom=bloom and tiers.bloom,
        manifest=manifest and tiers.manifest,
        aggregation=tiers.aggregation if aggregation else None,
        postings=tiers.postings if postings else (),
    ).normal()


def _posted(tiers: TierConfig) -> TierConfig:
    """Return postings as a part: with what they go with, and nothing where there are none."""
    alone = only(tiers, bloom=True, manifest=True, postings=True)
    return alone if alone.postings else only(tiers)


@lru_cache(maxsize=256)
def parts(tiers: TierConfig) -> frozenset[TierConfig]:
    """Return the parts of *tiers*, each as the configuration that has it alone."""
    tiers = tiers.normal()
    singles = (
        only(tiers, checkpoints=True),
        only(tiers, bloom=True),
        only(tiers, manifest=True),
        only(tiers, aggregation=True),
        _posted(tiers),
    )
    return frozenset(singles) - {only(tiers)}


@lru_cache(maxsize=1024)
def _without(tiers: TierConfig, given: frozenset[TierConfig]) -> TierConfig:
    def lacks(part: TierConfig) -> bool:
        return part not in given

    posted = _posted(tiers).postings != () and lacks(_posted(tiers))
    return only(
        tiers,
        checkpoints=lacks(only(tiers, checkpoints=True)),
        bloom=posted or lacks(only(tiers, bloom=True)),
        manifest=posted or lacks(only(tiers, manifest=True)),
        aggregation=lacks(only(tiers, aggregation=True)),
        postings=posted,
    )


def cover(sets: Iterable[TraceRecord], wanted: TierConfig) -> Cover:
    """Return which of *sets* give the parts of *wanted*, and the configuration of what is missing.

    The set that gives most comes first; among equals one that is not quarantined, then the one that
    was committed last. Where nothing is wanted any set will do, but there must be one.
    """
    rest = list(sets)
    if len(rest) == 1 and rest[0].tiers == wanted:
        return Cover((rest[0],), None)
    if not rest:
        return Cover((), wanted)
    owed = parts(wanted)
    if not owed:
        return Cover((max(rest, key=_rank),), None)
    used: list[TraceRecord] = []
    while owed and rest:
        best = max(rest, key=lambda one: (len(owed & parts(one.tiers)), *_rank(one)))
        given = owed & parts(best.tiers)
        if not given:
            break
        used.append(best)
        rest.remove(best)
        owed -= given
    if not owed:
        return Cover(tuple(used), None)
    return Cover(tuple(used), _without(wanted, parts(wanted) - owed))


def _rank(record: TraceRecord) -> tuple[bool, int, bytes]:
    return not record.quarantined, record.generation, record.tiers.digest()


def find_set(sets: Iterable[TraceRecord], tiers: TierConfig) -> TraceRecord | None:
    """Return the record of exactly the set *tiers*."""
    return next((record for record in sets if record.tiers == tiers), None)


def giving(sets: Sets, wanted: TierConfig) -> TraceRecord | None:
    """Return the set that gives all of *wanted* and may answer, as :func:`best` chooses."""
    owed = parts(wanted)
    return best(sets, lambda tiers: owed <= parts(tiers))


def best(sets: Sets, able: Callable[[TierConfig], bool]) -> TraceRecord | None:
    """Return the set to answer from among those whose tiers are *able* to, ``None`` without one.

    One that another set has overtaken shows an older state of the file than is known and may not
    answer. One that is not quarantined comes first, then the one that was committed last.
    """
    if len(sets) > 1:
        sets = tuple(record for record in sets if not _is_overtaken(record, sets))
    return max((record for record in sets if able(record.tiers)), key=_rank, default=None)


def _is_overtaken(record: TraceRecord, sets: Sets) -> bool:
    return any(
        not other.quarantined
        and other.generation > record.generation
        and other.stamp != record.stamp
        for other in sets
    )


def newest_show(sets: Sets, stamp: FileStamp) -> bool:
    """Return whether all that was committed last shows the file as *stamp* does."""
    newest = max((one.generation for one in sets), default=0)
    return bool(sets) and all(one.stamp == stamp for one in sets if one.generation == newest)


def shown(sets: Sets, wanted: TierConfig) -> TraceRecord:
    """Return the set that stands for the trace where each trace is shown or counted once.

    Of those that give what is *wanted*: a quarantined one, else an unfinished one, else the newest.
    """
    if len(sets) == 1:
        return sets[0]
    return max(
        cover(sets, wanted).used or sets,
        key=lambda one: (bool(one.quarantined), one.ending is None, *_rank(one)),
    )
