"""Tier 2: all values that a column of events has in each chunk of a segment, for the columns that
the configuration names.

One row a segment and column in ``postings``, key ``segment_key(segment, column)``, value
MessagePack: an array of the texts that occur, and for each chunk its whole numbers, ascending, each
as the step from the one before; its other numbers, ascending; its texts, as positions; and whether
an event has no value. Metadata and objects without ``ph`` do not count.

Values are those that filters see (``docs/traces.md``); numbers beyond 64 bits are told only as such
(:attr:`ColumnValues.exact`). A segment with very many of them ends early, as with texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.model import Row
from dftindexd.index.store.layout import POSTINGS, segment_key
from dftindexd.index.tiers.bloom import ARGUMENT_PREFIX
from dftindexd.index.tiers.chunk_contents import new_positions
from dftindexd.index.trace.columns import (
    HAS_COUNT,
    HAS_OFFSET,
    HAS_RET,
    HAS_TS,
    Interner,
    RecordColumns,
)

__all__ = (
    "ColumnValues",
    "PostingsBuilder",
    "decode_postings",
    "posted_arguments",
    "posting_suffix",
)

_HAS: Final = {"ts": HAS_TS, "ret": HAS_RET, "offset": HAS_OFFSET, "count": HAS_COUNT}
_HASHES: Final = ("hhash", "fhash", "shash")

#: So many numbers take as much memory as a text with all that belongs to it.
_NUMBERS_A_TEXT: Final = 16
_BEYOND: Final = float(2**63)


def posted_arguments(columns: Iterable[str]) -> tuple[str, ...]:
    """Return those of *columns* that are arguments, without their prefix."""
    return tuple(
        column.removeprefix(ARGUMENT_PREFIX)
        for column in columns
        if column.startswith(ARGUMENT_PREFIX)
    )


def posting_suffix(column: str) -> bytes:
    """Return what follows the segment's id in the key of a column's row."""
    return column.encode()


class ColumnValues(msgspec.Struct, frozen=True):
    """The distinct values of a column in a chunk: *numbers* and *texts* ascend, *null* says that an
    event has none."""

    numbers: tuple[int | float, ...]
    texts: tuple[str, ...]
    null: bool

    @property
    def exact(self) -> bool:
        """Whether all numbers are as the lines have them: not those beyond 64 bits."""
        ends = self.numbers[:1] + self.numbers[-1:]
        return all(isinstance(number, int) or abs(number) < _BEYOND for number in ends)


class _StoredChunk(msgspec.Struct, frozen=True, array_like=True):
    steps: list[int]
    reals: list[float]
    texts: list[int]
    null: bool


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    texts: list[str]
    chunks: list[_StoredChunk]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Stored)


class _Column:
    """What the chunks of a segment have of one column."""

    def __init__(self, name: str, texts: Interner) -> None:
        self.name = name
        self._texts = texts.texts
        self._argument = 0
        if name.startswith(ARGUMENT_PREFIX):
            self._argument = texts.code(name.removeprefix(ARGUMENT_PREFIX))
        self._positions = new_positions()
        self._chunks: list[_StoredChunk] = []
        self.held = 0
        self._begin_chunk()

    def _begin_chunk(self) -> None:
        self._whole: list[npt.NDArray[np.int64]] = []
        self._reals: set[float] = set()
        self._codes: set[int] = set()
        self._null = False

    def add(self, columns: RecordColumns) -> None:
        """Take a block of the current chunk."""
        if self._argument:
            self._add_argument(columns)
        elif self.name in _HASHES:
            codes = set(np.unique(getattr(columns, self.name)).tolist())
            self._null |= 0 in codes
            self._codes |= codes - {0}
        else:
            values = getattr(columns, self.name)
            if self.name in _HAS:
                values = values[(columns.has & _HAS[self.name]) != 0]
            self._null |= len(values) < len(columns)
            self._add_whole(values)

    def _add_argument(self, columns: RecordColumns) -> None:
        found = columns.arg_key == self._argument
        self._null |= len(np.unique(columns.arg_row[found])) < len(columns)
        codes, whole = columns.arg_text[found], columns.arg_int[found]
        is_text = codes >= 0
        self._codes.update(np.unique(codes[is_text]).tolist())
        numbers = columns.arg_float[found][~is_text]
        whole = whole[~is_text]
        is_whole = (whole.astype(np.float64) == numbers) & (np.abs(numbers) < _BEYOND)
        self._add_whole(whole[is_whole])
        self._reals.update(np.unique(numbers[~is_whole]).tolist())

    def _add_whole(self, values: npt.NDArray[Any]) -> None:
        if len(values):
            self._whole.append(np.unique(values))
            self.held += len(self._whole[-1])

    def end_chunk(self) -> None:
        """End the current chunk."""
        whole: list[int] = np.unique(np.concatenate(self._whole)).tolist() if self._whole else []
        self._chunks.append(
            _StoredChunk(
                steps=whole[:1] + [after - before for before, after in pairwise(whole)],
                reals=sorted(self._reals),
                texts=[self._positions[code] for code in sorted(self._codes)],
                null=self._null,
            )
        )
        self.held += len(self._reals) + len(self._codes)
        self._begin_chunk()

    def row(self, segment_id: int) -> Row:
        """Return the row of a segment."""
        texts = [self._texts[code] for code in self._positions]
        key = segment_key(segment_id, posting_suffix(self.name))
        return POSTINGS, key, _encoder.encode(_Stored(texts, self._chunks))


class PostingsBuilder:
    """Gathers the values of *names* of a segment, chunk by chunk."""

    def __init__(self, names: Iterable[str], texts: Interner) -> None:
        self._columns = [_Column(name, texts) for name in names]

    @property
    def held(self) -> int:
        """How many texts would take as much memory."""
        return sum(column.held for column in self._columns) // _NUMBERS_A_TEXT

    def add(self, columns: RecordColumns) -> None:
        """Take a block of the current chunk."""
        if len(columns):
            for column in self._columns:
                column.add(columns)

    def end_chunk(self) -> None:
        """End the current chunk."""
        for column in self._columns:
            column.end_chunk()

    def rows(self, segment_id: int) -> list[Row]:
        """Return the rows of a segment, one a column."""
        return [column.row(segment_id) for column in self._columns]


def decode_postings(value: bytes) -> list[ColumnValues]:
    """Return a segment's chunks in order; a *value* that is no postings is a StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
        return [
            ColumnValues(
                numbers=_merged(tuple(accumulate(chunk.steps)), chunk.reals),
                texts=tuple(sorted(stored.texts[place] for place in chunk.texts)),
                null=chunk.null,
            )
            for chunk in stored.chunks
        ]
    except (ValueError, IndexError) as error:
        raise StoreDamagedError(f"postings do not decode: {error}") from error


def _merged(whole: tuple[int, ...], reals: list[float]) -> tuple[int | float, ...]:
    return tuple(sorted([*whole, *reals])) if reals else whole
