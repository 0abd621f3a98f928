"""Run in the reference's own environment: dump what its planning and distribution say.

``python dump_distribution.py TRACE...`` prints a JSON object: the parameters of each function with
their defaults, and what each call of :func:`said` gives, a value or the kind of its error.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXTENSION = (
    *("scan_files", "plan_lpt_partition", "enumerate_gzip_members", "plan_work_units"),
    *("build_sst_batch", "move_artifacts", "scan_aggregation_manifest"),
)
CLASSES = {
    "IndexDatabase": ("register_files", "bulk_ingest", "write_agg_file_markers"),
    "SstArtifactRegistry": ("append",),
}
DASK = (
    *("distributed_index", "distributed_aggregate", "distributed_aggregate_all"),
    *("resolve_local_staging", "register_auto_thread_plugin"),
)

LPT: tuple[tuple[Any, Any], ...] = (
    ([("a", 3), ("b", 1)], 2),
    ([("a", 10), ("b", 7), ("c", 7), ("d", 5), ("e", 3), ("f", 0)], 3),
    ([("z", 5), ("a", 5), ("m", 5), ("b", 5)], 2),
    ((("a", 1), ("b", 2)), 2),
    ([("a", 1)], -1),
    ([("a", -1)], 2),
    ([], 3),
    (5, 2),
    ([("a",)], 2),
    ([("a", "b")], 2),
    ([("a", 1.5)], 2),
    ([(1, 1)], 2),
    ([("a", 1)], "x"),
)
UNITS: tuple[tuple[Any, ...], ...] = (
    ([[(0, 5)]], 1),
    ([[(0, 5), (5, 5)]], 2),
    ([[(0, 5), (5, 5)]], 2, 1),
    ([[(0, 100), (100, 200), (300, 50)], [(0, 1000)], [], [(0, 10), (10, 10)]], 3),
    ([[(0, 100), (100, 200), (300, 50)], [(0, 1000)], [], [(0, 10), (10, 10)]], 10, 100),
    ([[], []], 2),
    ([[(0, 0)]], 2),
    ([[(0, 5)]], 0),
    ([[(0, 5)]], 1, -1),
    ([], 2),
    (5, 2),
    ([5], 2),
    ([[(1,)]], 2),
    ([[("a", 5)]], 1),
    (None, 1),
)
OTHERS: dict[str, tuple[Any, ...]] = {
    "enumerate_gzip_members": (([],), (5,), ([5],), (None,), (["/none"],), (("/none",),)),
    "scan_files": (("/none",), ("/etc/passwd",), (5,), ("",)),
    "move_artifacts": ((None, "x"), ({"aggregation_sst": 5}, "x")),
    "build_sst_batch": ((["a"], [], "x", "b"), (["a"], ["b"], "x", "b"), (5, [], "x", "b")),
}
APPENDED: tuple[Any, ...] = ({}, None, {"aggregation_sst": 5}, {"x": "y"}, [])
REGISTERED: tuple[Any, ...] = ([], 5, None, [5])
INGESTED: tuple[Any, ...] = ((5,), ({},))
MARKED: tuple[Any, ...] = (5, [], ["a"])


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what *call* gives, or the kind of its error."""
    try:
        return json.loads(json.dumps(call(*arguments)))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is compared
        return type(error).__name__


def said(extension: Any, traces: list[str], database: Any) -> dict[str, Any]:
    """Return what the calls give, by what was called."""
    answers: dict[str, Any] = {
        "lpt": [outcome(extension.plan_lpt_partition, *one) for one in LPT],
        "units": [outcome(extension.plan_work_units, *one) for one in UNITS],
        "members": outcome(extension.enumerate_gzip_members, traces),
        "appended": [outcome(extension.SstArtifactRegistry().append, one) for one in APPENDED],
        "ingested": [outcome(database.bulk_ingest, *one) for one in INGESTED],
        "skipped": outcome(database.bulk_ingest, extension.SstArtifactRegistry(), 5),
    }
    if hasattr(database, "register_files"):  # 0.0.14 has another way
        answers["registered"] = [outcome(database.register_files, one) for one in REGISTERED]
        answers["marked"] = [outcome(database.write_agg_file_markers, one) for one in MARKED]
    for name, calls in OTHERS.items():
        answers[name] = [outcome(getattr(extension, name), *one) for one in calls]
    folder = str(Path(traces[0]).parent)
    for patterns in (None, [".pfw.gz"], ["*.gz"], [".none"]):
        found = extension.scan_files(folder, patterns, True)
        answers[f"scanned {patterns}"] = sorted(map(list, found))
    return answers


def parameters_of(function: Any) -> list[str]:
    """Return the parameters of a function of ours, or of a module in Python."""
    found = inspect.signature(function).parameters.values()
    return [
        one.name + ("" if one.default is one.empty else f"={one.default!r}")
        for one in found
        if one.name != "self"
    ]


def parameters_in(stub: str) -> dict[str, list[str]]:
    """Return the parameters of each function and method in the text of a stub, with defaults."""
    found: dict[str, list[str]] = {}
    for node in ast.parse(stub).body:
        if isinstance(node, ast.FunctionDef) and node.name in EXTENSION:
            found[node.name] = _parameters(node)
        elif isinstance(node, ast.ClassDef) and node.name in CLASSES:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name in CLASSES[node.name]:
                    found[f"{node.name}.{inner.name}"] = _parameters(inner)[1:]
    return found


def _parameters(node: ast.FunctionDef) -> list[str]:
    names = [one.arg for one in node.args.args]
    defaults = [f"={ast.unparse(one)}" for one in node.args.defaults]
    padded = [""] * (len(names) - len(defaults)) + defaults
    return [name + default for name, default in zip(names, padded, strict=True)]


def main() -> None:
    """Print what the reference says."""
    extension: Any = importlib.import_module("dftracer.utils.dftracer_utils_ext")
    dask: Any = importlib.import_module("dftracer.utils.dask")
    stub = Path(extension.__file__).with_name("dftracer_utils_ext.pyi").read_text()
    folder, *traces = sys.argv[1:]
    database = extension.IndexDatabase(folder)
    database.init_schema()
    parameters = parameters_in(stub)
    parameters |= {name: parameters_of(getattr(dask, name)) for name in DASK if hasattr(dask, name)}
    answers = said(extension, traces, database)
    print(json.dumps({"parameters": parameters, "said": answers}))


if __name__ == "__main__":
    main()
