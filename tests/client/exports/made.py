"""Rows as a daemon would give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dftindexd.client.exports.source import Process, Stream

__all__ = ("TIME", "batch_of", "process", "spans", "stream")

TIME = pa.timestamp("ns", tz="UTC")


def process(number: int = 7, *, host: str = "node1", exe: str = "app") -> Process:
    """Return a process that started at its number of seconds."""
    return Process(
        f"{host}:{number}:{number}000000",
        number,
        exe,
        f"{exe};run",
        host,
        "2.2.0",
        number * 10**9,
    )


def stream(of: Process | None = None, tid: int = 8, name: str = "") -> Stream:
    """Return a thread."""
    of = of or process()
    return Stream(f"{of.id}:{tid}", of, tid, name, 1000, 90_000)


def spans(*calls: tuple[str, int, int], args: Sequence[str | None] = ()) -> pa.RecordBatch:
    """Return calls (name, begin and end in microseconds) with the columns that all formats take."""
    rows: list[dict[str, Any]] = [
        {
            "begin": begin * 1000,
            "end": end * 1000,
            "id": number,
            "name": name,
            "target": "POSIX",
            "filename": "",
            "args": args[number - 1] if args else None,
        }
        for number, (name, begin, end) in enumerate(calls, 1)
    ]
    types: dict[str, pa.DataType] = {"begin": TIME, "end": TIME, "id": pa.int64()}
    types |= dict.fromkeys(("name", "target", "filename", "args"), pa.utf8())
    return batch_of(rows, types)


def batch_of(rows: list[dict[str, Any]], types: Mapping[str, pa.DataType]) -> pa.RecordBatch:
    """Return rows with columns of these types."""
    schema = pa.schema([pa.field(name, kind) for name, kind in types.items()])
    return pa.RecordBatch.from_pylist(rows, schema=schema)
