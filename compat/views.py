"""Views of a trace, and their Arrow files: which chunks can hold an event of a view, and its rows.

A view is a filter with a name. ``io``, ``compute`` and ``dlio`` are known by their names; others
are a ``dict`` with ``name``, ``query`` and ``include_metadata``. A filtered view with metadata has
also the records that name the hashes of its events, after them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import pyarrow as pa

from dftindexd.compat.errors import DFTUtilsIndexerError, DFTUtilsIOError
from dftindexd.compat.event_batches import as_row, batches_of_rows, united
from dftindexd.compat.reading import Wanted
from dftindexd.compat.trace_text import TraceText, parsed
from dftindexd.index.query.event_fields import Event, event_field, is_row
from dftindexd.index.trace.names import hash_text

__all__ = (
    "View",
    "check_compression",
    "checked_views",
    "view_chunks",
    "view_of",
    "write_chunk",
    "write_chunks",
    "write_partitions",
)

_IO_CALLS: Final = (
    "read pread readv fread write pwrite writev fwrite open close fopen fclose stat fstat lseek "
    "lseek64 pread64 pwrite64"
)
_COMPUTE: Final = "ai_framework comm compute device"
_DLIO: Final = (
    f"{_COMPUTE} checkpoint config data data_loader dlio_benchmark pipeline reader storage"
)


def _one_of(column: str, names: str) -> str:
    quoted = ", ".join(f'"{name}"' for name in names.split())
    return f"{column} in [{quoted}]"


class View(NamedTuple):
    """A filter with a name."""

    name: str = "all"
    query: str = ""
    include_metadata: bool = True


_KNOWN: Final = {
    "io": f"{_one_of('cat', 'POSIX STDIO')} and {_one_of('name', _IO_CALLS)}",
    "compute": _one_of("cat", _COMPUTE),
    "dlio": _one_of("cat", _DLIO),
}


def view_of(view: object) -> View:
    """Return the view that is meant, that of everything for ``None``.

    :raises TypeError: it is neither a name nor a ``dict``.
    :raises ValueError: no view has this name.
    :raises DFTUtilsQueryError: its query is none.
    """
    if view is None:
        return View()
    if isinstance(view, str):
        if view not in _KNOWN:
            raise ValueError(f"no view {view!r}; known are {', '.join(_KNOWN)}, or give a dict")
        return View(view, _KNOWN[view])
    if not isinstance(view, dict):
        raise TypeError("view must be a string or dict")
    query = str(view.get("query") or "")
    parsed(Wanted(query))
    return View(str(view.get("name", "all")), query, bool(view.get("include_metadata", True)))


def checked_views(views: object) -> list[View]:
    """Return the views of a list; none for ``None``.

    :raises TypeError: *views* is no list of names and ``dict``.
    :raises ValueError: one has no name.
    """
    if views is None:
        return []
    if not isinstance(views, list):
        raise TypeError("views must be a list or None")
    for view in views:
        if not isinstance(view, str | dict):
            raise TypeError("views list must contain strings or dicts")
        if isinstance(view, dict) and not isinstance(view.get("name"), str):
            raise ValueError("view dict must have 'name' string")  # noqa: TRY004 - as there
    return [view_of(view) for view in views]


def check_compression(compression: str) -> None:
    """Raise a ValueError unless *compression* is one."""
    if compression not in ("zstd", "none"):
        raise ValueError(f"Unknown compression: {compression} (use 'none' or 'zstd')")


def view_chunks(text: TraceText, view: View) -> dict[str, Any]:
    """Return the chunks of the one trace of *text* that can hold an event of *view*.

    :raises DFTUtilsIndexerError: the trace is not in the index.
    """
    ((path, whole),) = text.plans(Wanted())
    ((_, plan),) = text.plans(Wanted(view.query))
    if whole is None or plan is None:
        raise DFTUtilsIndexerError(
            f"{os.fsdecode(path)} is not in the index; CheckpointIndexer.build() says why"
        )
    places = {chunk.uc_offset: place for place, chunk in enumerate(whole.wanted.chunks)}
    chunks = [
        {
            "checkpoint_idx": places[chunk.uc_offset],
            "start_byte": chunk.uc_offset,
            "end_byte": chunk.uc_offset + chunk.uc_size,
        }
        for chunk in plan.wanted.chunks
    ]
    return {
        "chunks": chunks,
        "total_checkpoints": len(places),
        "skipped_checkpoints": len(places) - len(chunks),
        "file_may_match": bool(chunks),
    }


@dataclass(slots=True)
class _Rows:
    """The rows of a view in a range of text; iterating counts what it does."""

    text: TraceText
    view: View
    text_range: range
    scanned: int = 0
    metadata: list[Event] = field(default_factory=list)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        keeps = parsed(Wanted(self.view.query)).keeps
        bounds = self.text_range.start, self.text_range.stop
        hashes: set[str] = set()
        for event in self.text.events(Wanted(text_range=bounds)):
            event_is_row = is_row(event)
            self.scanned += event_is_row
            if keeps is None or keeps(event):
                hashes.update(_hashes(event))
            elif event_is_row or not self.view.include_metadata:
                continue
            else:
                self.metadata.append(event)
                continue
            yield as_row(event, flatten=False)
        for event in self.metadata:
            if hash_text(event.args.get("value")) in hashes:
                yield as_row(event, flatten=False)


def _fields_of_hashes() -> list[Any]:
    found = (event_field(name) for name in ("hhash", "fhash", "shash"))
    return [one.read for one in found if one is not None]


_READ_HASHES: Final = _fields_of_hashes()


def _hashes(event: Event) -> Iterator[str]:
    for read in _READ_HASHES:
        value = read(event)
        if value:
            yield value


def write_chunk(
    text: TraceText,
    output_file: str,
    chunk: range,
    view: View,
    compression: str,
    batch_size: int,
) -> dict[str, Any]:
    """Write the rows of *view* in the bytes *chunk* of the text as an Arrow file.

    :raises DFTUtilsIOError: the file cannot be written.
    """
    check_compression(compression)
    if batch_size < 1:
        raise ValueError("batch_size must be > 0")
    rows = _Rows(text, view, chunk)
    table = united(list(batches_of_rows(rows, batch_size, {})))
    options = pa.ipc.IpcWriteOptions(compression=None if compression == "none" else "zstd")
    try:
        with (
            pa.OSFile(output_file, "wb") as file,
            pa.ipc.new_file(file, table.schema, options=options) as writer,
        ):
            writer.write_table(table)
        size = os.path.getsize(output_file)
    except OSError as error:
        raise DFTUtilsIOError(f"{output_file} cannot be written: {error}") from error
    return {
        "output_file": output_file,
        "events_matched": table.num_rows,
        "events_scanned": rows.scanned,
        "rows_written": table.num_rows,
        "bytes_written": size,
    }


def write_chunks(
    text: TraceText,
    chunks: Iterable[Any],
    output_dir: str,
    view: View,
    compression: str,
    batch_size: int,
) -> dict[str, Any]:
    """Write each chunk to ``chunk-NNNNN.arrow`` in *output_dir*."""
    wanted = [_place(chunk) for chunk in chunks]
    os.makedirs(output_dir, exist_ok=True)
    results = [
        write_chunk(
            text,
            os.path.join(output_dir, f"chunk-{place:05}.arrow"),
            bounds,
            view,
            compression,
            batch_size,
        )
        for place, bounds in wanted
    ]
    return {
        "results": results,
        "total_rows": sum(one["rows_written"] for one in results),
        "total_events_matched": sum(one["events_matched"] for one in results),
    }


def _place(chunk: object) -> tuple[int, range]:
    if not isinstance(chunk, dict):
        raise TypeError("each chunk must be a dict")
    try:
        return chunk["checkpoint_idx"], range(chunk["start_byte"], chunk["end_byte"])
    except KeyError as error:
        raise KeyError("chunk must have checkpoint_idx, start_byte, end_byte") from error


def write_partitions(
    text: TraceText,
    path: str,
    views: Sequence[View],
    file_bytes: int,
    compression: str,
    batch_size: int,
) -> dict[str, Any]:
    """Write each of *views* to a folder of its name below *path*, or everything into *path*."""
    check_compression(compression)
    partitions: dict[str, Any] = {}
    scanned = skipped = 0
    for view in views or (View(),):
        folder = os.path.join(path, view.name) if views else path
        os.makedirs(folder, exist_ok=True)
        found = view_chunks(text, view)
        scanned += len(found["chunks"])
        skipped += found["skipped_checkpoints"]
        written: list[dict[str, Any]] = []
        for bounds in _parts(found["chunks"], file_bytes):
            file = os.path.join(folder, f"part-{len(written):05}.arrow")
            one = write_chunk(text, file, bounds, view, compression, batch_size)
            if one["rows_written"]:
                written.append(one)
            else:
                os.unlink(file)
        partitions[view.name] = {
            "files": [one["output_file"] for one in written],
            "rows": sum(one["rows_written"] for one in written),
            "bytes": sum(one["bytes_written"] for one in written),
        }
    return {
        "partitions": partitions,
        "total_rows": sum(one["rows"] for one in partitions.values()),
        "total_bytes": sum(one["bytes"] for one in partitions.values()),
        "chunks_scanned": scanned,
        "chunks_skipped": skipped,
    }


def _parts(chunks: Iterable[dict[str, int]], most: int) -> Iterator[range]:
    """Join chunks that lie side by side to ranges of at most *most* bytes, or one chunk."""
    part: range | None = None
    for chunk in chunks:
        begin, end = chunk["start_byte"], chunk["end_byte"]
        if part is not None and part.stop == begin and end - part.start <= most:
            part = range(part.start, end)
            continue
        if part is not None:
            yield part
        part = range(begin, end)
    if part is not None:
        yield part
