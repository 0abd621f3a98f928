"""The fast reading of lines: the compiled scan, its tables, and what is done after it in order.

:class:`Kernel` takes blocks of lines as :class:`~dftindexd.index.trace.decode.BlockDecoder` does
and gives the same records, whichever way each line was read. Events are grouped as they are read
where the configuration allows (:meth:`Kernel.groups`); all other records come as columns.

Memory is bounded by the number of distinct texts and keys, and by the size of a block.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from dftindexd.index.model import AggregationTier, LineCounts
from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace import kernel_layout as at
from dftindexd.index.trace.columns import Interner, RecordColumns
from dftindexd.index.trace.decode import BlockDecoder, DecodedBlock, wanted_arguments
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.json_line import Record, read_odd_line
from dftindexd.index.trace.lines import Lines
from dftindexd.index.trace.names import NameCollector
from dftindexd.index.trace.numbers import clamp_signed, fraction, whole
from dftindexd.index.trace.record_buffer import (
    ArgumentBuffer,
    columns_of,
    columns_of_rows,
    others_of,
)

__all__ = ("ChunkGroups", "GroupTable", "Kernel")

_Ints = npt.NDArray[np.int64]

_GROWTH: Final = 4
_NAME_TABLES: Final = {at.FH: "FH", at.HH: "HH", at.SH: "SH", at.PR: "PR"}

#: A text that is no longer is copied whole into a buffer with padding.
_COPIED: Final = 256 << 10
_NEWLINE: Final = 10
_NO_COLUMNS: Final = columns_of([], ArgumentBuffer())
_NO_OTHERS: Final = others_of([])

_decode_json: Final = msgspec.json.Decoder().decode


class ChunkGroups(NamedTuple):
    """The grouped records of one chunk. Arrays have an element a group that occurs in it.

    ``is_row`` tells metadata records (false) from others, ``shash`` are the string hashes of both.
    The bounds are those of the rows; there are none without ``records``.
    """

    cat: npt.NDArray[np.int32]
    name: npt.NDArray[np.int32]
    pid: npt.NDArray[np.uint64]
    tid: npt.NDArray[np.uint64]
    hhash: npt.NDArray[np.int32]
    fhash: npt.NDArray[np.int32]
    counts: _Ints
    first_line: _Ints
    is_row: npt.NDArray[np.bool_]
    shash: npt.NDArray[np.int32]
    records: int
    min_ts: int
    max_ts: int
    max_te: int
    min_dur: int
    max_dur: int
    sum_dur: int


class GroupTable(NamedTuple):
    """The grouped events of a segment: keys, and statistics as they lie in ``kernel_layout``,
    each field one row of the array.

    ``distinct``: no key is there twice.
    """

    cat: npt.NDArray[np.int32]
    name: npt.NDArray[np.int32]
    hhash: npt.NDArray[np.int32]
    fhash: npt.NDArray[np.int32]
    fields: _Ints
    squares: npt.NDArray[np.float64]
    distinct: bool


class _Tables:
    """The arrays of the scan; attributes are named as its parameters."""

    def __init__(self) -> None:
        self.st = np.zeros(at.STATE_SIZE, np.int64)
        self.f = np.zeros(at.SCRATCH_SIZE, np.int64)
        self.f[at.FIRST_GUESS :: at.GUESS_SIZE] = 1
        self.slots = np.zeros(1024, np.int32)
        self.texts = np.zeros((512, 3), np.int64)
        self.arena = np.zeros(4096, np.uint64)
        self.stamps = np.zeros((512, 2), np.int64)
        self.group_slots = np.zeros(512, np.int32)
        self.groups = np.zeros((256, at.GROUP_SIZE), np.int64)
        self.squares = np.zeros((256, 3), np.float64)
        self.touched = np.zeros(256, np.int64)
        self.strings = np.zeros(512, np.int64)
        self.rows = np.zeros((64, len(at.ROW_FIELDS)), np.int64)
        self.arguments = np.zeros((256, at.ARGUMENT_SIZE), np.int64)
        self.reals = np.zeros(256, np.float64)
        self.side = np.zeros((128, at.SIDE_SIZE), np.int64)

    def fresh(self) -> _Tables:
        """Return a copy that shares nothing."""
        copy = _Tables.__new__(_Tables)
        for name, array in vars(self).items():
            setattr(copy, name, array.copy())
        return copy

    def widen(self, *names: str) -> None:
        for name in names:
            array = getattr(self, name)
            larger = np.zeros((_GROWTH * len(array), *array.shape[1:]), array.dtype)
            larger[: len(array)] = array
            setattr(self, name, larger)

    def grow(self, reason: int, compiled: Any) -> None:
        """Make room for what the scan said was full."""
        st = self.st
        if reason == at.FULL_GROUPS:
            self.widen("groups", "squares", "touched")
            self.group_slots = np.zeros(2 * len(self.groups), np.int32)
            compiled.spread_groups(
                int(st[at.SEED]), self.groups, int(st[at.GROUPS]), self.group_slots
            )
        elif reason == at.FULL_TEXTS and st[at.TEXTS] >= len(self.texts):
            self.widen("texts", "stamps", "strings")
            self.slots = np.zeros(2 * len(self.texts), np.int32)
            compiled.spread_texts(self.texts, int(st[at.TEXTS]), self.slots)
        elif reason == at.FULL_TEXTS:
            self.widen("arena")
        elif reason == at.FULL_ROWS:
            self.widen("rows")
        elif reason == at.FULL_ARGUMENTS:
            self.widen("arguments", "reals")
        elif reason == at.FULL_SIDE:
            self.widen("side")
        else:
            raise AssertionError(f"the scan stopped for an unknown reason: {reason}")

    def texts_from(self, code: int) -> Iterator[tuple[str, int]]:
        """Give the interned texts from *code* on, each with its kind."""
        count = int(self.st[at.TEXTS])
        if code >= count:
            return
        first = int(self.texts[code, 1])
        data = self.arena[first : self.st[at.ARENA]].tobytes()
        for _, word, meta in self.texts[code:count].tolist():
            begin = 8 * (word - first)
            yield data[begin : begin + (meta & 0xFFFFFFFF)].decode(), meta >> 32

    def enter(self, texts: tuple[str, ...], compiled: Any) -> list[int]:
        """Return the codes of *texts*, now interned."""
        codes = []
        for text in texts:
            data = text.encode()
            padded = np.frombuffer(data + b"\n" * at.PADDING, np.uint8)
            while True:
                code = compiled.enter(
                    padded, len(data), self.st, self.slots, self.texts, self.arena
                )
                if code >= 0:
                    break
                self.grow(at.FULL_TEXTS, compiled)
            codes.append(code)
        return codes


@cache
def _template() -> _Tables:
    """Return tables with the texts that the scan knows; they are copied for each segment."""
    compiled = kernel_cache.load()
    tables = _Tables()
    tables.st[at.TEXTS] = 1
    tables.st[at.SEED] = int.from_bytes(os.urandom(8), "little", signed=True)
    tables.st[at.CHUNK] = 1
    if tables.enter(at.KNOWN_TEXTS, compiled) != list(range(1, len(at.KNOWN_TEXTS) + 1)):
        raise AssertionError("the known texts do not have their codes")
    return tables


class Kernel:
    """Reads the blocks of one segment, in order.

    *decoder* is the reference for the same segment; *texts*, *facts* and *names* are shared with
    it. Events are grouped by the buckets of *config*; where it names arguments they are not, and
    ``groups`` stay empty.
    """

    def __init__(
        self,
        texts: Interner,
        facts: FactsCollector,
        names: NameCollector,
        decoder: BlockDecoder,
        config: AggregationTier | None,
    ) -> None:
        self._compiled = kernel_cache.load()
        self._texts = texts
        self._facts = facts
        self._names = names
        self._decoder = decoder
        self._tables = _template().fresh()
        self._codes = np.zeros(len(self._tables.texts), np.int32)
        self._known = 1
        self._distinct = True
        self._buffer = np.empty(0, np.uint8)
        wanted = wanted_arguments(config)
        self._wanted = np.array(self._tables.enter(wanted, self._compiled), np.int64)
        st = self._tables.st
        st[at.WANTED] = len(wanted)
        st[at.FUSED] = not wanted
        # Without the tier one bucket holds all: the groups then only say what occurs.
        st[at.INTERVAL] = max(config.interval_us, 1) if config else 2**62
        st[at.MIDPOINT] = config is not None and config.bucket_by == "midpoint"

    def decode(self, lines: Lines) -> tuple[DecodedBlock, ...]:
        """Return what the scan gave of *lines* and, if any are left to it, the reference."""
        text = lines.text
        cut = 0
        if len(text) > _COPIED:  # all but the last lines can be read where they are
            cut = text.rfind(b"\n", 0, len(text) - at.PADDING) + 1
        if not cut:
            return self._decode(lines, self._padded(text), len(text))
        blocks = self._decode(lines, np.frombuffer(text, np.uint8), cut)
        rest = Lines(text[cut:], lines.uc_offset + cut, int(self._tables.st[at.LINE]))
        return blocks + self._decode(rest, self._padded(rest.text), len(rest.text))

    def _decode(
        self, lines: Lines, buffer: npt.NDArray[np.uint8], size: int
    ) -> tuple[DecodedBlock, ...]:
        """Read the first *size* bytes of *lines*; the *buffer* has ``PADDING`` bytes more."""
        tables, st = self._tables, self._tables.st
        for counter in _OF_A_BLOCK:
            st[counter] = 0
        st[at.LINE] = lines.line
        text = lines.text
        while True:
            st[at.DATED] = not self._facts.undated
            st[at.MULTIPLY], st[at.DIVIDE] = self._facts.scale
            reason = self._compiled.scan(
                buffer, size, st, tables.f, tables.slots, tables.texts, tables.arena,
                tables.stamps, tables.group_slots, tables.groups, tables.squares,
                tables.touched, tables.strings, tables.rows, tables.arguments, tables.reals,
                tables.side, self._wanted,
            )  # fmt: skip
            self._do_side_list(text, lines.uc_offset)
            if reason == at.DONE:
                break
            if reason != at.BARRIER:
                tables.grow(reason, self._compiled)
        self._learn_texts()
        if st[at.AGGREGATED]:
            self._facts.see_aggregated()
        if st[at.BRACKET]:
            self._facts.see_bracket()
        return self._block(text, lines)

    def _padded(self, text: bytes) -> npt.NDArray[np.uint8]:
        """Return a buffer with *text* and the newlines that the scan relies on."""
        size = len(text) + at.PADDING
        if size > len(self._buffer):
            self._buffer = np.empty(size, np.uint8)
        self._buffer[: len(text)] = np.frombuffer(text, np.uint8)
        self._buffer[len(text) : size] = _NEWLINE
        return self._buffer

    def _do_side_list(self, text: bytes, uc_offset: int) -> None:
        """Do in the order of the lines what the scan left to do."""
        st, facts = self._tables.st, self._facts
        side = self._tables.side[: st[at.SIDE]].tolist()
        st[at.SIDE] = 0
        for kind, begin, end, number, name, name_end, value, value_end in side:
            if kind == at.SLOW:
                self._decoder.read_line(text[begin:end], number, uc_offset + begin)
            elif kind == at.DATE:
                if facts.undated:
                    facts.see_record(*_record(text[begin:end]))
            elif kind == at.END:
                facts.see_end(_record(text[begin:end])[1])
            elif kind == at.TIME_METRIC:
                facts.see_time_metric(text[value:value_end].decode())
            else:
                self._names.add(
                    _NAME_TABLES[kind],
                    text[value:value_end].decode(),
                    text[name:name_end].decode(),
                )

    def _learn_texts(self) -> None:
        """Give each new text of the scan its code in the segment's interner."""
        count = int(self._tables.st[at.TEXTS])
        if count > len(self._codes):
            larger = np.zeros(len(self._tables.texts), np.int32)
            larger[: len(self._codes)] = self._codes
            self._codes = larger
        new = []
        for text, kind in self._tables.texts_from(self._known):
            if kind == at.PLAIN:
                new.append(self._texts.code(text))
                continue
            self._distinct = False  # a hash may be there as such, too
            see = self._names.host if kind == at.HOST_NAME else self._names.file
            new.append(self._texts.code(see(text)))
        self._codes[self._known : count] = new
        self._known = count

    def _block(self, text: bytes, lines: Lines) -> tuple[DecodedBlock, ...]:
        st = self._tables.st
        fast, skipped = int(st[at.FAST]), int(st[at.SKIPPED])
        read = DecodedBlock(
            columns=self._columns(text, lines.uc_offset),
            others=_NO_OTHERS,
            lines=LineCounts(total=fast + skipped, ok=fast, skipped=skipped, fast=fast),
            bad_lines=[],
            metadata=int(st[at.METADATA]),
            without_phase=0,
            clamped=0,
            exact=not st[at.INEXACT],
            complete=int(st[at.COMPLETE]),
            grouped=int(st[at.FUSED_RECORDS]),
        )
        others = int(st[at.LINE]) - lines.line - fast - skipped
        return (read, self._decoder.take_block(others)) if others else (read,)

    def _columns(self, text: bytes, uc_offset: int) -> RecordColumns:
        tables, st = self._tables, self._tables.st
        if not st[at.ROWS]:
            return _NO_COLUMNS
        rows = tables.rows[: st[at.ROWS]]
        rows[:, 1] += uc_offset
        count = int(st[at.ARGUMENTS])
        arguments, reals = tables.arguments[:count], tables.reals[:count].copy()
        for place in np.flatnonzero(arguments[:, 5]).tolist():
            value = _read_number(text[arguments[place, 4] : arguments[place, 5]])
            arguments[place, 3] = clamp_signed(whole(value) or 0)
            reals[place] = fraction(value) or 0.0
        texts = arguments[:, 2]
        return columns_of_rows(
            rows,
            self._codes,
            arg_row=arguments[:, 0].astype(np.int32),
            arg_key=self._codes[arguments[:, 1]],
            arg_text=np.where(texts < 0, np.int32(-1), self._codes[texts]).astype(np.int32),
            arg_int=arguments[:, 3].copy(),
            arg_float=reals,
        )

    def end_chunk(self) -> ChunkGroups:
        """Return what was grouped since the last chunk ended."""
        tables, st = self._tables, self._tables.st
        groups = tables.groups[tables.touched[: st[at.TOUCHED]]]
        cat_name, hashes = groups[:, at.G_CAT_NAME], groups[:, at.G_HASHES]
        ended = ChunkGroups(
            cat=self._codes[cat_name >> 32],
            name=self._codes[cat_name & 0xFFFFFFFF],
            pid=groups[:, at.G_PID].astype(np.uint64),
            tid=groups[:, at.G_TID].astype(np.uint64),
            hhash=self._codes[hashes >> 32],
            fhash=self._codes[hashes & 0xFFFFFFFF],
            counts=groups[:, at.G_CHUNK_COUNT],
            first_line=groups[:, at.G_CHUNK_LINE],
            is_row=groups[:, at.G_BUCKET] != at.METADATA_BUCKET,
            shash=self._codes[tables.strings[: st[at.STRINGS]]],
            records=int(st[at.CHUNK_RECORDS]),
            min_ts=int(st[at.MIN_TS]),
            max_ts=int(st[at.MAX_TS]),
            max_te=int(st[at.MAX_TE]),
            min_dur=int(st[at.MIN_DUR]),
            max_dur=int(st[at.MAX_DUR]),
            sum_dur=int(st[at.SUM_DUR].view(np.uint64)),
        )
        for counter in _OF_A_CHUNK:
            st[counter] = 0
        st[at.CHUNK] += 1
        return ended

    def groups(self) -> GroupTable:
        """Return all events that were grouped, a row a key in the order of first sight."""
        tables = self._tables
        count = tables.st[at.GROUPS]
        kept = np.flatnonzero(tables.groups[:count, at.G_COUNT])
        fields = np.ascontiguousarray(tables.groups[kept].T)
        cat_name, hashes = fields[at.G_CAT_NAME], fields[at.G_HASHES]
        return GroupTable(
            cat=self._codes[cat_name >> 32],
            name=self._codes[cat_name & 0xFFFFFFFF],
            hhash=self._codes[hashes >> 32],
            fhash=self._codes[hashes & 0xFFFFFFFF],
            fields=fields,
            squares=np.ascontiguousarray(tables.squares[kept].T),
            distinct=self._distinct,
        )


_OF_A_BLOCK: Final = (
    *(at.POSITION, at.ROWS, at.ARGUMENTS, at.SIDE, at.FAST, at.SKIPPED, at.COMPLETE),
    *(at.METADATA, at.AGGREGATED, at.BRACKET, at.INEXACT, at.FUSED_RECORDS),
)
_OF_A_CHUNK: Final = (at.TOUCHED, at.STRINGS, at.CHUNK_RECORDS, at.SUM_DUR)


def _record(line: bytes) -> tuple[Record, Record]:
    """Return the record of a canonical line and its arguments, as the reference reads them."""
    record = _decode_line(line)
    if record is None:
        odd = read_odd_line(line)
        if odd is None:
            raise AssertionError("the scan took a line that does not parse")
        (record,) = odd.records
    args = record.get("args")
    return record, args if isinstance(args, dict) else {}


def _decode_line(line: bytes) -> Record | None:
    """Return the record of a line that has no duplicate keys, at any depth."""
    try:
        record: Record = _decode_json(line)
    except ValueError:
        return None
    return record if _keys(record) == line.count(b'":') else None


def _keys(value: object) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_keys(member) for member in value.values())
    return sum(_keys(member) for member in value) if isinstance(value, list) else 0


def _read_number(text: bytes) -> object:
    try:
        return _decode_json(text)
    except ValueError:
        odd = read_odd_line(b'{"":%b}' % text)
        return odd.records[0][""] if odd else None
