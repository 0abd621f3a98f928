"""Run in the reference's own environment: dump what dftracer-utils 0.0.14 says of a directory.

``python dump_reference_v2.py TRACES INDEX_DIR OUT`` writes its three tables as JSON to OUT.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import pyarrow as pa

KEYS = ("cat", "name", "pid", "tid", "fhash", "hhash")
STATISTICS = (
    *("count", "sum:dur", "min:dur", "max:dur", "sumsq:dur", "sum:size", "min:size", "max:size"),
    *("sumsq:size", "min:offset", "max:offset", "min:ts", "max:te"),
)
INTERVAL_US = 5_000_000


def main() -> None:
    """Index and dump."""
    traces, index_dir, out = sys.argv[1:]
    # Of another environment than the project's: no stubs, and another version there.
    reference: Any = importlib.import_module("dftracer.utils")
    indexer = reference.Indexer(traces, require_aggregation=True, index_dir=index_dir)
    status = indexer.ensure_indexed()
    viewer = reference.TraceViewer(traces, index_path=status.index_path)
    grouped = viewer.group_by(*KEYS).time_bucket(INTERVAL_US).agg(*STATISTICS)
    tables = {
        kind: [] if table is None else pa.table(table).to_pylist()
        for kind, table in grouped.collect_typed().items()
    }
    ready = sorted(map(os.path.basename, status.ready))
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"ready": ready, **tables}, file)


if __name__ == "__main__":
    main()
