"""What a hash stands for, in its own trace and in the directory that was asked for.

A hash is resolved by its own trace's metadata first, then by that of the other traces (a forked
child's trace lacks what its parent had written). Where those name different things, as the 16-bit
hashes of dftracer 1.0.x do, a hash that its own trace does not name stays unresolved: its name is
"", and the conflict is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import TraceRecord
from dftindexd.index.query.source import RowSource, damaged_row, segment_rows
from dftindexd.index.store.layout import HASH_TABLES
from dftindexd.index.tiers.hash_tables import HashTables, decode_hash_tables

__all__ = ("DirectoryHashes", "HashKind", "ResolvedNames", "hash_tables", "merge_hash_tables")

HashKind: TypeAlias = Literal["file", "host", "string", "proc"]

_KINDS: tuple[HashKind, ...] = ("file", "host", "string", "proc")


@dataclass(frozen=True, slots=True)
class ResolvedNames:
    """A column of names: codes into distinct *values*; ``exact`` where a hash has one name only."""

    codes: npt.NDArray[np.int64]
    values: list[str]
    exact: bool


@dataclass(frozen=True, slots=True)
class DirectoryHashes:
    """The hash tables of a set of traces.

    ``own`` has the tables of each trace, ``merged`` those of all together, with "" for a hash that
    traces name differently; ``conflicts`` are these hashes.
    """

    own: tuple[HashTables, ...]
    merged: HashTables
    conflicts: dict[HashKind, frozenset[str]]

    @property
    def conflict_count(self) -> int:
        """How many hashes name different things in different traces."""
        return sum(len(hashes) for hashes in self.conflicts.values())

    def name(self, kind: HashKind, hash_: str, trace: int) -> str:
        """Return what *hash_* names for the *trace*-th of the traces, "" where unresolved."""
        own: str | None = getattr(self.own[trace], kind).get(hash_)
        merged: dict[str, str] = getattr(self.merged, kind)
        return own if own is not None else merged.get(hash_, "")

    def resolve(
        self,
        kind: HashKind,
        codes: npt.NDArray[np.int64],
        hashes: Sequence[str],
        traces: npt.NDArray[np.int64],
    ) -> ResolvedNames:
        """Return the name for each row of *codes* into *hashes*; *traces* says whose row it is."""
        table: dict[str, str] = getattr(self.merged, kind)
        known: dict[str, int] = {"": 0}
        by_hash = [known.setdefault(table.get(hash_, ""), len(known)) for hash_ in hashes]
        names = np.array(by_hash, np.int64)[codes] if len(by_hash) else np.zeros(0, np.int64)
        conflicts = self.conflicts[kind]
        disputed = np.array([hash_ in conflicts for hash_ in hashes], np.bool_)
        rows = np.flatnonzero(disputed[codes]) if disputed.any() else ()
        if not len(rows):
            return ResolvedNames(names, list(known), exact=True)
        pairs, which = np.unique(np.stack([traces[rows], codes[rows]]), axis=1, return_inverse=True)
        found = [
            known.setdefault(self.name(kind, hashes[code], trace), len(known))
            for trace, code in zip(*pairs.tolist(), strict=True)
        ]
        names[rows] = np.array(found, np.int64)[which.ravel()]
        return ResolvedNames(names, list(known), exact=False)


def hash_tables(source: RowSource, records: Sequence[TraceRecord]) -> DirectoryHashes:
    """Return the hash tables of *records*; a missing row is a StoreDamagedError."""
    rows = segment_rows(source, HASH_TABLES, records)
    own = [_trace_tables(record, values) for record, values in zip(records, rows, strict=True)]
    return merge_hash_tables(own)


def _trace_tables(record: TraceRecord, values: Sequence[bytes]) -> HashTables:
    """Return the tables of one trace; the first name of a hash stays."""
    try:
        segments = [decode_hash_tables(value) for value in values]
    except StoreDamagedError as error:
        raise damaged_row(HASH_TABLES, record, error.message) from error
    tables = HashTables()
    for kind in _KINDS:
        table: dict[str, str] = getattr(tables, kind)
        for segment in reversed(segments):
            table.update(getattr(segment, kind))
    return tables


def merge_hash_tables(own: Sequence[HashTables]) -> DirectoryHashes:
    """Merge the tables of several traces."""
    merged = HashTables()
    conflicts: dict[HashKind, frozenset[str]] = {}
    for kind in _KINDS:
        table: dict[str, str] = getattr(merged, kind)
        disputed = {
            hash_
            for tables in own
            for hash_, name in getattr(tables, kind).items()
            if table.setdefault(hash_, name) != name
        }
        table.update(dict.fromkeys(disputed, ""))
        conflicts[kind] = frozenset(disputed)
    return DirectoryHashes(tuple(own), merged, conflicts)
