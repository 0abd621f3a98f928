"""Rows as files of other programs: CSV, JSON lines, Parquet, Arrow.

Batches are written as they come. A file is written beside its place and renamed, so that nobody
finds half of one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import IOBase
from typing import BinaryIO, Final, Literal, TypeAlias, cast, get_args

import msgspec
import pyarrow as pa

from dftindexd.protocol.errors import DftIndexError, InvalidArgumentError

__all__ = ("FORMATS", "Format", "beside", "format_of", "telling_of", "umask", "write_batches")

Format: TypeAlias = Literal["csv", "json", "parquet", "arrow"]

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

_SUFFIXES: Final[dict[str, Format]] = {
    **{f".{name}": name for name in FORMATS},
    ".jsonl": "json",
    ".ndjson": "json",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".pq": "parquet",
}
_JSON: Final = msgspec.json.Encoder()


def format_of(path: str) -> Format:
    """Return the format that the suffix of *path* names.

    :raises InvalidArgumentError: it names none.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _SUFFIXES:
        raise InvalidArgumentError(
            f"the suffix of {path} names no format", f"give --format {'|'.join(FORMATS)}"
        )
    return _SUFFIXES[suffix]


def write_batches(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: BinaryIO, form: Format
) -> int:
    """Write *batches*, all of *schema*, to *target*; return how many rows they have.

    Arrow is the IPC file format, JSON one object a line, CSV has a line of names first.
    """
    return _WRITERS[form](batches, schema, target)


def _write_json(batches: Iterable[pa.RecordBatch], _: pa.Schema, target: BinaryIO) -> int:
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        target.write(b"".join(_JSON.encode(row) + b"\n" for row in batch.to_pylist()))
    return rows


def _write_csv(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: BinaryIO) -> int:
    from pyarrow import csv

    if not schema.names:
        return 0
    plain = pa.schema([pa.field(field.name, _plain(field.type)) for field in schema])
    rows = 0
    with csv.CSVWriter(target, plain) as writer:
        for batch in batches:
            rows += batch.num_rows
            writer.write_table(pa.Table.from_batches([batch]).cast(plain))
    return rows


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values: CSV has no dictionaries."""
    return kind.value_type if isinstance(kind, pa.DictionaryType) else kind


def _write_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: BinaryIO) -> int:
    from pyarrow import parquet

    rows = 0
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            rows += batch.num_rows
            writer.write_batch(batch)
    return rows


def _write_arrow(batches: Iterable[pa.RecordBatch], schema: pa.Schema, target: BinaryIO) -> int:
    # A file may have one dictionary a column; batches of an answer may each have their own.
    table = pa.Table.from_batches(batches, schema=schema).unify_dictionaries()
    with pa.ipc.new_file(cast("IOBase", target), schema) as writer:
        writer.write_table(table)
    return table.num_rows


_WRITERS: Final[dict[Format, Callable[[Iterable[pa.RecordBatch], pa.Schema, BinaryIO], int]]] = {
    "csv": _write_csv,
    "json": _write_json,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
}


@contextmanager
def beside(path: str) -> Iterator[BinaryIO]:
    """Open a file beside *path* that takes its place at the end of the context, unless that ends
    with an error: then nothing is left of it.

    :raises InvalidArgumentError: *path* cannot be written.
    """
    folder, name = os.path.split(os.path.abspath(path))
    with telling_of(path):
        descriptor, part = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o666 & ~umask())
            os.replace(part, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)


@contextmanager
def telling_of(path: str) -> Iterator[None]:
    """Have errors of the system within the context name *path*.

    :raises InvalidArgumentError: it cannot be written.
    """
    try:
        yield
    except DftIndexError:  # what the daemon refuses can be an error of the system, too
        raise
    except OSError as error:
        raise InvalidArgumentError(
            f"{path} cannot be written: {error.strerror or error}", "name another place"
        ) from error


def umask() -> int:
    """Return which rights new files of this process do not get."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
