"""Indices as Arrow tables and Parquet: a column of values, and the list of partitions of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dftindexd.views.indices.values import arrow_type

__all__ = (
    "PARTITION",
    "Partitions",
    "array_of",
    "index_table",
    "numpy_values",
    "partitions_of_table",
    "read_parquet",
    "values_of",
    "write_parquet",
)

#: A value, and the partitions that have it.
Partitions: TypeAlias = dict[Any, list[str]]

#: The column of partitions; no index may be of a column that is called so.
PARTITION: Final = "partition"

#: So many values are a row group: texts of partitions take far more room in Arrow than in Python.
_GROUP: Final = 10_000


def array_of(values: Iterable[Any], dtype: pa.DataType | None) -> Any:
    """Return normalized *values* as Arrow has them."""
    if dtype is None or not pa.types.is_timestamp(dtype):
        return pa.array(list(values), type=dtype)
    numbers = [None if value is None else int(value.astype(np.int64)) for value in values]
    return pa.array(numbers, type=pa.int64()).cast(dtype)


def numpy_values(
    values: Iterable[Any], dtype: pa.DataType | None, *, date_as_object: bool
) -> npt.NDArray[Any]:
    """Return normalized *values* as numpy has them, null as what stands for it there."""
    listed = list(values)
    numpy_type: npt.DTypeLike = object
    if dtype is None:
        pass
    elif pa.types.is_floating(dtype):
        listed = [np.nan if value is None else value for value in listed]
        numpy_type = np.float64
    elif pa.types.is_timestamp(dtype) and dtype.tz is not None:
        listed = array_of(listed, dtype).to_pylist()
    elif pa.types.is_temporal(dtype) and not (pa.types.is_date(dtype) and date_as_object):
        numpy_type = "datetime64[ns]"
    elif (pa.types.is_integer(dtype) or pa.types.is_boolean(dtype)) and None not in listed:
        numpy_type = dtype.to_pandas_dtype()
    return np.array(listed, numpy_type)


def values_of(column: Any) -> list[Any]:
    """Return the values of an Arrow column as an index has them."""
    if pa.types.is_timestamp(column.type):
        unit = column.type.unit
        numbers = column.cast(pa.int64()).to_pylist()
        return [
            None if one is None else np.datetime64(one, unit).astype("M8[ns]") for one in numbers
        ]
    found: list[Any] = column.to_pylist()
    return found


def index_table(
    column: str, partitions: Mapping[Any, list[str]], dtype: pa.DataType | None
) -> pa.Table:
    """Return an index as a table of two columns."""
    labels = pa.array(list(partitions.values()), type=pa.list_(pa.string()))
    return pa.Table.from_arrays([array_of(partitions, dtype), labels], names=[column, PARTITION])


def partitions_of_table(column: str, table: pa.Table) -> tuple[Partitions, pa.DataType]:
    """Return what a table of an index holds, and the type of its values.

    :raises ValueError: it is no table of an index of *column*, or has a value twice.
    """
    if {column, PARTITION} - set(table.column_names):
        raise ValueError(
            f"a table with the columns {', '.join(table.column_names)} is no index of {column}"
        )
    values = values_of(table[column])
    found = dict(zip(values, table[PARTITION].to_pylist(), strict=True))
    if len(found) != len(values):
        raise ValueError(f"the table of the index of {column} has a value twice")
    return found, arrow_type(table.schema.field(column).type)


def write_parquet(column: str, partitions: Partitions, dtype: pa.DataType | None) -> bytes:
    """Return an index as a Parquet file."""
    sink = pa.BufferOutputStream()
    parts = _parts(partitions)
    table = index_table(column, next(parts, {}), dtype)
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        for part in parts:
            writer.write_table(index_table(column, part, table.schema.field(column).type))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _parts(partitions: Partitions) -> Iterator[Partitions]:
    items = iter(partitions.items())
    while part := dict(islice(items, _GROUP)):
        yield part


def read_parquet(column: str, data: bytes) -> tuple[Partitions, pa.DataType]:
    """Return what :func:`write_parquet` wrote, or whoever writes the same columns."""
    return partitions_of_table(column, pq.read_table(pa.BufferReader(data), partitioning=None))
