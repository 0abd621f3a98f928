"""A code for every record of a chunk that says its kind, in the order of the text.

Records come in three ways: as numbers of the kernel's groups, as rows that it handed on, and as
what the reference gave of the lines left to it. The result does not depend on which came how. As
elsewhere plain Python does it where a chunk has few records, and numpy where it has many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from dftindexd.index.tiers.chunk_contents import kind_of
from dftindexd.index.tiers.groups import compact_codes
from dftindexd.index.trace.kernel_layout import LEFT, ROW

if TYPE_CHECKING:
    from dftindexd.index.trace.decode import DecodedBlock
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = ("CODE_TYPES", "RecordCodes", "RecordSequence")

#: What codes are stored as: the first that holds all of a chunk.
CODE_TYPES: Final = tuple(map(np.dtype, ("<u1", "<u2", "<u4")))

#: In place of a category: the record is of metadata. So its key is below 0.
_METADATA: Final = -1

_FEW: Final = 150
_LOW: Final = 0xFFFFFFFF

_Array: TypeAlias = npt.NDArray[Any]
_Keys: TypeAlias = npt.NDArray[np.int64]

_NO_KEYS: Final = np.zeros(0, np.int64)


class RecordCodes(NamedTuple):
    """``kinds`` of rows (:func:`kind_of`) and codes of ``metadata`` names, both in the order of
    their first records; ``codes``, one a record: a position in the kinds, or the number of kinds
    and a position in the metadata, in the least of ``CODE_TYPES``."""

    kinds: list[int]
    metadata: list[int]
    codes: bytes


class RecordSequence:
    """The records of the chunk that is being filled, as they came."""

    def __init__(self) -> None:
        self._order: list[npt.NDArray[np.int32]] = []
        self._rows: list[_Keys] = []
        self._left: list[_Keys] = []
        self._groups: ChunkGroups | None = None

    def add(self, block: DecodedBlock) -> None:
        """Take the next block."""
        keys = _keys_of(block)
        if block.order is None:
            self._left.append(keys)
            return
        self._order.append(block.order)
        if len(keys):
            self._rows.append(keys)

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the groups, after all blocks."""
        self._groups = groups

    def codes(self) -> RecordCodes:
        """Return the codes of all records."""
        rows, left = _joined(self._rows), _joined(self._left)
        if self._groups is None:  # the reference read all lines
            order, number, keys = np.full(len(left), LEFT, np.int32), _NO_KEYS, _NO_KEYS
        else:
            order = self._order[0] if len(self._order) == 1 else np.concatenate(self._order)
            number, keys = self._groups.group, _keys_of_groups(self._groups)
        number_records = _number_few if len(order) <= _FEW else _number_many
        return number_records(order, number, keys, rows, left)


def _joined(parts: list[_Keys]) -> _Keys:
    return np.concatenate(parts) if parts else _NO_KEYS


def _keys_of(block: DecodedBlock) -> _Keys:
    """Return the kinds of a block's rows and metadata records that were not grouped."""
    columns = block.columns
    if not len(columns) and not block.metadata_at:
        return _NO_KEYS
    keys = columns.cat.astype(np.int64) << 32 | columns.name
    if not block.metadata_at:
        return keys
    places, names = zip(*block.metadata_at, strict=True)
    return np.insert(keys, places, [kind_of(_METADATA, name) for name in names])


def _keys_of_groups(groups: ChunkGroups) -> _Keys:
    return np.where(groups.is_row, groups.cat, _METADATA).astype(np.int64) << 32 | groups.name


def _number_few(order: _Array, number: _Keys, keys: _Keys, rows: _Keys, left: _Keys) -> RecordCodes:
    of_group = dict(zip(number.tolist(), keys.tolist(), strict=True))
    others = {ROW: iter(rows.tolist()), LEFT: iter(left.tolist())}
    found = [of_group[one] if one >= 0 else next(others[one]) for one in order.tolist()]
    distinct = dict.fromkeys(found)
    kinds = [key for key in distinct if key >= 0]
    metadata = [key for key in distinct if key < 0]
    code_of = {key: code for code, key in enumerate(kinds + metadata)}
    codes = bytes([code_of[key] for key in found])
    return RecordCodes(kinds, [key & _LOW for key in metadata], codes)


def _number_many(
    order: _Array, number: _Keys, keys: _Keys, rows: _Keys, left: _Keys
) -> RecordCodes:
    is_grouped = not len(rows) and not len(left)
    places, distinct = _places(keys if is_grouped else np.concatenate([keys, rows, left]))
    if is_grouped:  # as nearly always; the groups are in the order of their first records
        table = _table(number, places)
        codes_by_sight = _codes_by_sight(places, distinct)
        return _codes(distinct, codes_by_sight, codes_by_sight[table], order)
    by_record = np.empty(len(order), np.int64)
    of_groups, of_rows, of_left = np.split(places, [len(keys), len(keys) + len(rows)])
    if len(keys):
        grouped = order >= 0
        by_record[grouped] = _table(number, of_groups)[order[grouped]]
    by_record[order == ROW] = of_rows
    by_record[order == LEFT] = of_left
    codes_by_sight = _codes_by_sight(by_record, distinct)
    return _codes(distinct, codes_by_sight, codes_by_sight, by_record)


def _places(keys: _Keys) -> tuple[_Array, _Keys]:
    """Return the place of each of *keys* among the distinct ones, and these."""
    cats, used_cats = compact_codes((keys >> 32) - _METADATA)
    names, used_names = compact_codes(keys & _LOW)
    width = len(used_names)
    places, used = compact_codes(cats.astype(np.int64) * width + names)
    return places, (used_cats[used // width] + _METADATA) << 32 | used_names[used % width]


def _table(number: _Keys, places: _Array) -> _Array:
    """Return the place of the kind of each group that occurs."""
    table = np.zeros(int(number.max()) + 1, places.dtype)
    table[number] = places
    return table


def _codes_by_sight(places: _Array, distinct: _Keys) -> _Array:
    """Return the code of each of the *distinct* keys, which occur as *places* say."""
    first = np.empty(len(distinct), np.int64)
    first[places[::-1]] = np.arange(len(places))[::-1]
    by_sight = np.lexsort((first, distinct < 0))
    codes = np.empty(len(distinct), _type_for(len(distinct)))
    codes[by_sight] = np.arange(len(distinct))
    return codes


def _type_for(count: int) -> np.dtype[Any]:
    return next(one for one in CODE_TYPES if count <= 1 << 8 * one.itemsize)


def _codes(distinct: _Keys, codes: _Array, table: _Array, entries: _Array) -> RecordCodes:
    keys = np.empty(len(distinct), np.int64)
    keys[codes] = distinct
    listed = keys.tolist()
    rows = int((distinct >= 0).sum())
    metadata = [key & _LOW for key in listed[rows:]]
    return RecordCodes(listed[:rows], metadata, table[entries].tobytes())
