"""The schema of a view set: its columns, what each means, and its version.

Columns are only ever appended; a change of what one means is a new version. Either changes the
digest, and with it partitions of the old schema are not fresh any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa

__all__ = (
    "LARGEST_TIME_US",
    "TIME",
    "Column",
    "InstanceKind",
    "ViewSchema",
    "nanoseconds",
)

#: Times in views: nanoseconds since 1970, UTC.
TIME: Final = pa.timestamp("ns", tz="UTC")
#: The latest time in microseconds that nanoseconds in 64 bits can say.
LARGEST_TIME_US: Final = (2**63 - 1) // 1000

#: So many rows are objects at once while a table is made.
_ROWS_AT_ONCE: Final = 1 << 16

#: What the id of an instance names: a process, a stream (a thread of a process), or nothing but
#: ``global``.
InstanceKind: TypeAlias = Literal["process", "stream", "global"]


def nanoseconds(microseconds: int) -> int:
    """Return a time of a trace as views have it; one that does not fit is the latest that does."""
    return min(microseconds, LARGEST_TIME_US) * 1000


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, its type, and what its values mean."""

    name: str
    type: pa.DataType
    doc: str


@dataclass(frozen=True)
class ViewSchema:
    """A view set. ``table``: it can be asked as a table of that name; ``instances``: what ids
    ``view_instance`` takes for it; ``begin`` and ``end`` name the columns that a range of time is
    compared with. ``open_ended``: rows may have further columns, as the tier is configured."""

    name: str
    version: int
    doc: str
    columns: tuple[Column, ...]
    table: bool = True
    instances: tuple[InstanceKind, ...] = ()
    begin: str | None = None
    end: str | None = None
    open_ended: bool = False

    @cached_property
    def arrow(self) -> pa.Schema:
        """The schema of its rows."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits that differ between versions and between lists of columns."""
        text = "\n".join(
            [
                f"{self.name} {self.version}",
                *(f"{column.name} {column.type}" for column in self.columns),
            ]
        )
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def rows(self, rows: Iterable[tuple[Any, ...]]) -> pa.Table:
        """Return *rows*, each the values of the columns in their order, as a table."""
        batches: list[pa.RecordBatch] = []
        left = iter(rows)
        while some := list(islice(left, _ROWS_AT_ONCE)):
            arrays = [
                pa.array(values, column.type)
                for column, values in zip(self.columns, zip(*some, strict=True), strict=True)
            ]
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.arrow))
        return pa.Table.from_batches(batches, self.arrow)
