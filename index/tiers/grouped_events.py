"""Events that were grouped as they were read, as rows of the aggregation tier.

The kernel keeps a key's numbers in the order of the stored columns, so that the usual segment, all
of whose rows come from there, is stored without taking them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dftindexd.index.model import AggregationTier
from dftindexd.index.tiers.aggregation_schema import KIND_EVENT, STATISTICS, row_schema
from dftindexd.index.tiers.frames import encode_blocks
from dftindexd.index.tiers.groups import Array, Columns
from dftindexd.index.trace.kernel import GroupTable
from dftindexd.index.trace.kernel_layout import G_BUCKET, G_DUR, G_PID, G_TRANSFER

__all__ = ("GroupedEvents",)

_Ints = npt.NDArray[np.int64]

#: The key columns that hold texts, as they are stored.
_TEXTS: Final = ("cat", "name", "hhash", "fhash")
#: The least of no samples, as bits.
_NO_MINIMUM: Final = -1


@dataclass(frozen=True, slots=True)
class GroupedEvents:
    """Rows of events: ``numbers`` are those stored from ``kind`` to ``offset_max``, ``squares`` the
    sums of squares, a column each; ``texts`` the codes of the four text columns."""

    numbers: _Ints
    squares: npt.NDArray[np.float64]
    texts: tuple[Array, Array, Array, Array]

    @classmethod
    def of(cls, groups: GroupTable, categories: Array) -> GroupedEvents:
        """Return the rows of *groups*, whose *categories* in lower case are given."""
        numbers = np.empty((_place(G_TRANSFER), len(categories)), np.int64)
        numbers[0] = KIND_EVENT
        numbers[1:] = groups.fields[G_PID:G_TRANSFER]
        statistics = numbers[_place(G_DUR) :].reshape(len(STATISTICS), 4, -1)
        np.copyto(statistics[:, 2], _NO_MINIMUM, where=statistics[:, 0] == 0)
        return cls(numbers, groups.squares, (categories, groups.name, groups.hhash, groups.fhash))

    def __len__(self) -> int:
        return len(self.texts[0])

    @property
    def buckets(self) -> _Ints:
        """The bucket of each row."""
        buckets: _Ints = self.numbers[_place(G_BUCKET)]
        return buckets

    def columns(self, config: AggregationTier) -> Columns:
        """Return the rows as columns."""
        columns: Columns = dict(zip(_TEXTS, self.texts, strict=True))
        blocks = [*self.numbers, *self.squares.view(np.int64)]
        for (name, dtype), values in zip(row_schema(config).dtypes, blocks, strict=True):
            columns[name] = values.view(dtype)
        return columns

    def stored(self, config: AggregationTier, first: int, texts: Sequence[str]) -> bytes:
        """Return the rows as a frame; *texts* has those of the categories from *first* on."""
        categories, *others = self.texts
        numbers = [self.numbers, self.squares.view(np.int64)]
        codes = [categories + first, *others]
        return encode_blocks(row_schema(config), len(categories), numbers, codes, texts)


def _place(field: int) -> int:
    """Return where a field of the kernel's groups is among the stored numbers."""
    return field - G_PID + 1
