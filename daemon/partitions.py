"""Chunks as partitions: what a read would read, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pyarrow as pa

from dftindexd.actors.root import Root
from dftindexd.daemon.tables import trace_name
from dftindexd.index.query.event_plan import TracePlan
from dftindexd.views.indices.derived import label_of

__all__ = ("partitions_table",)

_PLACES: Final = ("uc_offset", "uc_size", "c_offset", "c_size", "first_line", "num_lines")
_FIELDS: Final[list[pa.Field[Any]]] = [
    pa.field("partition", pa.utf8(), nullable=False),
    pa.field("trace", pa.utf8(), nullable=False),
    pa.field("chunk", pa.uint64(), nullable=False),
    *(pa.field(name, pa.uint64(), nullable=False) for name in _PLACES),
]

_SCHEMA: Final = pa.schema(_FIELDS)


def partitions_table(root: Root, below: bytes, plans: Iterable[TracePlan]) -> pa.Table:
    """Return the chunks that *plans* read of traces of *root*, as whoever asks about the absolute
    path *below* calls them."""
    return pa.Table.from_pylist(list(_rows(root, below, plans)), schema=_SCHEMA)


def _rows(root: Root, below: bytes, plans: Iterable[TracePlan]) -> Iterator[dict[str, Any]]:
    for plan in plans:
        name = trace_name(root, below, plan.wanted.path)
        for number, chunk in zip(plan.numbers, plan.wanted.chunks, strict=True):
            yield {
                "partition": label_of(name, number),
                "trace": name,
                "chunk": number,
                **{place: getattr(chunk, place) for place in _PLACES},
            }
