"""Run in the reference's own environment: dump what dftracer-utils 0.0.12 says of a directory.

``python dump_reference.py TRACES INDEX_DIR OUT`` writes one Arrow IPC file an answer into OUT.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

GROUPINGS = {
    "func": ["func_name"],
    "cat-range": ["cat", "time_range"],
    "file-host": ["file_name", "host_name", "io_cat"],
    "pid": ["pid", "tid", "proc_name", "acc_pat", "file_hash", "host_hash"],
}
HASH_KINDS = ("file", "host", "string", "proc")
QUERIES = {
    "cat": 'cat == "posix"',
    "pid-or-name": 'pid == 1 or name in ["read", "write"]',
    "not": 'not (cat == "posix") and tid > 0',
}


def save(out: str, name: str, batches: Iterable[Any]) -> None:
    """Write *batches* as one IPC file; batches of another schema get files of their own."""
    by_schema: dict[str, list[pa.RecordBatch]] = {}
    for capsule in batches:
        batch = pa.record_batch(capsule)
        by_schema.setdefault(str(batch.schema.names), []).append(batch)
    for number, found in enumerate(by_schema.values()):
        tables = [decoded(pa.Table.from_batches([batch])) for batch in found]
        table = pa.concat_tables(tables)
        path = os.path.join(out, f"{name}.{number}.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)


def decoded(table: pa.Table) -> pa.Table:
    """Return *table* with plain text in place of dictionaries."""
    columns = [
        column.cast(pa.utf8()) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def main() -> None:
    """Index and dump."""
    traces, index_dir, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    # Of another environment than the project's: no stubs, and another version there.
    reference: Any = importlib.import_module("dftracer.utils")
    indexer = reference.Indexer(traces, require_aggregation=True, index_dir=index_dir)
    status = indexer.ensure_indexed()
    for kind in ("events", "profiles", "system"):
        save(out, f"aggregation-{kind}", indexer.iter_aggregation(kind))
        save(out, f"dfanalyzer-{kind}", indexer.iter_arrow_dfanalyzer(kind))
    for kind, batches in indexer.iter_arrow_dfanalyzer_all().items():
        save(out, f"all-{kind}", batches)
    for label, columns in GROUPINGS.items():
        for kind, batches in indexer.iter_arrow_dfanalyzer_all(group_by=columns).items():
            save(out, f"group-{label}-{kind}", batches)
    for label, query in QUERIES.items():
        for kind, batches in indexer.iter_arrow_dfanalyzer_all(query=query).items():
            save(out, f"query-{label}-{kind}", batches)
    paths, pids = indexer.query_file_info()
    facts = {
        "total_files": status.total_files,
        "ready": sorted(map(os.path.basename, status.ready)),
        "hashes": {kind: indexer.get_hash_table(kind) for kind in HASH_KINDS},
        "files": {os.path.basename(path): sorted(pids[key]) for key, path in paths.items()},
    }
    with open(os.path.join(out, "facts.json"), "w", encoding="utf-8") as file:
        json.dump(facts, file)


if __name__ == "__main__":
    main()
