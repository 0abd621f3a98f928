"""A code for every record of a chunk that says its kind, in the order of the text.

The kernel gives the codes itself where it grouped all records of a chunk, as nearly always.
Else those that it handed on as rows and those that the reference gave take their places among
the grouped ones. The result does not depend on who read a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from dftindexd.index.tiers.groups import compact_codes
from dftindexd.index.trace.kernel_layout import LEFT, ROW

if TYPE_CHECKING:
    from dftindexd.index.trace.decode import DecodedBlock
    from dftindexd.index.trace.kernel import ChunkGroups

__all__ = ("RecordCodes", "RecordSequence", "code_type")

_FEW: Final = 150
_LOW: Final = 0xFFFFFFFF

_Array: TypeAlias = npt.NDArray[Any]

#: Kinds as single numbers: the codes of category and name in the high and the low half, with
#: ``_METADATA`` in place of metadata's category, so that these are below 0.
_Keys: TypeAlias = npt.NDArray[np.int64]

_METADATA: Final = -1
_NO_KEYS: Final = np.zeros(0, np.int64)
_TYPES: Final = tuple(map(np.dtype, ("<u1", "<u2", "<u4")))


def code_type(kinds: int) -> np.dtype[Any]:
    """Return what codes of so many kinds are stored as: the least type that holds them."""
    return next(one for one in _TYPES if kinds <= 1 << 8 * one.itemsize)


class RecordCodes(NamedTuple):
    """``names`` are those of the kinds of rows, then those of metadata, each of the two in the
    order of their first records; ``cats`` the categories of the kinds of rows. ``codes`` has an
    element a record: a position in the names, as the least type that holds all."""

    cats: list[int]
    names: list[int]
    codes: bytes


class RecordSequence:
    """The records of the chunk that is being filled, as they came."""

    def __init__(self) -> None:
        self._rows: list[_Keys] = []
        self._left: list[_Keys] = []
        self._groups: ChunkGroups | None = None

    def add(self, block: DecodedBlock) -> None:
        """Take the next block."""
        if len(block.columns) or block.metadata_at:
            (self._rows if block.scanned else self._left).append(_keys_of(block))

    def add_groups(self, groups: ChunkGroups) -> None:
        """Take the groups, after all blocks."""
        self._groups = groups

    def codes(self) -> RecordCodes:
        """Return the codes of all records; the groups must be as they were given."""
        groups = self._groups
        if groups is not None and not self._rows and not self._left:
            codes = groups.order.astype(code_type(len(groups.kind_names)), copy=False)
            cats, names = groups.kind_cats.tolist(), groups.kind_names.tolist()
            return RecordCodes(cats, names, codes.tobytes())
        rows, left = _joined(self._rows), _joined(self._left)
        if groups is None:  # the reference read all lines
            order, keys = np.full(len(left), LEFT, np.int32), _NO_KEYS
        else:
            order, keys = groups.order, _keys_of_groups(groups)
        number = _number_few if len(order) <= _FEW else _number_many
        return number(order, keys, rows, left)


def _joined(parts: list[_Keys]) -> _Keys:
    return np.concatenate(parts) if parts else _NO_KEYS


def _keys_of(block: DecodedBlock) -> _Keys:
    """Return the kinds of a block's rows and metadata records, in order."""
    keys = block.columns.cat.astype(np.int64) << 32 | block.columns.name
    if not block.metadata_at:
        return keys
    places, names = zip(*block.metadata_at, strict=True)
    return np.insert(keys, places, [_METADATA << 32 | name for name in names])


def _keys_of_groups(groups: ChunkGroups) -> _Keys:
    cats = np.full(len(groups.kind_names), _METADATA, np.int64)
    cats[: len(groups.kind_cats)] = groups.kind_cats
    return cats << 32 | groups.kind_names


def _codes(keys: list[int], codes: _Array) -> RecordCodes:
    cats = [key >> 32 for key in keys if key >= 0]
    return RecordCodes(cats, [key & _LOW for key in keys], codes.tobytes())


def _number_few(order: _Array, grouped: _Keys, rows: _Keys, left: _Keys) -> RecordCodes:
    """Return the codes of records of which each is of a *grouped* kind, or the next of *rows* or
    *left*, as *order* says."""
    known = grouped.tolist()
    others = {ROW: iter(rows.tolist()), LEFT: iter(left.tolist())}
    found = [known[one] if one >= 0 else next(others[one]) for one in order.tolist()]
    keys = sorted(dict.fromkeys(found), key=_is_metadata)
    code_of = {key: code for code, key in enumerate(keys)}
    return _codes(keys, np.array([code_of[key] for key in found], code_type(len(keys))))


def _is_metadata(key: int) -> bool:
    return key < 0


def _number_many(order: _Array, grouped: _Keys, rows: _Keys, left: _Keys) -> RecordCodes:
    places, distinct = _places(np.concatenate([grouped, rows, left]))
    of_grouped, of_rows, of_left = np.split(places, [len(grouped), len(grouped) + len(rows)])
    by_record = np.empty(len(order), places.dtype)
    is_grouped = order >= 0
    by_record[is_grouped] = of_grouped[order[is_grouped]]
    by_record[order == ROW] = of_rows
    by_record[order == LEFT] = of_left
    first = np.full(len(distinct), len(order))
    first[by_record[::-1]] = np.arange(len(order))[::-1]
    by_sight = np.lexsort((first, distinct < 0))
    codes = np.empty(len(distinct), code_type(len(distinct)))
    codes[by_sight] = np.arange(len(distinct))
    return _codes(distinct[by_sight].tolist(), codes[by_record])


def _places(keys: _Keys) -> tuple[_Array, _Keys]:
    """Return the place of each of *keys* among the distinct ones, and these."""
    cats, used_cats = compact_codes((keys >> 32) - _METADATA)
    names, used_names = compact_codes(keys & _LOW)
    width = len(used_names)
    places, used = compact_codes(cats.astype(np.int64) * width + names)
    return places, used_cats[used // width] + _METADATA << 32 | used_names[used % width]
