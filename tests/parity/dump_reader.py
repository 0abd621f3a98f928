"""Run in the reference's own environment: dump what its TraceReader and statistics say of traces.

``python dump_reader.py INDEX_DIR TRACE...`` prints a JSON object: the signatures, and for each
trace the answers of :func:`read`, read without an index, and of a packed one what its index tells.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from typing import Any

QUERIES = (
    'name == "read"',
    'cat in ["POSIX", "STDIO"] and dur > 20',
    "ts >= 0 and tid > 0",
    'ph == "M"',
    'not (name == "write")',
)
LINES = ((1, 1), (2, 7), (0, 3), (1000, 0), (999_999, 1_000_000))
TYPES = ("summary", "categories", "names", "pid_tids", "time_range", "duration_stats", "detailed")


def _texts(views: Any) -> list[str]:
    return [bytes(view).decode("latin-1") for view in views]


def _rows(table: Any) -> list[dict[str, Any]]:
    arrow: Any = importlib.import_module("pyarrow")
    rows: list[dict[str, Any]] = arrow.table(table).to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _ordered(rows: Any) -> list[str]:
    """Return rows in an order of their own: the reference makes batches in parallel."""
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def read(reader: Any) -> dict[str, Any]:
    """Return what a reader of one trace says."""
    said: dict[str, Any] = {
        "num_lines": reader.num_lines,
        "lines": _texts(reader.read_lines()),
        "iterated": _texts(reader.iter_lines()),
        "json": [one.to_dict() for one in reader.read_json()],
        "json lines": _ordered(_rows_of(reader.read_lines_json())),
        "normal": _ordered(_rows(reader.read_arrow(normalize=True))),
        "flat": _ordered(_rows(reader.read_arrow(flatten_objects=True))),
    }
    for first, last in LINES:
        said[f"lines {first}-{last}"] = _texts(reader.read_lines(first, last))
    for query in QUERIES:
        said[f"lines {query}"] = _texts(reader.read_lines(query=query))
        said[f"json {query}"] = [one.to_dict() for one in reader.read_json(query=query)]
        said[f"rows {query}"] = reader.read_arrow(query=query).num_rows
    return said


def _rows_of(rows: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def statistics(query: Callable[..., dict[str, Any]], trace: str, index: str) -> dict[str, Any]:
    """Return the statistics of a packed trace; counts in an order of their own."""
    said = {}
    for one in TYPES:
        answer = query(trace, one, index_dir=index)
        said[one] = answer | {"results": sorted(map(list, answer["results"]))}
    return said


def signatures(utils: Any) -> dict[str, Any]:
    """Return the names and defaults of the arguments of a module's reader and functions."""
    reader = utils.TraceReader
    calls = {name: getattr(reader, name) for name in dir(reader) if not name.startswith("_")}
    calls |= {name: getattr(utils, name) for name in ("TraceReader", "read_arrow", "write_arrow")}
    return {
        name: [[one.name, repr(one.default)] for one in inspect.signature(call).parameters.values()]
        for name, call in calls.items()
        if callable(call)
    }


def main() -> None:
    """Print what the reference says."""
    utils: Any = importlib.import_module("dftracer.utils")
    query: Any = importlib.import_module("dftracer.utils.utilities").StatisticsQueryUtility()
    utils.set_log_level("off")
    folder, *traces = sys.argv[1:]
    said: dict[str, Any] = {"signatures": signatures(utils)}
    for number, trace in enumerate(traces):
        index = os.path.join(folder, str(number))
        os.makedirs(index)
        said[trace] = {"read": read(utils.TraceReader(trace, index))}
        if trace.endswith(".gz"):
            utils.Indexer(files=[trace], index_dir=index).ensure_indexed()
            reader = utils.TraceReader(trace, index)
            said[trace]["bytes"] = reader.get_max_bytes()
            said[trace]["statistics"] = statistics(query, trace, index)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
