"""Directories of Parquet, and Arrow, as other programs read them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from dftindexd.client.exports.tables import write_arrow, write_parquet
from dftindexd.protocol.errors import InvalidArgumentError
from tests.client.exports.made import TIME, batch_of

_DAY = 86_400 * 10**9
_Rows = list[dict[str, Any]]

#: Values that a name of a directory cannot have as they are.
_ODD = ("POSIX", "a/b=c", "50 % & more", "ümläut", "it's:1", "..", None)


def _batch(days: int = 2, rows: int = 14) -> pa.RecordBatch:
    made = [
        {"n": number, "cat": _ODD[number % len(_ODD)], "begin": (number % days) * _DAY + 5}
        for number in range(rows)
    ]
    return batch_of(made, {"n": pa.int64(), "cat": pa.utf8(), "begin": TIME})


def _pyarrow(folder: Path) -> _Rows:
    table = ds.dataset(folder, format="parquet", partitioning="hive").to_table()
    return table.select(["n", "cat"]).to_pylist()


def _duckdb(folder: Path) -> _Rows:
    query = f"SELECT n, cat FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    with duckdb.connect() as connection:
        rows = connection.execute(query).fetchall()
    return [{"n": n, "cat": cat} for n, cat in rows]


def _polars(folder: Path) -> _Rows:
    frame = polars.scan_parquet(folder, hive_partitioning=True).select("n", "cat").collect()
    rows: _Rows = frame.to_dicts()
    return rows


@pytest.mark.parametrize("read", [_pyarrow, _duckdb, _polars])
@pytest.mark.parametrize("keys", [None, (), ("cat",), ("day", "cat")], ids=str)
def test_other_programs_read_every_row_as_it_was(
    tmp_path: Path, read: Callable[[Path], _Rows], keys: tuple[str, ...] | None
) -> None:
    write_parquet([_batch(), _batch().slice(0, 0)], str(tmp_path), keys)
    found = {row["n"]: row["cat"] for row in read(tmp_path)}
    assert found == {number: _ODD[number % len(_ODD)] for number in range(14)}


def test_rows_with_a_time_are_partitioned_by_their_day_and_others_not(tmp_path: Path) -> None:
    write_parquet([_batch()], str(tmp_path / "days"), None)
    assert sorted(path.name for path in (tmp_path / "days").iterdir()) == [
        *("day=1970-01-01", "day=1970-01-02"),
    ]
    (tmp_path / "plain").mkdir()
    write_parquet([_batch().select(["n", "cat"])], str(tmp_path / "plain"), None)
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["part-0.parquet"]


def test_no_rows_are_a_file_that_says_what_the_columns_are(tmp_path: Path) -> None:
    write_parquet([_batch().slice(0, 0)], str(tmp_path), ("cat",))
    found = ds.dataset(tmp_path, format="parquet", partitioning="hive")
    assert (found.count_rows(), set(found.schema.names)) == (0, {"n", "cat", "begin"})


def test_rows_of_a_partition_are_one_file_however_many_batches_they_come_in(tmp_path: Path) -> None:
    batches = [_batch(rows=100_000) for _ in range(4)]
    write_parquet(batches, str(tmp_path), ("cat",))
    assert len(list(tmp_path.rglob("*.parquet"))) == len(_ODD)
    assert ds.dataset(tmp_path, format="parquet").count_rows() == 400_000


def test_a_column_that_cannot_be_partitioned_by_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'host'.*the columns are n, cat, begin, day"):
        write_parquet([_batch()], str(tmp_path), ("host",))
    with pytest.raises(InvalidArgumentError, match="more than 500 values"):
        write_parquet([_batch(rows=501)], str(tmp_path), ("n",))
    listed = pa.RecordBatch.from_pydict({"n": [1], "tags": [["cpu"]]})
    with pytest.raises(InvalidArgumentError, match="'tags' cannot be partitioned by"):
        write_parquet([listed], str(tmp_path), ("tags",))
    with pytest.raises(InvalidArgumentError, match="none is left"):
        write_parquet([_batch().select(["n"])], str(tmp_path), ("n",))


def test_arrow_is_a_file_or_a_stream() -> None:
    file, stream = io.BytesIO(), io.BytesIO()
    write_arrow([_batch(), _batch().slice(0, 0), _batch()], file, stream=False)
    write_arrow([_batch()], stream, stream=True)
    assert pa.ipc.open_file(file.getvalue()).read_all().num_rows == 28
    assert pa.ipc.open_stream(stream.getvalue()).read_all().num_rows == 14
