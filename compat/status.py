"""How the traces of an indexer stand: which of them have all that is required, as on disk.

Needs nothing to read rows with: whether there is anything to do is known before that is imported.
"""

from __future__ import annotations

from collections.abc import Mapping

from dftindexd.compat.config import IndexStatus
from dftindexd.compat.selection import Selection
from dftindexd.index.model import TierConfig
from dftindexd.index.tier_sets import Sets, only, parts

__all__ = ("current_sets", "status_of")


def current_sets(selection: Selection, sets: Mapping[bytes, Sets], path: bytes) -> Sets:
    """Return those of a store's *sets* that show the trace at *path* as it is on disk."""
    stamp = selection.stamps[path]
    return tuple(one for one in sets.get(path, ()) if one.stamp == stamp)


def status_of(
    selection: Selection, store_path: str, sets: Mapping[bytes, Sets], tiers: TierConfig
) -> IndexStatus:
    """Return which traces the store at *store_path*, which holds *sets*, has as they are on disk,
    with all *tiers*."""
    lacking = {
        name: _lacking(current_sets(selection, sets, name), tiers)
        for name in sorted(selection.stamps)
    }
    shown = {selection.shown(name): lacks for name, lacks in lacking.items()}
    return IndexStatus(
        total_files=len(shown),
        ready=[name for name, lacks in shown.items() if lacks is None],
        needs_work=[name for name, lacks in shown.items() if lacks is not None],
        index_path=store_path if shown else "",
        aggregation_interval_us=tiers.aggregation.interval_us if tiers.aggregation else 0,
        missing={name: lacks for name, lacks in shown.items() if lacks is not None},
    )


def _lacking(sets: Sets, tiers: TierConfig) -> list[str] | None:
    """Return which requirements none of *sets* meets, ``None`` if a trace with them is ready."""
    sound = [one for one in sets if not one.quarantined]
    given = frozenset[TierConfig]().union(*(parts(one.tiers) for one in sound))
    required = {
        "checkpoint": only(tiers, checkpoints=True),
        "bloom": only(tiers, bloom=True),
        "manifest": only(tiers, manifest=True),
        "aggregation": only(tiers, aggregation=True),
    }
    lacks = [name for name, part in required.items() if not parts(part) <= given]
    return lacks if lacks or not sound else None
