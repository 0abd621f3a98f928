"""Run in the reference's own environment: dump what dftracer-utils 0.0.12 says of indexed traces.

``python dump_published.py (TRACES INDEX_DIR)...`` prints a JSON object: for each pair the status,
and for each trace its checkpoints, lines, ranges and events. Nothing is built.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

FIELDS = ("uc_offset", "uc_size", "c_offset", "c_size", "bits", "num_lines", "checkpoint_idx")
QUERIES = ('name == "read"', 'cat == "POSIX" and dur > 5', "pid > 0 and ts > 0", 'ph == "M"')


def _digest(lines: Iterable[Any]) -> str:
    return hashlib.md5(b"|".join(bytes(line) for line in lines)).hexdigest()


def trace_said(utils: Any, indexer: Any, trace: str, index: str) -> dict[str, Any]:
    """Return what the index says of one trace, and what is read by it."""
    checkpoints, reader = indexer.get_checkpoint_indexer(trace), utils.TraceReader(trace, index)
    lines, size = checkpoints.get_num_lines(), checkpoints.get_max_bytes()
    line_ranges = ((1, 1), (2, 7), (lines // 2, lines // 2 + 50), (max(lines - 3, 1), lines))
    byte_ranges = [(0, 1000), (size // 3, size // 2), (max(size - 500, 0), size)]
    points = checkpoints.get_checkpoints()
    for one in points:  # within the chunk that begins there, from the place itself, and over it
        begin = one.uc_offset
        byte_ranges += (
            (begin + begun, begin + ended)
            for begun, ended in ((5000, 9000), (0, 4000), (-4000, 4000))
        )
    return {
        "lines": (lines, reader.num_lines),
        "bytes": (size, reader.get_max_bytes()),
        "points": [[getattr(one, field) for field in FIELDS] for one in points],
        "built": (checkpoints.exists(), checkpoints.need_rebuild(), reader.has_index),
        "tiers": (checkpoints.has_bloom, checkpoints.has_manifest),
        "line ranges": [_digest(reader.read_lines(*one)) for one in line_ranges],
        "byte ranges": [
            _digest(reader.read_lines(start_byte=begin, end_byte=end)) for begin, end in byte_ranges
        ],
        "queries": [_digest(reader.read_lines(query=query)) for query in QUERIES],
        "events": len(reader.read_json(query="dur > 10")),
    }


def said(utils: Any, traces: str, index: str) -> dict[str, Any]:
    """Return what the index says of a directory."""
    indexer = utils.Indexer(traces, require_aggregation=True, index_dir=index)
    status = indexer.resolve()
    names = sorted(name for name in os.listdir(traces) if name.endswith(".gz"))
    return {
        "ready": sorted(map(os.path.basename, status.ready)),
        "needs_work": sorted(map(str, status.needs_work)),
        "traces": {
            name: trace_said(utils, indexer, os.path.join(traces, name), index) for name in names
        },
    }


def main() -> None:
    """Print what is said."""
    utils: Any = importlib.import_module("dftracer.utils")
    utils.set_log_level("off")
    arguments = iter(sys.argv[1:])
    pairs = zip(arguments, arguments, strict=True)
    print(json.dumps([said(utils, traces, index) for traces, index in pairs]))


if __name__ == "__main__":
    main()
