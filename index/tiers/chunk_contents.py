"""What occurs in one chunk: the common ground of its filters, its manifest and its value counts.

Records that are rows and objects that are not (metadata, objects without ``ph``) are kept apart.
Everything is gathered once, in plain Python where a chunk has few groups, since most traces are
small, and by numpy where it has many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import compress, count, repeat
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from dftindexd.index.tiers.groups import group_rows
from dftindexd.index.trace.columns import RecordColumns
from dftindexd.index.trace.numbers import INT64_MAX
from dftindexd.index.trace.record_buffer import Others

if TYPE_CHECKING:
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = ("ArgumentValues", "ChunkContents", "Kinds", "Positions", "kind_of", "new_positions")

#: Category and name (codes, :func:`kind_of`): how many records, and their first line.
Kinds: TypeAlias = dict[int, tuple[int, int]]

#: Of each code of a text: where the text is in what is stored.
Positions: TypeAlias = defaultdict[int, int]

_Array: TypeAlias = npt.NDArray[Any]

#: Up to so many groups plain Python is quicker.
_FEW: Final = 150
_FIELDS: Final = ("cat", "name", "pid", "tid", "hhash", "fhash")
_GROUP_FIELDS: Final = (*_FIELDS, "counts", "first_line", "is_row")
_LOW: Final = 0xFFFFFFFF


def new_positions() -> Positions:
    """Return positions from 0 on, in the order in which codes are first asked for."""
    return defaultdict(count().__next__)


def kind_of(cat: int, name: int) -> int:
    """Return the key of a category and a name, both codes."""
    return cat << 32 | name


class ArgumentValues:
    """The distinct values of one argument: codes of texts, and numbers."""

    __slots__ = ("numbers", "texts")

    def __init__(self) -> None:
        self.texts: set[int] = set()
        self.numbers: set[float] = set()


class ChunkContents:
    """What occurs in the chunk that is being filled.

    ``kinds``, ``threads`` (pid and tid), ``hhash``, ``fhash`` and ``shash`` (codes, not 0) count
    rows; ``shash`` has those of the other objects, too. ``other_kinds`` counts these, and their
    further values are the ``other_*`` sets. ``arguments`` has those of the rows, by the code of
    each key that was asked for. ``records`` is the number of rows.
    """

    def __init__(self, argument_keys: Iterable[int] = ()) -> None:
        self.records = 0
        self.kinds: Kinds = {}
        self.other_kinds: Kinds = {}
        self.threads: dict[tuple[int, int], int] = {}
        self.hhash: dict[int, int] = {}
        self.fhash: dict[int, int] = {}
        self.shash: dict[int, int] = {}
        self.other_threads: set[tuple[int, int]] = set()
        self.other_hashes: dict[str, set[int]] = {"hhash": set(), "fhash": set()}
        self.arguments = {key: ArgumentValues() for key in argument_keys}

    def add(self, columns: RecordColumns, others: Others) -> None:
        """Take a block of the chunk."""
        if len(columns):
            fields = [getattr(columns, name) for name in _FIELDS]
            self._add_rows(fields, None, columns.line)
            self._add_strings(*_values(columns.shash))
            self._add_arguments(columns)
        if len(others):
            self._add_others([others[name] for name in _FIELDS], None, others["line"])
            self._add_strings(_values(others["shash"])[0], repeat(0))

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the grouped records of the chunk."""
        if len(groups.counts) <= _FEW:
            self._add_few_groups(groups)
        else:
            self._add_many_groups(groups)
        self._add_strings(groups.shash.tolist(), groups.shash_rows.tolist())

    def _add_few_groups(self, groups: ChunkGroups) -> None:
        columns = [getattr(groups, name).tolist() for name in _GROUP_FIELDS]
        *values, are_rows = columns
        found = list(zip(*values, strict=True))
        rows = list(compress(found, are_rows))
        self.records += sum(row[6] for row in rows)
        self._count_rows(rows)
        if len(rows) == len(found):
            return
        hosts, files = self.other_hashes["hhash"], self.other_hashes["fhash"]
        others = compress(found, [not is_row for is_row in are_rows])
        for cat, name, pid, tid, hhash, fhash, size, line in others:
            _count_kind(self.other_kinds, cat << 32 | name, size, line)
            self.other_threads.add((pid, tid))
            hosts.add(hhash)
            files.add(fhash)
        hosts.discard(0)
        files.discard(0)

    def _add_many_groups(self, groups: ChunkGroups) -> None:
        fields: list[_Array] = [getattr(groups, name) for name in _FIELDS]
        counts, lines, is_row = groups.counts, groups.first_line, groups.is_row
        if not is_row.all():
            others = ~is_row
            self._add_others([field[others] for field in fields], counts[others], lines[others])
            fields = [field[is_row] for field in fields]
            counts, lines = counts[is_row], lines[is_row]
        if len(counts):
            self._add_rows(fields, counts, lines)

    def codes(self, dimension: str) -> set[int]:
        """Return the codes (not 0) of a dimension of texts, those of all objects."""
        if dimension == "shash":
            return set(self.shash)
        if dimension in self.other_hashes:
            counted: dict[int, int] = getattr(self, dimension)
            return self.other_hashes[dimension].union(counted)
        shift = 32 if dimension == "cat" else 0
        codes = {kind >> shift & _LOW for kinds in self._all_kinds() for kind in kinds}
        codes.discard(0)
        return codes

    def ids(self, dimension: str) -> set[int]:
        """Return the pids or tids of all objects."""
        place = 1 if dimension == "tid" else 0
        ids = {thread[place] for thread in self.threads}
        ids.update(thread[place] for thread in self.other_threads)
        return ids

    def _all_kinds(self) -> tuple[Kinds, Kinds]:
        return self.kinds, self.other_kinds

    def _add_rows(self, fields: list[_Array], counts: _Array | None, lines: _Array) -> None:
        cat, name, pid, tid, hhash, fhash = fields
        self.records += len(cat) if counts is None else int(counts.sum())
        if len(cat) <= _FEW:
            sizes = repeat(1) if counts is None else counts.tolist()
            listed = [field.tolist() for field in fields]
            self._count_rows(zip(*listed, sizes, lines.tolist(), strict=False))
            return
        _count_kinds(self.kinds, cat, name, counts, lines)
        first, sizes = _tally([pid, tid], counts)
        for thread, size in zip(_pairs(pid[first], tid[first]), sizes, strict=True):
            self.threads[thread] = self.threads.get(thread, 0) + size
        for counted, codes in ((self.hhash, hhash), (self.fhash, fhash)):
            first, sizes = _tally([codes], counts)
            for code, size in zip(codes[first].tolist(), sizes, strict=True):
                counted[code] = counted.get(code, 0) + size
            counted.pop(0, None)

    def _count_rows(self, rows: Iterable[tuple[int, ...]]) -> None:
        kinds, threads, hosts, files = self.kinds, self.threads, self.hhash, self.fhash
        for cat, name, pid, tid, hhash, fhash, size, line in rows:
            kind = cat << 32 | name
            known = kinds.get(kind)
            kinds[kind] = (known[0] + size, min(known[1], line)) if known else (size, line)
            threads[pid, tid] = threads.get((pid, tid), 0) + size
            if hhash:
                hosts[hhash] = hosts.get(hhash, 0) + size
            if fhash:
                files[fhash] = files.get(fhash, 0) + size

    def _add_others(self, fields: list[_Array], counts: _Array | None, lines: _Array) -> None:
        cat, name, pid, tid, hhash, fhash = fields
        _count_kinds(self.other_kinds, cat, name, counts, lines)
        self.other_threads.update(_pairs(pid, tid))
        for dimension, codes in (("hhash", hhash), ("fhash", fhash)):
            found = self.other_hashes[dimension]
            found.update(codes.tolist())
            found.discard(0)

    def _add_strings(self, codes: Iterable[int], rows: Iterable[int]) -> None:
        counted = self.shash
        for code, size in zip(codes, rows, strict=False):
            counted[code] = counted.get(code, 0) + size
        counted.pop(0, None)

    def _add_arguments(self, columns: RecordColumns) -> None:
        for key, values in self.arguments.items():
            found = columns.arg_key == key
            texts = columns.arg_text[found]
            is_text = texts >= 0
            values.texts.update(np.unique(texts[is_text]).tolist())
            values.numbers.update(np.unique(columns.arg_float[found][~is_text]).tolist())


def _count_kinds(
    kinds: Kinds, cat: _Array, name: _Array, counts: _Array | None, lines: _Array
) -> None:
    if len(cat) <= _FEW:
        sizes = repeat(1) if counts is None else counts.tolist()
        found = zip(cat.tolist(), name.tolist(), sizes, lines.tolist(), strict=False)
    else:
        groups = group_rows([cat, name], len(cat))
        first = groups.first
        least = np.full(len(first), INT64_MAX)
        np.minimum.at(least, groups.ids, lines)
        found = zip(
            cat[first].tolist(),
            name[first].tolist(),
            _sizes(groups.ids, len(first), counts),
            least.tolist(),
            strict=True,
        )
    for cat_code, name_code, size, line in found:
        _count_kind(kinds, kind_of(cat_code, name_code), size, line)


def _count_kind(kinds: Kinds, kind: int, size: int, line: int) -> None:
    known = kinds.get(kind)
    kinds[kind] = (known[0] + size, min(known[1], line)) if known else (size, line)


def _values(codes: _Array) -> tuple[list[int], Iterable[int]]:
    """Return codes, and how often each is there."""
    if len(codes) <= _FEW:
        return codes.tolist(), repeat(1)
    distinct, counts = np.unique(codes, return_counts=True)
    return distinct.tolist(), counts.tolist()


def _tally(columns: list[_Array], counts: _Array | None) -> tuple[_Array, list[int]]:
    """Return the first row of each group, and how many records the group has."""
    groups = group_rows(columns, len(columns[0]))
    return groups.first, _sizes(groups.ids, len(groups.first), counts)


def _sizes(ids: _Array, groups: int, counts: _Array | None) -> list[int]:
    sizes = np.zeros(groups, np.int64)
    np.add.at(sizes, ids, 1 if counts is None else counts)
    found: list[int] = sizes.tolist()
    return found


def _pairs(left: _Array, right: _Array) -> Iterable[tuple[int, int]]:
    return zip(left.tolist(), right.tolist(), strict=True)
