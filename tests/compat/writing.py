"""Small traces to index, and what comes back as one table."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dftindexd.compat import ArrowBatch

__all__ = ("count", "table_of", "write_trace")


def write_trace(path: Path, events: int, pid: int = 1) -> Path:
    """Write a trace of *events* reads, a file name and the mark of its end."""
    lines = ["["]
    lines.append(
        json.dumps({"id": 0, "name": "FH", "cat": "dftracer", "pid": pid, "tid": pid, "ph": "M",
                    "args": {"name": f"/data/{pid}", "value": f"f{pid}"}})
    )  # fmt: skip
    lines += [
        json.dumps({"id": number, "name": "read", "cat": "POSIX", "pid": pid, "tid": pid,
                    "ts": 1_000_000 * number, "dur": 10, "ph": "X",
                    "args": {"fhash": f"f{pid}", "ret": 4096}})
        for number in range(1, events + 1)
    ]  # fmt: skip
    lines.append("]")
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def table_of(batches: Iterable[ArrowBatch]) -> pa.Table:
    """Return the batches, imported through their capsules, as one table."""
    return pa.Table.from_batches([pa.record_batch(batch) for batch in batches])


def count(batches: Iterable[ArrowBatch]) -> int:
    """Return how many records the rows stand for."""
    batches = list(batches)
    return int(pc.sum(table_of(batches)["count"]).as_py()) if batches else 0
