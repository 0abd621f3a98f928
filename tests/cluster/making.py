"""Traces to index in several places, and answers that can be compared."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from dftindexd.compat import ArrowBatch, Indexer
from tests.compat.writing import write_trace
from tests.end_to_end.made_traces import event_lines

__all__ = ("answers", "rows_of", "write_cut_trace", "write_run")

KINDS = ("events", "profiles", "system")


def write_run(folder: Path) -> Path:
    """Write traces of both generations, one of many members, one of metrics, one that is plain."""
    folder.mkdir(parents=True)
    for number in range(1, 4):
        write_trace(folder / f"v1-{number}.pfw.gz", 40 * number, pid=number)
        lines = event_lines(60 * number, pid=10 + number)
        (folder / f"v2-{number}.pfw.gz").write_bytes(gzip.compress(lines))
    write_trace(folder / "plain.pfw", 25, pid=9)
    write_metrics(folder / "metrics.pfw.gz")
    write_cut_trace(folder / "cut.pfw.gz", 4000, members=9)
    return folder


def write_cut_trace(path: Path, events: int, *, members: int, unit_in: int = 0) -> None:
    """Write a trace whose lines straddle its gzip members, in nanoseconds where *unit_in* says in
    which member that is told."""
    lines = event_lines(events, pid=77)
    size = len(lines) // members + 1
    texts = [lines[begin : begin + size] for begin in range(0, len(lines), size)]
    if unit_in:
        unit = {"id": 0, "name": "CM", "cat": "dftracer", "pid": 77, "tid": 77, "ph": "M",
                "args": {"name": "time_metric", "value": "NS"}}  # fmt: skip
        end = texts[unit_in].index(b"\n") + 1
        text = json.dumps(unit, separators=(",", ":")).encode() + b"\n"
        texts[unit_in] = texts[unit_in][:end] + text + texts[unit_in][end:]
    path.write_bytes(b"".join(gzip.compress(text, 1) for text in texts))


def write_metrics(path: Path) -> None:
    """Write a trace of system metrics, as the tracer's service does."""
    lines = [
        json.dumps({"name": name, "cat": "sys", "type": 7, "ph": 2, "pid": 0, "tid": 0,
                    "ts": 1_700_000_000_000_000 + 1_000_000 * number,
                    "args": {"hhash": "00000000000000aa", "user_pct": 10.0 + number,
                             "iowait_pct": 1.5, "idle_pct": 80.0}},
                   separators=(",", ":"))
        for number in range(30)
        for name in ("cpu", "cpu-0")
    ]  # fmt: skip
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


def rows_of(batches: Iterable[ArrowBatch]) -> list[str]:
    """Return the rows of *batches* in an order that depends on nothing but them."""
    return table_rows(*(pa.record_batch(batch) for batch in batches))


def table_rows(*tables: pa.Table | pa.RecordBatch) -> list[str]:
    """Return the rows of *tables*, likewise."""
    return sorted(repr(sorted(row.items())) for table in tables for row in table.to_pylist())


def answers(indexer: Indexer) -> dict[str, list[str]]:
    """Return all that an aggregating indexer answers, and the hashes, events and processes."""
    found = {kind: rows_of(indexer.iter_arrow_dfanalyzer(kind)) for kind in KINDS}
    fused = indexer.iter_arrow_dfanalyzer_all(time_granularity=0.5)
    found |= {f"fused {kind}": rows_of(batches) for kind, batches in fused.items()}
    found |= {f"stored {kind}": rows_of(indexer.iter_aggregation(kind)) for kind in KINDS}
    for kind in ("file", "host", "string", "proc"):
        found[kind] = sorted(map(repr, indexer.get_hash_table(kind).items()))
    ids, pids = indexer.query_file_info()
    found["pids"] = sorted(f"{path}: {sorted(pids[number])}" for number, path in ids.items())
    return found
