"""Frames: rows of numbers and texts as one stored value (``docs/store-format.md``).

All columns of a frame are 64-bit integers: doubles and unsigned integers by their bits, texts as
codes into one list that the frame's text columns share, -1 for null. A frame of few rows is plain,
which is quick: its columns one after the other. In a frame of many each column is narrowed to the
bytes that its range needs.

A frame does not name its columns. It carries the digest of the schema it was written with, and is
read with that schema or not at all. Whatever bytes are read, they are a frame of the schema or a
StoreDamagedError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.errors import StoreDamagedError
from dftindexd.index.tiers.groups import Array, Columns, compact_codes

__all__ = (
    "Frame",
    "FrameSchema",
    "JoinedFrames",
    "NumberType",
    "decode_frame",
    "empty_frame",
    "encode_blocks",
    "encode_frame",
    "join_frames",
)

NumberType: TypeAlias = Literal["int64", "uint64", "float64"]

_Bits: TypeAlias = npt.NDArray[np.int64]

#: A frame of more rows is narrowed.
_PLAIN_ROWS: Final = 256
#: The bytes of a narrowed number, least first.
_WIDTHS: Final = (1, 2, 4)
_WORD: Final = 8
_NULL: Final = -1


@dataclass(frozen=True)
class FrameSchema:
    """The columns of a frame, in order: numbers, then texts, then texts that may be null."""

    numbers: tuple[tuple[str, NumberType], ...]
    texts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @cached_property
    def text_columns(self) -> tuple[str, ...]:
        """The text columns, those that may be null last."""
        return (*self.texts, *self.optional)

    @cached_property
    def dtypes(self) -> tuple[tuple[str, np.dtype[Any]], ...]:
        """The number columns, with numpy's types."""
        return tuple((name, np.dtype(kind)) for name, kind in self.numbers)

    @cached_property
    def width(self) -> int:
        """How many columns there are."""
        return len(self.numbers) + len(self.text_columns)

    @cached_property
    def digest(self) -> bytes:
        """The eight bytes that stand for the schema in each of its frames."""
        columns = (self.numbers, self.texts, self.optional)
        return hashlib.blake2b(msgspec.json.encode(columns), digest_size=8).digest()


class _Stored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """``widths`` and ``lows`` have the bytes a number and the least of each column; they are empty
    in a plain frame."""

    schema: bytes
    rows: int
    texts: list[str]
    widths: bytes
    lows: bytes
    columns: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def encode_frame(schema: FrameSchema, columns: Columns, texts: Sequence[str]) -> bytes:
    """Return *columns* as a stored value; of *texts*, which text columns are codes into, it holds
    those that are used."""
    length = len(next(iter(columns.values())))
    numbers = [_bits(columns[name], dtype) for name, dtype in schema.dtypes]
    codes = [columns[name] for name in schema.text_columns]
    return encode_blocks(schema, length, numbers, codes, texts)


def encode_blocks(
    schema: FrameSchema,
    length: int,
    numbers: Sequence[_Bits],
    codes: Sequence[Array],
    texts: Sequence[str],
) -> bytes:
    """Return a stored value as :func:`encode_frame` does, where the *numbers* of several columns of
    *length* lie in one array."""
    used_codes, used = _used_texts(codes, texts)
    blocks = [*numbers, used_codes]
    if length > _PLAIN_ROWS:
        every = [column for block in blocks for column in block.reshape(-1, length)]
        widths, lows, data = _narrow(every)
    else:
        widths, lows = b"", b""
        data = _bytes(np.concatenate([block.ravel() for block in blocks]))
    return _encoder.encode(_Stored(schema.digest, length, used, widths, lows, data))


def empty_frame(schema: FrameSchema) -> bytes:
    """Return the stored value of no rows."""
    return _encoder.encode(_Stored(schema.digest, 0, [], b"", b"", b""))


def _bits(values: Array, dtype: np.dtype[Any]) -> _Bits:
    exact = values if values.dtype == dtype else values.astype(dtype)
    return exact.view(np.int64)


def _used_texts(columns: Sequence[Array], texts: Sequence[str]) -> tuple[_Bits, list[str]]:
    """Return the codes of all *columns* in one, into those *texts* that are used, and these."""
    if not columns:
        return np.zeros(0, np.int64), []
    codes, used = _compact(np.concatenate(columns, dtype=np.int64))
    return codes, [texts[code] for code in used]


def _compact(codes: _Bits) -> tuple[_Bits, list[int]]:
    """Return *codes* as their places among the distinct ones, and these; a null stays one."""
    places, used = compact_codes(codes + 1)
    distinct = used.tolist()
    if distinct and distinct[0] == 0:
        return places.astype(np.int64) - 1, [code - 1 for code in distinct[1:]]
    return places.astype(np.int64), [code - 1 for code in distinct]


def _narrow(columns: Sequence[_Bits]) -> tuple[bytes, bytes, bytes]:
    """Return for columns with rows the width and the least of each, and their narrow numbers."""
    widths, lows, parts = [], [], []
    for column in columns:
        low, high = int(column.min()), int(column.max())
        width = next((width for width in _WIDTHS if high - low < 1 << 8 * width), _WORD)
        low = low if width < _WORD else 0
        widths.append(width)
        lows.append(low)
        parts.append((column - low).astype(f"<u{width}").tobytes())
    return bytes(widths), _bytes(np.array(lows, np.int64)), b"".join(parts)


def _bytes(values: _Bits) -> bytes:
    return values.astype("<i8", copy=False).tobytes()


def _numbers(stored: bytes) -> _Bits:
    return np.frombuffer(stored, "<i8").astype(np.int64, copy=False)


class Frame:
    """A stored value that was read and found to be right; it keeps its columns as narrow as they
    are stored."""

    __slots__ = ("_columns", "_lows", "length", "texts")

    def __init__(
        self, length: int, texts: list[str], columns: Array | list[Array], lows: _Bits | None
    ) -> None:
        self.length = length
        self.texts = texts
        self._columns = columns
        self._lows = lows

    def bits(self, place: int) -> _Bits:
        """Return the column at *place* of the schema as 64-bit integers."""
        column: _Bits = self._columns[place]
        return column if self._lows is None else column.astype(np.int64) + self._lows[place]

    def largest(self, begin: int, end: int, plus: int) -> int:
        """Return the largest number, taken as unsigned, of some columns with *plus* added."""
        if self._lows is None:
            block = np.asarray(self._columns[begin:end])
            return _unsigned(block + plus if plus else block)
        return max(_unsigned(self.bits(place) + plus) for place in range(begin, end))


def _unsigned(values: Array) -> int:
    return int(values.view(np.uint64).max())


def decode_frame(schema: FrameSchema, value: bytes) -> Frame:
    """Return the frame of a stored *value*; one that is no frame of *schema* is a
    StoreDamagedError."""
    try:
        stored = _decoder.decode(value)
    except ValueError as error:
        raise StoreDamagedError(f"a row does not decode: {error}") from error
    if stored.schema != schema.digest:
        raise StoreDamagedError("a row has other columns than its configuration")
    frame = _plain_frame(schema, stored) if not stored.widths else _narrow_frame(schema, stored)
    _check_codes(schema, frame)
    return frame


def _plain_frame(schema: FrameSchema, stored: _Stored) -> Frame:
    if stored.lows or _WORD * schema.width * stored.rows != len(stored.columns):
        raise StoreDamagedError("a row's columns are not as long as it says")
    matrix = _numbers(stored.columns).reshape(schema.width, stored.rows)
    return Frame(stored.rows, stored.texts, matrix, None)


def _narrow_frame(schema: FrameSchema, stored: _Stored) -> Frame:
    widths, rows = stored.widths, stored.rows
    if len(widths) != schema.width or len(stored.lows) != _WORD * schema.width:
        raise StoreDamagedError("a row has not one width and one least number a column")
    if not set(widths) <= {*_WIDTHS, _WORD} or sum(widths) * rows != len(stored.columns):
        raise StoreDamagedError("a row's columns are not as long as it says")
    columns, begin = [], 0
    for width in widths:
        columns.append(np.frombuffer(stored.columns, f"<u{width}", rows, begin))
        begin += width * rows
    return Frame(rows, stored.texts, columns, _numbers(stored.lows))


def _check_codes(schema: FrameSchema, frame: Frame) -> None:
    """Refuse a code without a text, and a null in a column that has none."""
    begin = len(schema.numbers)
    for nulls, names in enumerate((schema.texts, schema.optional)):
        end = begin + len(names)
        limit = len(frame.texts) + nulls
        if frame.length and names and frame.largest(begin, end, nulls) >= limit:
            raise StoreDamagedError("a row names a text that it does not have")
        begin = end


@dataclass(frozen=True, slots=True)
class JoinedFrames:
    """The rows of several frames one after the other; a text column holds codes into its own list
    in ``texts``, which are distinct, -1 for null."""

    length: int
    columns: Columns
    texts: dict[str, list[str]]


def join_frames(schema: FrameSchema, frames: Sequence[Frame]) -> JoinedFrames:
    """Return the rows of *frames*, all of *schema*."""
    columns: Columns = {
        name: _joined(frames, place).view(kind) for place, (name, kind) in enumerate(schema.numbers)
    }
    known: dict[str, int] = {}
    codes = [known.setdefault(text, len(known)) for frame in frames for text in frame.texts]
    unified = np.array([*codes, _NULL], np.int64)
    lengths = np.array([frame.length for frame in frames], np.int64)
    sizes = np.array([len(frame.texts) for frame in frames], np.int64)
    begins = np.repeat(np.cumsum(sizes) - sizes, lengths)
    everything = list(known)
    texts: dict[str, list[str]] = {}
    for place, name in enumerate(schema.text_columns, len(schema.numbers)):
        own = _joined(frames, place)
        shared = unified[np.where(own < 0, _NULL, own + begins)]
        columns[name], used = _compact(shared)
        texts[name] = [everything[code] for code in used]
    return JoinedFrames(int(lengths.sum()), columns, texts)


def _joined(frames: Sequence[Frame], place: int) -> _Bits:
    if not frames:
        return np.zeros(0, np.int64)
    return np.concatenate([frame.bits(place) for frame in frames])
