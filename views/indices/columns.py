"""Which columns have an index, and what each chunk has of them, by the rows of its trace.

The rows are part of the commit that makes the trace visible, so that an index is always that of the
traces that an answer sees: nobody builds one, and nobody can forget to.

Only events count; metadata and objects without ``ph`` do not. Categories are in lower case, as they
are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import pyarrow as pa

from dftindexd.index.errors import QueryError, StoreDamagedError
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.query.hash_names import DirectoryHashes, HashKind
from dftindexd.index.query.predicate import nearest_hint
from dftindexd.index.query.source import RowSource, damaged_row, segment_rows
from dftindexd.index.store.layout import CHUNK_STATS, MANIFEST, POSTINGS
from dftindexd.index.tiers.aggregation import ascii_lower
from dftindexd.index.tiers.chunk_stats import ChunkStats, decode_chunk_details, decode_chunk_stats
from dftindexd.index.tiers.distributions import HashCounts
from dftindexd.index.tiers.manifest import ChunkManifest, decode_manifest
from dftindexd.index.tiers.postings import decode_postings, posting_suffix

__all__ = ("COLUMNS", "IndexColumn", "column_of", "columns_of_tiers", "values_by_chunk")

R = TypeVar("R")

#: The distinct values of each chunk of a trace, in their order; null is ``None``.
ChunkValues: TypeAlias = list[set[Any]]


class IndexColumn(NamedTuple):
    """A column with an index. ``type`` is ``None`` where the values decide; ``partition`` tells
    that it is one of those that tell partitions apart."""

    name: str
    type: pa.DataType | None
    about: str
    partition: bool = False


_TEXT: Final = pa.string()
_ID: Final = pa.uint64()

#: The columns that always have an index.
COLUMNS: Final = (
    IndexColumn("host", _TEXT, "the name of the host, of its hash", partition=True),
    IndexColumn("process", _ID, "the number of the process", partition=True),
    IndexColumn("file", _TEXT, "the trace itself, by its path", partition=True),
    IndexColumn("cat", _TEXT, "the category, in lower case"),
    IndexColumn("name", _TEXT, "the name of the event"),
    IndexColumn("pid", _ID, "the same as process"),
    IndexColumn("tid", _ID, "the number of the thread"),
    IndexColumn("hhash", _TEXT, "the hash of the host"),
    IndexColumn("fhash", _TEXT, "the hash of the file that the event is about"),
    IndexColumn("file_name", _TEXT, "the name of that file"),
)

_BY_NAME: Final = {column.name: column for column in COLUMNS}
_HASH_OF: Final = {"host": "hhash", "hhash": "hhash", "file_name": "fhash", "fhash": "fhash"}
_KINDS: Final[dict[str, HashKind]] = {"host": "host", "file_name": "file"}


def columns_of_tiers(tiers: TierConfig) -> list[IndexColumn]:
    """Return the columns that have an index in a set of *tiers*."""
    if not tiers.manifest:
        return []
    declared = [
        IndexColumn(name, _type_of(name), "declared by the configuration")
        for name in tiers.normal().postings
        if name not in _BY_NAME
    ]
    return [*COLUMNS, *declared]


def _type_of(name: str) -> pa.DataType | None:
    if name.startswith("args."):
        return None
    return _TEXT if name.endswith("hash") else pa.int64()


def column_of(name: str, tiers: TierConfig) -> IndexColumn:
    """Return the column *name* of a set of *tiers*.

    :raises QueryError: it has no index there.
    """
    known = {column.name: column for column in columns_of_tiers(tiers)}
    if name not in known:
        raise QueryError(
            f"there is no index of the column {name}",
            f"{nearest_hint(name, tuple(known))}; declare others with indexing.columns",
        )
    return known[name]


def values_by_chunk(
    source: RowSource, records: Sequence[TraceRecord], column: str, hashes: DirectoryHashes | None
) -> list[ChunkValues]:
    """Return for each of *records*, which are of sets with a manifest, what its chunks have of
    *column*. *hashes* are the tables of these records, needed for columns of names only.

    :raises StoreDamagedError: a row is missing, or does not read back.
    :raises QueryError: a chunk has more hashes than are kept without postings.
    """
    if column in _KINDS:
        if hashes is None:
            raise AssertionError("names need the hash tables")
        return _named(_hashes(source, records, _HASH_OF[column]), hashes, _KINDS[column])
    if column in _HASH_OF:
        return _hashes(source, records, column)
    if column in ("cat", "name", "pid", "process"):
        return _of_manifest(source, records, _FROM_MANIFEST[column])
    if column == "tid":
        return _threads(source, records)
    return _posted(source, records, column)


_FROM_MANIFEST: Final[dict[str, Callable[[ChunkManifest], Iterable[Any]]]] = {
    "cat": lambda chunk: (ascii_lower(kind.cat) for kind in chunk.kinds),
    "name": lambda chunk: (kind.name for kind in chunk.kinds),
    "pid": lambda chunk: chunk.pids,
    "process": lambda chunk: chunk.pids,
}


def _decoded(
    source: RowSource,
    records: Sequence[TraceRecord],
    family: str,
    decode: Callable[[bytes], list[R]],
    suffix: bytes = b"",
) -> Iterator[list[R]]:
    """Yield what the rows of each of *records* say of its chunks; damage names the trace."""
    rows = segment_rows(source, family, records, suffix)
    for record, values in zip(records, rows, strict=True):
        try:
            yield [chunk for value in values for chunk in decode(value)]
        except StoreDamagedError as error:
            raise damaged_row(family, record, error.message) from error


def _of_manifest(
    source: RowSource,
    records: Sequence[TraceRecord],
    values: Callable[[ChunkManifest], Iterable[Any]],
) -> list[ChunkValues]:
    chunks = _decoded(source, records, MANIFEST, decode_manifest)
    return [[set(values(chunk)) for chunk in of_trace] for of_trace in chunks]


def _threads(source: RowSource, records: Sequence[TraceRecord]) -> list[ChunkValues]:
    chunks = _decoded(source, records, CHUNK_STATS, decode_chunk_details)
    return [
        [{tid for _, tid in chunk.distributions.threads} for chunk in of_trace]
        for of_trace in chunks
    ]


def _posted(source: RowSource, records: Sequence[TraceRecord], column: str) -> list[ChunkValues]:
    chunks = _decoded(source, records, POSTINGS, decode_postings, posting_suffix(column))
    return [
        [{*chunk.numbers, *chunk.texts, *([None] if chunk.null else [])} for chunk in of_trace]
        for of_trace in chunks
    ]


def _hashes(source: RowSource, records: Sequence[TraceRecord], column: str) -> list[ChunkValues]:
    """Return the hashes of each chunk: those with postings from there, the others from the counts
    of their statistics, which stop at some thousand."""
    has_postings = [column in record.tiers.postings for record in records]
    posted = iter(
        _posted(
            source, [one for one, has in zip(records, has_postings, strict=True) if has], column
        )
    )
    counted = iter(
        _counted(
            source, [one for one, has in zip(records, has_postings, strict=True) if not has], column
        )
    )
    return [next(posted if has else counted) for has in has_postings]


def _counted(source: RowSource, records: Sequence[TraceRecord], column: str) -> list[ChunkValues]:
    def decode(value: bytes) -> list[tuple[ChunkStats, HashCounts]]:
        details = decode_chunk_details(value)
        pairs = zip(decode_chunk_stats(value), details, strict=True)
        return [(stats, chunk.hashes[column]) for stats, chunk in pairs]

    found: list[ChunkValues] = []
    for record, chunks in zip(records, _decoded(source, records, CHUNK_STATS, decode), strict=True):
        if any(hashes.counts is None for _, hashes in chunks):
            raise QueryError(
                f"{record.path.decode(errors='backslashreplace')} has more values of {column} in a "
                "chunk than are kept where the column is not declared",
                f"add {column} to indexing.columns",
            )
        found.append([_with_null(stats, hashes.counts or {}) for stats, hashes in chunks])
    return found


def _with_null(stats: ChunkStats, counts: dict[str, int]) -> set[Any]:
    lacking = stats.records - sum(counts.values())
    return {*counts, *([None] if lacking else [])}


def _named(chunks: list[ChunkValues], hashes: DirectoryHashes, kind: HashKind) -> list[ChunkValues]:
    """Return names for hashes; one that nobody names is null, as none is."""
    return [
        [
            {(hashes.name(kind, hash_, trace) or None) if hash_ else None for hash_ in values}
            for values in of_trace
        ]
        for trace, of_trace in enumerate(chunks)
    ]
