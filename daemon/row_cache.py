"""The merged rows of the last answers, kept for the next ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

from dftindexd.index.query.prepared import PreparedRows

__all__ = ("CACHE_BYTES", "KeptRows", "RowCache")

#: How much memory the rows that are kept between answers may take.
CACHE_BYTES: Final = 256 << 20


class KeptRows(NamedTuple):
    """The rows of some traces at a generation, and what an answer from them lacks."""

    generation: int
    rows: PreparedRows
    warnings: tuple[str, ...] = ()


class RowCache:
    """Rows are kept until their store's next generation, the least recently used going first.

    Reading threads may look; only the event loop keeps.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[Hashable, KeptRows] = OrderedDict()

    def find(self, key: Hashable, generation: int) -> KeptRows | None:
        """Return what is kept for *key* at exactly this generation."""
        kept = self._kept.get(key)
        return kept if kept is not None and kept.generation == generation else None

    @property
    def nbytes(self) -> int:
        """What the rows that are kept take in memory."""
        return sum(entry.rows.nbytes for entry in self._kept.values())

    def keep(self, key: Hashable, kept: KeptRows) -> None:
        """Keep the rows unless newer ones are kept, and let go of what is too much."""
        current = self._kept.get(key)
        if current is None or current.generation <= kept.generation:
            self._kept[key] = kept
        self._kept.move_to_end(key)
        sizes = {each: entry.rows.nbytes for each, entry in self._kept.items()}
        excess = sum(sizes.values()) - self._cache_bytes
        while excess > 0:
            oldest, _ = self._kept.popitem(last=False)
            excess -= sizes[oldest]
