"""Lines to columns: the reference reading of every trace generation.

A line that is one plain JSON object without duplicate keys takes the short way; any other goes
through :mod:`json_line`, and both end in the same record. A line counts as a whole: where one of
its records must be rejected, none of them counts. ``docs/traces.md`` lists what is accepted.

A failed call has a negative ``ret``: it is kept as it is, with ``HAS_RET``, and the tiers take no
size from it. A time stamp that is missing or no number leaves ``HAS_TS`` unset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dftindexd.index.model import AggregationTier, BadLine, LineCounts
from dftindexd.index.trace.columns import (
    HAS_COUNT,
    HAS_OFFSET,
    HAS_RET,
    HAS_TS,
    PHASE_AGGREGATED,
    PHASE_COMPLETE,
    PHASE_COUNTER,
    PHASE_OTHER,
    Interner,
    RecordColumns,
)
from dftindexd.index.trace.facts import MICROSECONDS, FactsCollector
from dftindexd.index.trace.json_line import Record, read_odd_line
from dftindexd.index.trace.lines import SAMPLE_BYTES, Lines
from dftindexd.index.trace.names import NameCollector, hash_text
from dftindexd.index.trace.numbers import (
    INT64_MAX,
    INT64_MIN,
    UINT64_MAX,
    clamp_signed,
    fraction,
    whole,
)
from dftindexd.index.trace.record_buffer import (
    PACK_OTHER,
    PACK_RECORD,
    ArgumentBuffer,
    Others,
    columns_of,
    others_of,
)

__all__ = ("BlockDecoder", "DecodedBlock", "wanted_arguments")

_METADATA: Final = 4
_PHASES: Final[dict[str | int, int]] = {
    "X": PHASE_COMPLETE,
    "C": PHASE_COUNTER,
    "A": PHASE_AGGREGATED,
    "M": _METADATA,
    1: PHASE_COMPLETE,
    2: PHASE_COUNTER,
    3: PHASE_AGGREGATED,
    4: _METADATA,
}

_ABSENT: Final = object()
_NO_ARGS: Final[Record] = {}
#: Arguments of counters and aggregated records that are in the trace's unit of time.
_DURATIONS: Final = frozenset({"dur", "dur_sum", "dur_min", "dur_max"})
_IN_COLUMNS: Final = frozenset({"hhash", "fhash", "cmd_hash", "exec_hash"})

#: What a line holds that is not blank: such lines may come by the million and are only counted.
_CONTENT: Final = re.compile(rb"[^ \t\r\n][^\n]*")

_decode_json: Final = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """What some lines gave. ``exact``: every ``ts`` and ``dur`` of the lines is in the columns as
    it was written, so that their bounds hold for the lines too. ``complete`` counts the complete
    events; ``grouped`` the records that are not in the columns, because they were grouped already.

    ``metadata_at`` has for each metadata record that was not grouped how many rows of the columns
    came before it, and the code of its name. ``scanned``: the compiled scan read it all.
    """

    columns: RecordColumns
    others: Others
    lines: LineCounts
    bad_lines: list[BadLine]
    metadata: int
    without_phase: int
    clamped: int
    exact: bool
    complete: int
    metadata_at: list[tuple[int, int]]
    grouped: int = 0
    scanned: bool = False


@dataclass(slots=True)
class _Block:
    """A block in the making."""

    rows: list[bytes] = field(default_factory=list)
    arguments: ArgumentBuffer = field(default_factory=ArgumentBuffer)
    others: list[bytes] = field(default_factory=list)
    bad_lines: list[BadLine] = field(default_factory=list)
    skipped: int = 0
    repaired: int = 0
    metadata_at: list[tuple[int, int]] = field(default_factory=list)
    without_phase: int = 0
    clamped: int = 0
    exact: bool = True


def wanted_arguments(
    config: AggregationTier | None, arguments: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the arguments that the configuration and *arguments* name, each once."""
    if config is not None:
        arguments = (*config.group_keys, *config.custom_metric_fields, *arguments)
    return tuple(dict.fromkeys(arguments))


class BlockDecoder:
    """Decodes the blocks of one segment, in order.

    Codes are those of *texts*; *facts* and *names* gather what the records say beyond themselves.
    """

    def __init__(
        self,
        texts: Interner,
        facts: FactsCollector,
        names: NameCollector,
        wanted: tuple[str, ...] = (),
    ) -> None:
        self._code = texts.code
        self._facts = facts
        self._names = names
        self._wanted = [(key, texts.code(key)) for key in wanted]
        self._block = _Block()

    @property
    def taken(self) -> int:
        """How many rows and metadata records the block has so far."""
        return len(self._block.rows) + len(self._block.metadata_at)

    def decode(self, lines: Lines) -> DecodedBlock:
        """Return the records of *lines* and how each line counts."""
        text = lines.text
        total = text.count(b"\n") + (text != b"" and not text.endswith(b"\n"))
        number, after = lines.line, 0
        read = 0
        for content in _CONTENT.finditer(text):
            begin = max(text.rfind(b"\n", after, content.start()) + 1, after)
            number += text.count(b"\n", after, begin)
            self.read_line(text[begin : content.end()], number, lines.uc_offset + begin)
            number, after = number + 1, content.end() + 1
            read += 1
        self._block.skipped += total - read
        return self.take_block(total)

    def read_line(self, text: bytes, number: int, position: int) -> None:
        """Read one line; *position* is where it begins, *number* counts the lines before it."""
        try:
            record = _decode_json(text)
            args = record.get("args", _NO_ARGS)
            # As many keys as `":` means: no duplicates, nothing nested.
            plain = len(record) + len(args) == text.count(b'":') and "ph" in record
        except (ValueError, TypeError, AttributeError, RecursionError):
            plain = False
        if not plain or not self._add(record, args, number, position):
            self._add_odd_line(text, number, position)

    def take_block(self, total: int) -> DecodedBlock:
        """Return what the *total* lines gave that were read since the last block."""
        block, self._block = self._block, _Block()
        bad = len(block.bad_lines)
        columns = columns_of(block.rows, block.arguments)
        return DecodedBlock(
            columns=columns,
            others=others_of(block.others),
            lines=LineCounts(
                total=total,
                ok=total - block.skipped - bad,
                skipped=block.skipped,
                bad=bad,
                repaired=block.repaired,
            ),
            bad_lines=block.bad_lines,
            metadata=len(block.metadata_at),
            without_phase=block.without_phase,
            clamped=block.clamped,
            exact=block.exact,
            complete=int((columns.phase == PHASE_COMPLETE).sum()),
            metadata_at=block.metadata_at,
        )

    def _add_odd_line(self, text: bytes, number: int, position: int) -> None:
        block = self._block
        if not text.strip():
            block.skipped += 1
            return
        odd = read_odd_line(text)
        if odd is None or any(_is_rejected(record) for record in odd.records):
            block.bad_lines.append(BadLine(position, number, text[:SAMPLE_BYTES]))
            return
        if odd.closes:
            self._facts.see_bracket()
        before = self.taken
        for record in odd.records:
            self._add(record, record.get("args"), number, position)
        if self.taken == before:
            block.skipped += 1
        elif odd.repaired:
            block.repaired += 1

    def _add(self, record: Record, args: Any, number: int, position: int) -> bool:
        """Add one record; return false, with nothing added, where it takes the long way."""
        phase_mark = record.get("ph", _ABSENT)
        if args.__class__ is not dict:
            args = _NO_ARGS
        if phase_mark.__class__ is str or phase_mark.__class__ is int:
            phase = _PHASES.get(phase_mark, PHASE_OTHER)
        else:
            phase = PHASE_OTHER
        if phase == _METADATA or phase_mark is _ABSENT:
            return self._add_other(record, args, number, is_metadata=phase == _METADATA)

        times = self._times(record, args)
        if times is None:
            return False
        ts, dur, has = times
        ret = offset = count = 0
        if args:
            ret, offset, count, bits = self._sizes(args)
            has |= bits
        name, cat = record.get("name"), record.get("cat")
        if phase != PHASE_COMPLETE:
            self._add_arguments(args, phase)
        elif name == "end" and cat == "dftracer":
            self._facts.see_end(args)
        if self._wanted:
            self._add_wanted(args, phase)
        pid, tid, hhash, fhash, shash = self._identity(record, args)
        self._block.rows.append(
            PACK_RECORD(
                number,
                position,
                ts,
                dur,
                ret,
                offset,
                count,
                pid,
                tid,
                self._code(cat) if isinstance(cat, str) else 0,
                self._code(name) if isinstance(name, str) else 0,
                hhash,
                fhash,
                shash,
                phase,
                has,
            )
        )
        return True

    def _times(self, record: Record, args: Record) -> tuple[int, int, int] | None:
        """Return ``ts``, ``dur`` and ``HAS_TS``, or ``None`` for a record to be rejected."""
        has = HAS_TS
        ts: Any = record.get("ts")
        dur: Any = record.get("dur", 0)
        if ts.__class__ is not int or not 0 <= ts <= INT64_MAX:
            if _is_rejected(record):
                return None
            ts, has = self._odd_time(ts)
        if dur.__class__ is not int or not 0 <= dur <= INT64_MAX:
            dur, _ = self._odd_time(dur)
        if self._facts.undated:
            self._facts.see_record(record, args)
        scale = self._facts.scale
        if scale is not MICROSECONDS:
            ts, dur = self._microseconds(ts, scale), self._microseconds(dur, scale)
        return ts, dur, has

    def _sizes(self, args: Record) -> tuple[int, int, int, int]:
        """Return ``ret``, ``offset``, ``count`` and the bits of those that are numbers."""
        get = args.get
        bits = ret = offset = count = 0
        value = get("ret")
        if value is not None:
            ret, bits = self._argument(value, HAS_RET)
        value = get("offset")
        if value is not None:
            offset, bit = self._argument(value, HAS_OFFSET)
            bits |= bit
        value = get("count")
        if value is not None:
            count, bit = self._argument(value, HAS_COUNT)
            bits |= bit
        return ret, offset, count, bits

    def _identity(self, record: Record, args: Record) -> tuple[int, int, int, int, int]:
        """Return pid, tid and the codes of the host's, the file's and the string's hash."""
        pid, tid = record.get("pid", 0), record.get("tid", 0)
        quoted = pid.__class__ is str
        if pid.__class__ is not int or not 0 <= pid <= UINT64_MAX:
            pid = self._unsigned(pid)
        if tid.__class__ is not int or not 0 <= tid <= UINT64_MAX:
            tid = self._unsigned(tid)
        if not args:
            return pid, tid, 0, 0, 0
        get, code = args.get, self._code
        if quoted and ("hostname" in args or "fname" in args):
            host, file = self._names.host(get("hostname")), self._names.file(get("fname"))
            return pid, tid, code(host), code(file), 0
        hhash, fhash, shash = get("hhash"), get("fhash"), get("cmd_hash") or get("exec_hash")
        return (
            pid,
            tid,
            0 if hhash is None else code(hhash if hhash.__class__ is str else hash_text(hhash)),
            0 if fhash is None else code(fhash if fhash.__class__ is str else hash_text(fhash)),
            0 if shash is None else code(hash_text(shash)),
        )

    def _add_other(self, record: Record, args: Record, number: int, *, is_metadata: bool) -> bool:
        """Take what is no row: metadata, and objects without ``ph``, which are only findable."""
        if _is_rejected(record):
            return False
        block, code = self._block, self._code
        name, cat = record.get("name"), record.get("cat")
        name = name if isinstance(name, str) else ""
        cat = cat if isinstance(cat, str) else ""
        pid, tid, hhash, fhash, shash = self._identity(record, args)
        block.others.append(
            PACK_OTHER(number, pid, tid, code(cat), code(name), hhash, fhash, shash)
        )
        if "ts" in record or "dur" in record:
            block.exact = False
        if not is_metadata:
            block.without_phase += 1
            return True
        block.metadata_at.append((len(block.rows), code(name)))
        if self._facts.undated:
            self._facts.see_record(record, args)
        if name == "CM" and args.get("name") == "time_metric":
            self._facts.see_time_metric(args.get("value"))
        else:
            self._names.see(name, args)
        return True

    def _add_arguments(self, args: Record, phase: int) -> None:
        """Add all arguments of a counter or an aggregated record."""
        if phase == PHASE_OTHER:
            return
        if phase == PHASE_AGGREGATED or "dft_cnt" in args:
            self._facts.see_aggregated()
        for key, value in args.items():
            if key not in _IN_COLUMNS:
                scale = self._facts.scale if key in _DURATIONS else MICROSECONDS
                self._add_argument(self._code(key), value, scale)

    def _add_wanted(self, args: Record, phase: int) -> None:
        is_listed = phase in (PHASE_COUNTER, PHASE_AGGREGATED)
        for key, key_code in self._wanted:
            if key in args and not (is_listed and key not in _IN_COLUMNS):
                self._add_argument(key_code, args[key])

    def _add_argument(self, key: int, value: object, scale: tuple[int, int] = MICROSECONDS) -> None:
        row, add = len(self._block.rows), self._block.arguments.add
        if isinstance(value, str):
            add(row, key, self._code(value), 0, 0.0)
            return
        integer, real = whole(value), fraction(value)
        if integer is not None and real is not None:
            if scale is not MICROSECONDS:
                integer, real = integer * scale[0] // scale[1], real * scale[0] / scale[1]
            add(row, key, -1, clamp_signed(integer), real)

    def _argument(self, value: object, bit: int) -> tuple[int, int]:
        """Return an argument as a 64-bit number, and *bit* if it is one."""
        number = whole(value)
        if number is None:
            return 0, 0
        if INT64_MIN <= number <= INT64_MAX:
            return number, bit
        self._block.clamped += 1
        return clamp_signed(number), bit

    def _odd_time(self, value: object) -> tuple[int, int]:
        """Return a time that is not a plain number in range, and ``HAS_TS`` if it is one at all."""
        self._block.exact = False
        number = whole(value)
        if number is None:
            return 0, 0
        return self._clamped(number, INT64_MAX), HAS_TS

    def _microseconds(self, time: int, scale: tuple[int, int]) -> int:
        self._block.exact = False
        return self._clamped(time * scale[0] // scale[1], INT64_MAX)

    def _unsigned(self, value: object) -> int:
        number = whole(value)
        return 0 if number is None else self._clamped(number, UINT64_MAX)

    def _clamped(self, number: int, most: int) -> int:
        if 0 <= number <= most:
            return number
        self._block.clamped += 1
        return 0 if number < 0 else most


def _is_rejected(record: Record) -> bool:
    """Tell whether a time stamp does not even fit 64 bits: no tracer can have meant it."""
    ts = whole(record.get("ts"))
    return ts is not None and ts > UINT64_MAX
