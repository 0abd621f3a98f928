"""Events of a trace as Arrow files, and Arrow files as one table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dftindexd.compat.trace_reader import TraceReader

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ("read_arrow", "write_arrow")


def write_arrow(
    file_path: str,
    output_dir: str,
    view: str | dict[str, Any] | None = None,
    index_dir: str = "",
    checkpoint_size: int = 33554432,
    compression: str = "zstd",
    batch_size: int = 10000,
    chunks: list[dict[str, Any]] | None = None,
    parallel: bool = True,  # noqa: ARG001
) -> dict[str, Any]:
    """Write the events of *view* in a trace to files in *output_dir*, one a chunk that has any.

    Without *chunks* all are written that can hold such an event. *parallel* is kept for the
    signature: rows are made by one thread.

    :returns: ``files``, ``total_chunks``, ``skipped_chunks``, ``total_rows``,
        ``total_events_matched``.
    """
    os.makedirs(output_dir, exist_ok=True)
    reader = TraceReader(file_path, index_dir, checkpoint_size)
    skipped = 0
    if chunks is None:
        found = reader.get_view_chunks(view)
        chunks, skipped = found["chunks"], found["skipped_checkpoints"]
    written = reader.write_view_chunks(chunks or [], output_dir, view, compression, batch_size)
    results = written["results"]
    for one in results:
        if not one["rows_written"]:
            os.unlink(one["output_file"])
    return {
        "files": [one["output_file"] for one in results if one["rows_written"]],
        "total_chunks": len(results),
        "skipped_chunks": skipped,
        "total_rows": written["total_rows"],
        "total_events_matched": written["total_events_matched"],
    }


def read_arrow(
    files: Sequence[str],
    parallel: bool = True,  # noqa: ARG001
) -> pa.Table | None:
    """Return the rows of Arrow files as one table that has the columns of all.

    Files that are empty or not there are passed over; ``None`` if none is left. *parallel* is kept
    for the signature: files are mapped, not read.
    """
    import pyarrow as pa

    tables = []
    for path in files:
        if os.path.exists(path) and os.path.getsize(path):
            with pa.memory_map(path) as file:
                tables.append(pa.ipc.open_file(file).read_all())
    return pa.concat_tables(tables, promote_options="permissive") if tables else None
