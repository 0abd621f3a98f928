"""The fast reading of lines: the compiled scan, its tables, and what is done after it in order.

:class:`Kernel` takes blocks of lines as :class:`~dftindexd.index.trace.decode.BlockDecoder` does
and gives the same records, whichever way each line was read. Events are grouped as they are read
where the configuration allows (:meth:`Kernel.groups`); all other records come as columns.

Memory is bounded by the number of distinct texts and keys, by the size of a block, and by four
bytes a line of the open chunk.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dftindexd.index.model import AggregationTier, LineCounts
from dftindexd.index.sketch import ZERO_BIN
from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace import kernel_layout as at
from dftindexd.index.trace.canonical_line import canonical_number, canonical_record
from dftindexd.index.trace.columns import (
    HAS_COUNT,
    HAS_OFFSET,
    HAS_RET,
    Interner,
    RecordColumns,
)
from dftindexd.index.trace.decode import BlockDecoder, DecodedBlock, wanted_arguments
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.lines import Lines
from dftindexd.index.trace.names import NameCollector
from dftindexd.index.trace.numbers import UINT64_MAX, clamp_signed, fraction, whole
from dftindexd.index.trace.record_buffer import (
    ArgumentBuffer,
    columns_of,
    columns_of_rows,
    others_of,
)
from dftindexd.index.trace.scan_arrays import borrow, give_back

__all__ = ("ChunkGroups", "GroupTable", "Kernel")

_Ints = npt.NDArray[np.int64]

_NAME_TABLES: Final = {at.FH: "FH", at.HH: "HH", at.SH: "SH", at.PR: "PR"}

#: A text that is no longer is copied whole into a buffer with padding.
_COPIED: Final = 256 << 10
_LOW: Final = 0xFFFFFFFF

#: A key's texts are the halves of the first words of a group: name, category and two hashes.
_KEY_HALVES: Final = 4

#: So many rows of a table are turned at a time.
_TURNED: Final = 1 << 14

_NO_COLUMNS: Final = columns_of([], ArgumentBuffer())
_NO_OTHERS: Final = others_of([])


class ChunkGroups(NamedTuple):
    """The grouped records of one chunk. Arrays have an element a group that occurs in it.

    ``is_row`` tells metadata records (false) from others, ``shash`` are the string
    hashes of both, ``shash_rows`` says how many rows have each. The bounds are those of the rows;
    there are none without ``records``.

    The ``duration_*`` arrays have an element for each distinct name, DDSketch bin
    (``dftindexd.index.sketch``) and bit length of a duration: how many there are, their sum (it
    stops at 2**64-1) and their sum of squares. ``time_bin`` is ``ts // 100_000``, with how many
    rows. ``ret``, ``offset`` and ``count`` have the least and greatest number of the rows.

    ``kind_names`` are the names of the kinds of rows, then of metadata, each of the two in the
    order of sight; ``kind_cats`` the categories of those of rows, ``kind_bounds`` the least and the
    greatest duration of their names. ``order`` has an element a record of the chunk, those of lines
    that were left to the reference included, in the order of the text: the place of its kind, or
    ``kernel_layout.ROW`` for the next record of the columns, ``LEFT`` for the next one that the
    reference gave. If there are only places, and at most 256 kinds, they are bytes.
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
    shash_rows: _Ints
    duration_name: npt.NDArray[np.int32]
    duration_bin: npt.NDArray[np.int16]
    duration_bits: npt.NDArray[np.uint16]
    duration_count: _Ints
    duration_total: npt.NDArray[np.uint64]
    duration_squares: npt.NDArray[np.float64]
    time_bin: _Ints
    time_count: _Ints
    ret_bounds: tuple[int, int] | None
    offset_bounds: tuple[int, int] | None
    count_bounds: tuple[int, int] | None
    records: int
    min_ts: int
    max_ts: int
    max_te: int
    min_dur: int
    max_dur: int
    sum_dur: int
    order: npt.NDArray[Any]
    kind_cats: npt.NDArray[np.int32]
    kind_names: npt.NDArray[np.int32]
    kind_bounds: _Ints


class GroupTable(NamedTuple):
    """The grouped events of a segment: keys, and statistics as they lie in ``kernel_layout``,
    each field before ``G_TRANSFER`` one row of the array.

    ``distinct``: no key is there twice.
    """

    cat: npt.NDArray[np.int32]
    name: npt.NDArray[np.int32]
    hhash: npt.NDArray[np.int32]
    fhash: npt.NDArray[np.int32]
    fields: _Ints
    squares: npt.NDArray[np.float64]
    distinct: bool


class Kernel:
    """Reads the blocks of one segment, in order.

    *decoder* is the reference for the same segment; *texts*, *facts* and *names* are shared with
    it. Events are grouped by the buckets of *config*; where it or *arguments* name arguments, or
    without *grouped*, they are not, and ``groups`` stay empty.
    """

    def __init__(
        self,
        texts: Interner,
        facts: FactsCollector,
        names: NameCollector,
        decoder: BlockDecoder,
        config: AggregationTier | None,
        arguments: tuple[str, ...] = (),
        *,
        grouped: bool = True,
    ) -> None:
        if not kernel_cache.is_loaded():
            kernel_cache.load()
        self._texts = texts
        self._facts = facts
        self._names = names
        self._decoder = decoder
        self._tables = borrow()
        self._codes = np.zeros(len(self._tables.arrays["texts"]), np.int32)
        self._known = len(at.KNOWN_TEXTS) + 1
        self._codes[1 : self._known] = texts.codes(at.KNOWN_TEXTS)
        self._distinct = True
        # Of the open chunk: how many records each line gave that was left to the reference, and
        # whether all records were grouped.
        self._left: list[int] = []
        self._is_grouped = True
        wanted = wanted_arguments(config, arguments)
        if wanted:
            self._tables.place("wanted", np.array(self._tables.enter(wanted), np.int64))
        st = self._tables.st
        st[at.WANTED] = len(wanted)
        st[at.FUSED] = grouped and not wanted and not (config and config.percentiles)
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
            self._tables.place_text(text)
            return self._decode(lines, len(text))
        self._tables.place("buffer", np.frombuffer(text, np.uint8))
        blocks = self._decode(lines, cut)
        rest = Lines(text[cut:], lines.uc_offset + cut, int(self._tables.st[at.LINE]))
        self._tables.place_text(rest.text)
        return blocks + self._decode(rest, len(rest.text))

    def _decode(self, lines: Lines, size: int) -> tuple[DecodedBlock, ...]:
        """Read the first *size* bytes of *lines*; ``PADDING`` bytes more are in the buffer."""
        tables, st = self._tables, self._tables.st
        for counter in _OF_A_BLOCK:
            st[counter] = 0
        st[at.LINE] = lines.line
        text = lines.text
        while True:
            st[at.DATED] = not self._facts.undated
            st[at.MULTIPLY], st[at.DIVIDE] = self._facts.scale
            reason = tables.ask(at.SCAN, size)
            self._do_side_list(text, lines.uc_offset)
            if reason == at.DONE:
                break
            if reason != at.BARRIER:
                tables.grow(reason)
        self._learn_texts()
        if st[at.AGGREGATED]:
            self._facts.see_aggregated()
        if st[at.BRACKET]:
            self._facts.see_bracket()
        return self._block(text, lines)

    def _do_side_list(self, text: bytes, uc_offset: int) -> None:
        """Do in the order of the lines what the scan left to do."""
        st, facts = self._tables.st, self._facts
        side = self._tables.arrays["side"][: st[at.SIDE]].tolist()
        st[at.SIDE] = 0
        for kind, begin, end, number, name, name_end, value, value_end in side:
            if kind == at.SLOW:
                before = self._decoder.taken
                self._decoder.read_line(text[begin:end], number, uc_offset + begin)
                self._left.append(self._decoder.taken - before)
            elif kind == at.DATE:
                if facts.undated:
                    facts.see_record(*canonical_record(text[begin:end]))
            elif kind == at.END:
                facts.see_end(canonical_record(text[begin:end])[1])
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
            larger = np.zeros(len(self._tables.arrays["texts"]), np.int32)
            larger[: len(self._codes)] = self._codes
            self._codes = larger
        new = []
        for text, kind in self._tables.texts_from(self._known):
            if kind != at.PLAIN:
                self._distinct = False  # a hash may be there as such, too
                text = self._names.host(text) if kind == at.HOST_NAME else self._names.file(text)
            new.append(text)
        self._codes[self._known : count] = self._texts.codes(new)
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
            metadata_at=[],
            grouped=int(st[at.FUSED_RECORDS]),
            scanned=True,
        )
        others = int(st[at.LINE]) - lines.line - fast - skipped
        self._is_grouped &= not others and not st[at.ROWS]
        return (read, self._decoder.take_block(others)) if others else (read,)

    def _columns(self, text: bytes, uc_offset: int) -> RecordColumns:
        arrays = self._tables.arrays
        st = self._tables.st
        if not st[at.ROWS]:
            return _NO_COLUMNS
        rows = arrays["rows"][: st[at.ROWS]]
        rows[:, 1] += uc_offset
        count = int(st[at.ARGUMENTS])
        arguments, reals = arrays["arguments"][:count], arrays["reals"][:count].copy()
        for place in np.flatnonzero(arguments[:, 5]).tolist():
            value = canonical_number(text[arguments[place, 4] : arguments[place, 5]])
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

    @property
    def held(self) -> int:
        """How many groups there are so far."""
        return int(self._tables.st[at.GROUPS])

    def end_chunk(self) -> ChunkGroups:
        """Return what was grouped since the last chunk ended."""
        arrays = self._tables.arrays
        st = self._tables.st
        bins = arrays["bins"][: st[at.BINS]]
        times = _times(st, arrays["times"])
        state = st[: at.SCRATCH].tolist()
        touched = arrays["touched"][: st[at.TOUCHED]]
        strings = arrays["strings"][: st[at.STRINGS]]
        ended = ChunkGroups(
            **self._touched(arrays["groups"][touched]),
            shash=self._codes[strings],
            shash_rows=arrays["stamps"][strings, at.K_ROWS],
            **self._durations(bins),
            time_bin=times[:, 0],
            time_count=times[:, 1],
            ret_bounds=_bounds(state, HAS_RET, at.MIN_RET),
            offset_bounds=_bounds(state, HAS_OFFSET, at.MIN_OFFSET),
            count_bounds=_bounds(state, HAS_COUNT, at.MIN_COUNT),
            records=state[at.CHUNK_RECORDS],
            min_ts=state[at.MIN_TS],
            max_ts=state[at.MAX_TS],
            max_te=state[at.MAX_TE],
            min_dur=state[at.MIN_DUR],
            max_dur=state[at.MAX_DUR],
            sum_dur=state[at.SUM_DUR] & UINT64_MAX,
            order=self._order(),
            **self._kinds(),
        )
        for counter in _OF_A_CHUNK:
            st[counter] = 0
        arrays["bin_slots"][:] = 0
        _recent_times(st)[:] = 0
        st[at.CHUNK] += 1
        return ended

    def _order(self) -> npt.NDArray[Any]:
        """Return what the chunk's records are, in order; see :class:`ChunkGroups`."""
        tables, st = self._tables, self._tables.st
        tables.ask(at.NUMBER_KINDS, self._is_grouped)
        order = tables.arrays["order"]
        if self._is_grouped and st[at.KINDS] <= at.NARROW_KINDS:
            return order.view(np.uint8)[: st[at.ORDER]]
        self._is_grouped = True
        order = order[: st[at.ORDER]]
        if not self._left:
            return order
        times = np.ones(len(order), np.int64)
        times[order == at.LEFT] = self._left
        self._left = []
        return np.repeat(order, times)

    def _kinds(self) -> dict[str, Any]:
        st = self._tables.st
        kinds, rows = self._tables.arrays["kinds"][: st[at.KINDS]], st[at.ROW_KINDS]
        return {
            "kind_cats": self._codes[kinds[:rows, at.K_CAT]],
            "kind_names": self._codes[kinds[:, at.K_NAME]],
            "kind_bounds": kinds[:rows, at.K_BOUNDS :],
        }

    def _touched(self, groups: _Ints) -> dict[str, Any]:
        name, cat, fhash, hhash = self._codes[groups.view(np.int32)[:, :_KEY_HALVES]].T
        return {
            "cat": cat,
            "name": name,
            "pid": groups[:, at.G_PID].view(np.uint64),
            "tid": groups[:, at.G_TID].view(np.uint64),
            "hhash": hhash,
            "fhash": fhash,
            "counts": groups[:, at.G_CHUNK_COUNT],
            "first_line": groups[:, at.G_CHUNK_LINE],
            "is_row": groups[:, at.G_BUCKET] != at.METADATA_BUCKET,
        }

    def _durations(self, bins: _Ints) -> dict[str, Any]:
        quarters = bins.view(np.uint16)  # of the key: bin, bit length, name
        return {
            "duration_name": self._codes[bins.view(np.int32)[:, 1]],
            "duration_bin": quarters[:, 0].astype(np.int16) + np.int16(ZERO_BIN),
            "duration_bits": quarters[:, 1],
            "duration_count": bins[:, at.B_COUNT],
            "duration_total": bins[:, at.B_TOTAL].view(np.uint64),
            "duration_squares": bins[:, at.B_SQUARES].view(np.float64),
        }

    def groups(self) -> GroupTable:
        """Return all events that were grouped, a row a key in the order of first sight."""
        arrays = self._tables.arrays
        groups = arrays["groups"][: self._tables.st[at.GROUPS]]
        kept = np.flatnonzero(groups[:, at.G_COUNT])
        fields = _columns_of(groups[:, : at.G_TRANSFER], kept)
        cat_name, hashes = fields[at.G_CAT_NAME], fields[at.G_HASHES]
        return GroupTable(
            cat=self._codes[cat_name >> 32],
            name=self._codes[cat_name & _LOW],
            hhash=self._codes[hashes >> 32],
            fhash=self._codes[hashes & _LOW],
            fields=fields,
            squares=_columns_of(arrays["squares"], kept),
            distinct=self._distinct,
        )

    def close(self) -> None:
        """Leave the tables to other segments; this one must not be used any more."""
        give_back(self._tables)
        del self._tables


_OF_A_BLOCK: Final = (
    *(at.POSITION, at.ROWS, at.ARGUMENTS, at.SIDE, at.FAST, at.SKIPPED, at.COMPLETE),
    *(at.METADATA, at.AGGREGATED, at.BRACKET, at.INEXACT, at.FUSED_RECORDS),
)
_OF_A_CHUNK: Final = (
    *(at.TOUCHED, at.STRINGS, at.CHUNK_RECORDS, at.SUM_DUR),
    *(at.BINS, at.SEEN, at.TIMES, at.ORDER),
)


def _columns_of(table: npt.NDArray[Any], kept: _Ints) -> npt.NDArray[Any]:
    """Return the *kept* rows of a table, turned, without a second copy of them on the way."""
    columns = np.empty((table.shape[1], len(kept)), table.dtype)
    for begin in range(0, len(kept), _TURNED):
        part = kept[begin : begin + _TURNED]
        columns[:, begin : begin + _TURNED] = table[part].T
    return columns


def _recent_times(st: _Ints) -> _Ints:
    return st[at.RECENT_TIMES : at.RECENT_TIMES + 2 * at.RECENT].reshape(at.RECENT, 2)


def _times(st: _Ints, listed: _Ints) -> _Ints:
    """Return the bins of times, each with its count; a bin may be there more than once."""
    recent = _recent_times(st)
    recent = recent[recent[:, 1].nonzero()[0]]
    return np.concatenate([listed[: st[at.TIMES]], recent]) if st[at.TIMES] else recent


def _bounds(state: list[int], bit: int, least: int) -> tuple[int, int] | None:
    """Return the bounds of an argument, if any record of the chunk had it."""
    return (state[least], state[least + 1]) if state[at.SEEN] & bit else None
