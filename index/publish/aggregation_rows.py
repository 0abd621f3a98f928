"""The aggregation of a dftracer-utils 0.0.12 store, from our rows.

Texts have numbers there, below 2**20, which a process that reads several stores takes for the same
in all of them. So a text gets its number from its hash, and nearly always the same in every store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import CoreError
from dftindexd.index.publish import families as to
from dftindexd.index.publish.encoding import (
    FNV_BASIS,
    FNV_PRIME,
    fnv1a,
    name_id,
    u32,
    u64,
    varint,
)
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.packed_rows import PackedRows
from dftindexd.index.tiers.aggregation_schema import NO_BUCKET, STATISTICS
from dftindexd.index.tiers.groups import Columns, compact_codes, group_rows

__all__ = ("SHARDS", "TextNumbers", "completion_rows", "event_rows", "time_bounds")

_NUMBERS: Final = 2**20
#: A key begins with one of so many numbers.
SHARDS: Final = 4096
_KEY_TEXTS: Final = ("cat", "name", "hhash", "fhash")
_KEY_WIDTH: Final = 80
_VALUE_WIDTH: Final = 256
_AT_ONCE: Final = 1 << 14

_Array: TypeAlias = npt.NDArray[Any]


class TextNumbers:
    """The numbers of a store's texts. 0 is nobody's: as a hash it stands for none."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._taken: set[int] = set()

    def number(self, text: str) -> int:
        """Return the number of *text*, a new one at first sight.

        :raises CoreError: there are none left.
        """
        found = self._numbers.get(text)
        if found is not None:
            return found
        if len(self._taken) == _NUMBERS - 1:
            raise CoreError(
                f"more than {_NUMBERS - 1:,} distinct texts, which dftracer-utils cannot hold",
                "publish a smaller directory",
            )
        number = name_id(text) % (_NUMBERS - 1) + 1
        while number in self._taken:
            number = number % (_NUMBERS - 1) + 1
        self._taken.add(number)
        self._numbers[text] = number
        return number

    def rows(self) -> list[PublishedRow]:
        """Return the rows that say what each number stands for."""
        return [
            (to.AGGREGATION, b"\xff\xfd" + varint(number), text.encode())
            for text, number in self._numbers.items()
        ]


def event_rows(
    columns: Columns, texts: Mapping[str, Sequence[str]], numbers: TextNumbers, shards: range
) -> list[PublishedRow]:
    """Return those of merged rows of the aggregation, of all kinds, that are in *shards*; *texts*
    are those of the columns' codes, all of which get their *numbers*."""
    found = {name: _numbered(columns[name], texts[name], name, numbers) for name in _KEY_TEXTS}
    shard = _shards(columns, texts)
    every = {**columns, **found, "shard": shard}
    chosen = np.flatnonzero((shard >= shards.start) & (shard < shards.stop))
    rows: list[PublishedRow] = []
    for begin in range(0, len(chosen), _AT_ONCE):
        places = chosen[begin : begin + _AT_ONCE]
        part = {name: values[places] for name, values in every.items()}
        pairs = zip(_keys(part), _values(part), strict=True)
        rows += [(to.AGGREGATION, key, value) for key, value in pairs]
    return rows


def _keys(columns: Columns) -> list[bytes]:
    rows = PackedRows(len(columns["kind"]), _KEY_WIDTH)
    rows.add_fixed(columns["shard"], ">u2")
    rows.add_fixed(columns["kind"], "u1")
    for name in ("cat", "name", "pid", "tid", "hhash", "fhash", "bucket"):
        rows.add_varint(columns[name])
    rows.add_fixed(np.zeros(len(columns["kind"])), ">u2")  # no further keys
    return rows.rows()


def _numbered(codes: _Array, texts: Sequence[str], name: str, numbers: TextNumbers) -> _Array:
    """Return the number of each text; no hash has 0."""
    places, used = compact_codes(codes)
    is_hash = name in ("hhash", "fhash")
    found = [
        0 if is_hash and not texts[code] else numbers.number(texts[code]) for code in used.tolist()
    ]
    return np.array(found, np.uint64)[places]


def _shards(columns: Columns, texts: Mapping[str, Sequence[str]]) -> _Array:
    """Return where in the store each row is, by category, name and thread."""
    length = len(columns["kind"])
    groups = group_rows([columns["cat"], columns["name"]], length)
    cats, names = (columns[name][groups.first].tolist() for name in ("cat", "name"))
    begun = [
        fnv1a(texts["name"][name].encode(), fnv1a(texts["cat"][cat].encode(), FNV_BASIS))
        for cat, name in zip(cats, names, strict=True)
    ]
    state = np.array(begun, np.uint64)[groups.ids]
    for column in ("pid", "tid"):
        numbers = columns[column].astype(np.uint64)
        for shift in range(0, 64, 8):
            state = (state ^ numbers >> np.uint64(shift) & np.uint64(0xFF)) * np.uint64(FNV_PRIME)
    return state % np.uint64(SHARDS)


def _values(columns: Columns) -> list[bytes]:
    rows = PackedRows(len(columns["kind"]), _VALUE_WIDTH)
    rows.add_varint(columns["count"])
    for quantity in STATISTICS:
        _add_statistics(rows, columns, quantity)
    nothing = np.zeros(len(columns["kind"]), np.uint64)
    for values in (columns["ts"], columns["te"], nothing, nothing):  # no parent, no metrics
        rows.add_varint(values)
    return rows.rows()


def _add_statistics(rows: PackedRows, columns: Columns, quantity: str) -> None:
    least, most = columns[f"{quantity}_min"], columns[f"{quantity}_max"]
    is_seen = least <= most
    count, total = columns[f"{quantity}_count"], columns[f"{quantity}_total"]
    squares = np.nan_to_num(columns[f"{quantity}_sq"], nan=0.0)
    real = total.astype(np.float64)
    is_one = is_seen & (count == 1) & (total > 0) & (squares == real * real)
    is_short = is_one | ~is_seen
    rows.add_fixed(~is_short, "u1")
    short, full = np.flatnonzero(is_short), np.flatnonzero(~is_short)
    rows.add_varint(np.where(is_one, total, 0)[short], short)
    for values in (count, total, least, most):
        rows.add_varint(values[full], full)
    mean = real[full] / np.maximum(count[full], 1)
    rows.add_fixed(mean, ">f8", full)
    rows.add_fixed(squares[full], ">f8", full)


def time_bounds(buckets: Iterable[_Array]) -> tuple[int, int] | None:
    """Return the least and the greatest of *buckets*, of those rows that have a time."""
    parts = [one[one != NO_BUCKET] for one in buckets]
    timed = [one for one in parts if len(one)]
    if not timed:
        return None
    return min(int(one.min()) for one in timed), max(int(one.max()) for one in timed)


def completion_rows(
    file_ids: Iterable[int], interval_us: int, bounds: tuple[int, int] | None
) -> list[PublishedRow]:
    """Return the rows that say what the aggregation is of, and that it is complete."""
    rows = [(to.AGGREGATION, b"\xff\xfe", u64(interval_us) + u32(0))]
    rows += [(to.AGGREGATION, b"\xff\xff" + u32(file_id), b"") for file_id in file_ids]
    if bounds is not None:
        rows.append((to.AGGREGATION, b"__time_bounds__", u64(bounds[0]) + u64(bounds[1])))
    return rows
