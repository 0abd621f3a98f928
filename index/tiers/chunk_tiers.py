"""Tier 2 in the making: everything that is kept of each chunk but where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dftindexd.index.model import Row, TierConfig
from dftindexd.index.tiers.bloom import BloomBuilder
from dftindexd.index.tiers.chunk_contents import ChunkContents
from dftindexd.index.tiers.chunk_stats import ChunkStatsBuilder
from dftindexd.index.tiers.event_order import EventOrderBuilder
from dftindexd.index.tiers.manifest import ManifestBuilder
from dftindexd.index.tiers.postings import PostingsBuilder
from dftindexd.index.trace.columns import Interner
from dftindexd.index.trace.facts import FactsCollector

if TYPE_CHECKING:
    from dftindexd.index.trace.decode import DecodedBlock
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = ("ChunkTiers",)


class ChunkTiers:
    """Takes what a segment's lines gave, and where its chunks end."""

    def __init__(self, tiers: TierConfig, texts: Interner, facts: FactsCollector) -> None:
        self._texts = texts
        self._facts = facts
        arguments = tiers.arguments if tiers.bloom else ()
        self._argument_keys = [texts.code(name) for name in arguments]
        self._blooms = BloomBuilder(tiers.bloom_rate, arguments, texts) if tiers.bloom else None
        self._manifest = ManifestBuilder() if tiers.manifest else None
        self._order = EventOrderBuilder() if tiers.manifest else None
        self._stats = ChunkStatsBuilder() if tiers.checkpoints else None
        self._postings = PostingsBuilder(tiers.postings, texts)
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self._contents = ChunkContents(self._argument_keys)
        self._units_before = self._facts.units

    def add(self, block: DecodedBlock) -> None:
        """Take a block of the current chunk."""
        self._contents.add(block.columns, block.others)
        if self._manifest:
            self._manifest.add(block.metadata)
        if self._order:
            self._order.add(block)
        if self._stats:
            self._stats.add(block.columns, exact=block.exact)
        self._postings.add(block.columns)

    @property
    def held(self) -> int:
        """How much is held of what grows with distinct values, beside texts."""
        return self._postings.held + (self._order.held if self._order else 0)

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the current chunk."""
        self._contents.add_groups(groups)
        if self._stats:
            self._stats.add_groups(groups)
        if self._order:
            self._order.add_groups(groups)

    def end_chunk(self, newlines: int) -> None:
        """End the current chunk, whose text has so many *newlines*."""
        if self._blooms:
            self._blooms.end_chunk(self._contents)
        if self._manifest:
            self._manifest.end_chunk(self._contents)
        if self._order:
            self._order.end_chunk(self._contents, newlines)
        if self._stats:
            is_one = self._facts.units == self._units_before
            unit = self._facts.facts().time_metric if is_one else ""
            self._stats.end_chunk(self._contents, unit)
        self._postings.end_chunk()
        self._begin_chunk()

    def rows(self, segment_id: int) -> list[Row]:
        """Return a segment's rows of the tiers that were asked for."""
        texts = self._texts.texts
        rows = self._stats.rows(segment_id, texts) if self._stats else []
        rows += self._blooms.rows(segment_id) if self._blooms else []
        rows += self._manifest.rows(segment_id, texts) if self._manifest else []
        rows += self._order.rows(segment_id, texts) if self._order else []
        return rows + self._postings.rows(segment_id)
