"""Which columns have an index, and what each chunk has of them, by the rows of its trace.

The rows are part of the commit that makes the trace visible, so that an index is always that of the
traces that an answer sees: nobody builds one, and nobody can forget to.

Only events count; metadata and objects without ``ph`` do not. Categories are in lower case, as they
are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import pyarrow as pa

from dftindexd.index.errors import QueryError, StoreDamagedError
from dftindexd.index.model import TierConfig, TraceRecord
from dftindexd.index.query.hash_names import HashKind
from dftindexd.index.query.predicate import nearest_hint
from dftindexd.index.query.source import RowSource, damaged_row, segment_rows
from dftindexd.index.store.layout import CHUNK_STATS, MANIFEST, POSTINGS
from dftindexd.index.tiers.aggregation import ascii_lower
from dftindexd.index.tiers.chunk_stats import ChunkStats, decode_chunk_details, decode_chunk_stats
from dftindexd.index.tiers.distributions import ChunkDetails
from dftindexd.index.tiers.manifest import ChunkManifest, decode_manifest
from dftindexd.index.tiers.postings import ColumnValues, decode_postings, posting_suffix

__all__ = (
    "COLUMNS",
    "MOST_ENTRIES",
    "NAMES_OF",
    "IndexColumn",
    "NameOf",
    "Wanted",
    "column_of",
    "columns_of_tiers",
    "values_by_chunk",
)

R = TypeVar("R")

#: The distinct values of each chunk of a trace, in their order; null is ``None``.
ChunkValues: TypeAlias = list[set[Any]]

#: Returns what a hash names for a trace, ``None`` where nobody names it.
NameOf: TypeAlias = Callable[[TraceRecord, str], str | None]


class IndexColumn(NamedTuple):
    """A column with an index. ``type`` is ``None`` where the values decide; ``partition`` tells
    that it is one of those that tell partitions apart."""

    name: str
    type: pa.DataType | None
    about: str
    partition: bool = False


#: So many values by chunk an index may have that is asked for: some hundred megabytes.
MOST_ENTRIES: Final = 2_000_000

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
#: The columns of names, and of which kind they are.
NAMES_OF: Final[dict[str, HashKind]] = {"host": "host", "file_name": "file"}


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


class Wanted:
    """Which values of *column* are wanted, *values* (normalized; ``None``: all), and how many more
    there may be."""

    def __init__(
        self, column: str, values: Collection[Any] | None = None, left: int = MOST_ENTRIES
    ) -> None:
        self.column = column
        self._values = values
        self._left = left

    def of(self, found: Iterable[Any]) -> set[Any]:
        """Return the wanted values of those that a chunk has.

        :raises QueryError: there are too many in all.
        """
        among = self._values
        values = set(found) if among is None else {value for value in found if value in among}
        self._left -= len(values)
        if self._left < 0:
            raise QueryError(
                f"the index of {self.column} has more than {MOST_ENTRIES:,} entries there",
                "ask for some values, or for a directory with fewer traces",
            )
        return values


def values_by_chunk(
    source: RowSource, records: Sequence[TraceRecord], wanted: Wanted, names: NameOf | None = None
) -> list[ChunkValues]:
    """Return for each of *records*, which are of sets with a manifest, what its chunks have of a
    column. *names* tells the names of hashes, for columns of these.

    :raises StoreDamagedError: a row is missing, or does not read back.
    :raises QueryError: there is too much, or a chunk has more hashes than are kept.
    """
    column = wanted.column
    if column in _HASH_OF:
        return _hashes(source, records, wanted, names)
    if column in _FROM_MANIFEST:
        values = _FROM_MANIFEST[column]
        return list(_decoded(source, records, _MANIFESTS, lambda _, chunk: values(chunk), wanted))
    if column == "tid":
        return list(_decoded(source, records, _DETAILS, _tids, wanted))
    return list(_decoded(source, records, _postings(column), _posted, wanted))


_FROM_MANIFEST: Final[dict[str, Callable[[ChunkManifest], Iterable[Any]]]] = {
    "cat": lambda chunk: (ascii_lower(kind.cat) for kind in chunk.kinds),
    "name": lambda chunk: (kind.name for kind in chunk.kinds),
    "pid": lambda chunk: chunk.pids,
    "process": lambda chunk: chunk.pids,
}


class _Rows(NamedTuple, Generic[R]):
    """A row of each segment, which has all of its chunks."""

    family: str
    decode: Callable[[bytes], list[R]]
    suffix: bytes = b""


def _statistics(value: bytes) -> list[tuple[ChunkStats, ChunkDetails]]:
    return list(zip(decode_chunk_stats(value), decode_chunk_details(value), strict=True))


_MANIFESTS: Final = _Rows(MANIFEST, decode_manifest)
_DETAILS: Final = _Rows(CHUNK_STATS, _statistics)


def _postings(column: str) -> _Rows[ColumnValues]:
    return _Rows(POSTINGS, decode_postings, posting_suffix(column))


def _decoded(
    source: RowSource,
    records: Sequence[TraceRecord],
    rows: _Rows[R],
    values: Callable[[TraceRecord, R], Iterable[Any]],
    wanted: Wanted,
) -> Iterator[ChunkValues]:
    """Yield what the rows of each of *records* say of its chunks; damage names the trace."""
    found = segment_rows(source, rows.family, records, rows.suffix)
    for record, of_trace in zip(records, found, strict=True):
        try:
            chunks = (chunk for row in of_trace for chunk in rows.decode(row))
            yield [wanted.of(values(record, chunk)) for chunk in chunks]
        except StoreDamagedError as error:
            raise damaged_row(rows.family, record, error.message) from error


def _posted(_: TraceRecord, chunk: ColumnValues) -> Iterable[Any]:
    return (*chunk.numbers, *chunk.texts, *([None] if chunk.null else []))


def _tids(_: TraceRecord, chunk: tuple[ChunkStats, ChunkDetails]) -> Iterable[Any]:
    return (tid for _, tid in chunk[1].distributions.threads)


def _hashes(
    source: RowSource, records: Sequence[TraceRecord], wanted: Wanted, names: NameOf | None
) -> list[ChunkValues]:
    """Return the hashes of each chunk, or their names: from postings, where there are any, else
    from the counts of the statistics, which stop at some thousand."""
    column = _HASH_OF[wanted.column]

    def named(record: TraceRecord, hashes: Iterable[Any]) -> Iterable[Any]:
        if names is None:
            return hashes
        return (None if hash_ is None else names(record, hash_) for hash_ in hashes)

    def posted(record: TraceRecord, chunk: ColumnValues) -> Iterable[Any]:
        return named(record, _posted(record, chunk))

    def counted(record: TraceRecord, chunk: tuple[ChunkStats, ChunkDetails]) -> Iterable[Any]:
        return named(record, _counted(record, column, *chunk))

    with_postings = [one for one in records if column in one.tiers.postings]
    without = [one for one in records if column not in one.tiers.postings]
    from_postings = _decoded(source, with_postings, _postings(column), posted, wanted)
    from_counts = _decoded(source, without, _DETAILS, counted, wanted)
    return [next(from_postings if column in one.tiers.postings else from_counts) for one in records]


def _counted(
    record: TraceRecord, column: str, stats: ChunkStats, details: ChunkDetails
) -> Iterable[Any]:
    counts = details.hashes[column].counts
    if counts is None:
        raise QueryError(
            f"{record.path.decode(errors='backslashreplace')} has more values of {column} in a "
            "chunk than are kept where the column is not declared",
            f"add {column} to indexing.columns",
        )
    lacking = stats.records - sum(counts.values())
    return (*counts, *([None] if lacking else []))
