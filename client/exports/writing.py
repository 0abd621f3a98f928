"""Writing an export: rows from a source, through one format, to a place.

The process that asks writes, with its rights. What is there at the end is whole; what an error or
an interrupt cut short leaves nothing.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Final, Literal, TypeAlias, cast, get_args

import msgspec

from dftindexd.client.exports import flame, folded, otlp, perfetto, tables
from dftindexd.client.exports.call_stacks import CallTree
from dftindexd.client.exports.places import check_free, directory_beside, size_of
from dftindexd.client.exports.source import Source, Stream
from dftindexd.client.exports.values import values_of
from dftindexd.client.table_files import beside
from dftindexd.protocol.errors import InvalidArgumentError

__all__ = ("FORMATS", "STDOUT", "TABLE_FORMATS", "Form", "Order", "Written", "form_of", "write")

Form: TypeAlias = Literal["parquet", "arrow", "perfetto", "otlp", "folded", "html"]

FORMATS: Final[tuple[Form, ...]] = get_args(Form)
#: Formats of the rows of any view set; the others are of calls.
TABLE_FORMATS: Final = ("parquet", "arrow")
#: Stands for standard output.
STDOUT: Final = "-"

_SUFFIXES: Final[Mapping[str, Form]] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".json": "perfetto",
    ".jsonl": "otlp",
    ".folded": "folded",
    ".html": "html",
}
_GZIP: Final = ".gz"
#: Text of traces is several times smaller by this, for a quarter of the time of the next.
_GZIP_LEVEL: Final = 3
_STACK_COLUMNS: Final = ("begin", "end", "id", "name")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to write where. ``title`` is for people; ``view_set``, ``columns`` and ``partition_by``
    are for tables."""

    form: Form
    out: str
    title: str
    view_set: str
    columns: tuple[str, ...] | None = None
    partition_by: tuple[str, ...] | None = None
    force: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: so many rows of views, in files of so many bytes together."""

    path: str
    format: Form
    rows: int
    files: int
    bytes: int
    generation: int
    warnings: list[str]


def form_of(path: str) -> Form:
    """Return the format that the suffix of *path* names, that before ``.gz`` if there is one.

    :raises InvalidArgumentError: it names none.
    """
    for suffix, form in _SUFFIXES.items():
        if path.removesuffix(_GZIP).endswith(suffix):
            return form
    raise InvalidArgumentError(
        f"the suffix of {path} names no format", f"give --format {'|'.join(FORMATS)}"
    )


def write(source: Source, order: Order) -> Written | None:
    """Write an export; return what was written, None of standard output.

    :raises InvalidArgumentError: the place is taken, or cannot be written.
    """
    if order.out == STDOUT:
        _write_file(source, order, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        source.finish()
        return None
    is_directory = order.form == "parquet"
    check_free(order.out, force=order.force, directory=is_directory)
    if is_directory:
        with directory_beside(order.out) as folder:
            rows = source.table(order.view_set, order.columns)
            tables.write_parquet(rows, folder, order.partition_by)
    else:
        with beside(order.out) as file:
            _write_file(source, order, file)
    source.finish()
    files, size = size_of(order.out)
    return Written(
        path=order.out,
        format=order.form,
        rows=source.rows,
        files=files,
        bytes=size,
        generation=source.generation,
        warnings=source.warnings,
    )


def _write_file(source: Source, order: Order, file: BinaryIO) -> None:
    if order.form == "arrow":
        rows = source.table(order.view_set, order.columns)
        tables.write_arrow(rows, file, stream=order.out == STDOUT)
        return
    with _maybe_gzip(file, order.out) as target:
        for piece in _MAKERS[order.form](source, order):
            target.write(piece)


@contextmanager
def _maybe_gzip(file: BinaryIO, path: str) -> Iterator[BinaryIO]:
    if not path.endswith(_GZIP):
        yield file
        return
    # Without a name and a time: the same rows are the same bytes.
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
        yield cast("BinaryIO", packed)


def _perfetto(source: Source, _: Order) -> Iterator[bytes]:
    streams = source.streams()
    return perfetto.trace_events(
        streams,
        source.spans(streams, perfetto.CALL_COLUMNS),
        source.counters(streams, perfetto.COUNTER_COLUMNS),
    )


def _otlp(source: Source, _: Order) -> Iterator[bytes]:
    return otlp.otlp_lines(source.otel_spans(source.streams(), otlp.SPAN_COLUMNS))


def _folded(source: Source, _: Order) -> Iterator[bytes]:
    return folded.folded_stacks(_tree(source, source.streams()).whole)


def _html(source: Source, order: Order) -> Iterator[bytes]:
    streams = source.streams()
    tree = _tree(source, streams)
    processes = list(dict.fromkeys(stream.process for stream in streams))
    begin = min(stream.begin for stream in streams)
    end = max(stream.end for stream in streams)
    yield flame.flame_page(tree.whole, order.title, processes, begin, end)


def _tree(source: Source, streams: list[Stream]) -> CallTree:
    tree = CallTree()
    for stream, batch in source.spans(streams, _STACK_COLUMNS):
        columns = (values_of(batch, name) for name in ("begin", "end", "name"))
        tree.add(stream, zip(*columns, strict=True))
    return tree


_MAKERS: Final[Mapping[Form, Callable[[Source, Order], Iterator[bytes]]]] = {
    "perfetto": _perfetto,
    "otlp": _otlp,
    "folded": _folded,
    "html": _html,
}
