"""Rows as Arrow, and as a directory of Parquet that is partitioned as Hive does it.

Batches are written as they come; memory is that of some rows for each open file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import IOBase
from itertools import chain
from typing import BinaryIO, Final, cast
from urllib.parse import quote

import pyarrow as pa
from pyarrow import parquet as pq

from dftindexd.client.exports.places import PART_NAME
from dftindexd.protocol.errors import InvalidArgumentError

__all__ = ("DAY", "write_arrow", "write_parquet")

#: A column that any set with times can be partitioned by: the day (UTC) on which the row begins.
DAY: Final = "day"

_TIMES: Final = ("begin", "time", "begin_time", "start_time", "time_bin")
#: So many rows are written at once: a row group, where they are of one partition.
_ROWS_AT_ONCE: Final = 1 << 16
_MOST_PARTITIONS: Final = 500
#: Hive's word for null.
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


def write_arrow(batches: Iterable[pa.RecordBatch], target: BinaryIO, *, stream: bool) -> None:
    """Write *batches*, of which there is at least one, as an Arrow IPC file, or as a stream, for
    readers that cannot seek."""
    rest = iter(batches)
    first = next(rest)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(cast("IOBase", target), first.schema) as writer:
        for batch in chain([first], rest):
            if batch.num_rows:
                writer.write_batch(batch)


def write_parquet(
    batches: Iterable[pa.RecordBatch], folder: str, partition_by: Sequence[str] | None
) -> None:
    """Write *batches*, of which there is at least one, below *folder*: a directory for each value
    of the columns *partition_by*, by default for each :data:`DAY`, where the rows have a time.

    :raises InvalidArgumentError: there is no such column, or it has too many values.
    """
    tables = _gathered(batches)
    first = next(tables)
    keys = _keys(first.schema, partition_by)
    with ExitStack() as files:
        written = _Partitions(folder, keys, files)
        for table in chain([first], tables):
            written.add(_with_day(table) if DAY in keys else table)
        if not written.any:
            pq.write_table(first, os.path.join(folder, PART_NAME.format(0)))


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if kept and rows + batch.num_rows > _ROWS_AT_ONCE:
            yield pa.Table.from_batches(kept)
            kept, rows = [], 0
        kept.append(batch)
        rows += batch.num_rows
    if kept:
        yield pa.Table.from_batches(kept)


def _keys(schema: pa.Schema, wanted: Sequence[str] | None) -> tuple[str, ...]:
    has_day = _time_of(schema) is not None
    if wanted is None:
        return (DAY,) if has_day else ()
    known = [*schema.names, *([DAY] if has_day and DAY not in schema.names else [])]
    for name in wanted:
        if name not in known:
            raise InvalidArgumentError(
                f"there is no column {name!r} to partition by",
                f"the columns are {', '.join(known)}",
            )
        kind = schema.field(name).type if name in schema.names else pa.utf8()
        if pa.types.is_nested(kind) or pa.types.is_fixed_size_binary(kind):
            raise InvalidArgumentError(
                f"column {name!r} cannot be partitioned by: its values are {kind}", "name another"
            )
    if set(schema.names) <= set(wanted):
        raise InvalidArgumentError(
            "all columns are partitioned by, so that none is left", "partition by fewer"
        )
    return tuple(dict.fromkeys(wanted))


def _time_of(schema: pa.Schema) -> str | None:
    return next((name for name in _TIMES if name in schema.names), None)


def _with_day(table: pa.Table) -> pa.Table:
    time = _time_of(table.schema)
    if time is None or DAY in table.schema.names:
        return table
    return table.append_column(DAY, table.column(time).cast(pa.date32()).cast(pa.utf8()))


class _Partitions:
    """The files of an export, one a partition, opened as their first rows come."""

    def __init__(self, folder: str, keys: tuple[str, ...], files: ExitStack) -> None:
        self._folder = folder
        self._keys = keys
        self._files = files
        self._writers: dict[tuple[str | None, ...], pq.ParquetWriter] = {}

    @property
    def any(self) -> bool:
        """Whether there is a file."""
        return bool(self._writers)

    def add(self, table: pa.Table) -> None:
        """Write rows."""
        if not self._keys:
            self._write((), table)
            return
        keys = [table.column(name).cast(pa.utf8()) for name in self._keys]
        names = [f"{number}" for number in range(len(keys))]
        rows = pa.table([*keys, pa.array(range(table.num_rows))], names=[*names, "row"])
        found = rows.group_by(names, use_threads=False).aggregate([("row", "list")])
        rest = table.drop_columns([name for name in self._keys if name in table.column_names])
        for own, *values in zip(found["row_list"], *(found[name] for name in names), strict=True):
            self._write(tuple(value.as_py() for value in values), rest.take(own.values))

    def _write(self, values: tuple[str | None, ...], rows: pa.Table) -> None:
        writer = self._writers.get(values)
        if writer is None:
            if len(self._writers) == _MOST_PARTITIONS:
                raise InvalidArgumentError(
                    f"{', '.join(self._keys)} have more than {_MOST_PARTITIONS} values",
                    "partition by a column of fewer",
                )
            writer = self._writers[values] = self._open(values, rows.schema)
        writer.write_table(rows)

    def _open(self, values: tuple[str | None, ...], schema: pa.Schema) -> pq.ParquetWriter:
        folder = os.path.join(
            self._folder,
            *(
                f"{quote(key, safe='')}={_NULL if value is None else quote(value, safe='')}"
                for key, value in zip(self._keys, values, strict=True)
            ),
        )
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, PART_NAME.format(0))
        return self._files.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))
