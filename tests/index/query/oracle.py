"""The semantics of the aggregation tier once more, slowly, over plain dictionaries."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dftindexd.index.model import AggregationTier
from dftindexd.index.trace.columns import PHASE_AGGREGATED, PHASE_COUNTER
from tests.index.query.traces import Rec

TRANSFERS = set(
    re.findall(
        r"\w+",
        "read pread pread64 readv preadv preadv2 fread recv recvfrom recvmsg write pwrite pwrite64 "
        "writev pwritev pwritev2 fwrite send sendto sendmsg splice sendfile copy_file_range",
    )
)

Key = tuple[Any, ...]


@dataclass
class Stat:
    """Samples of one quantity; ``squares`` is ``None`` once a counter contributed."""

    count: int = 0
    total: int = 0
    least: int | None = None
    greatest: int | None = None
    squares: int | None = 0

    def sample(self, value: int) -> None:
        self.count += 1
        self.total += value
        self.bound(value)
        if self.squares is not None:
            self.squares += value * value

    def bound(self, value: int) -> None:
        self.least = value if self.least is None else min(self.least, value)
        self.greatest = value if self.greatest is None else max(self.greatest, value)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    @property
    def std(self) -> float | None:
        if self.squares is None:
            return None
        if self.count < 2:
            return 0.0
        spread = self.squares - self.count * self.mean**2
        return math.sqrt(max(spread, 0.0) / (self.count - 1))


@dataclass
class OracleRow:
    """The statistics of one key."""

    count: int = 0
    dur: Stat = field(default_factory=Stat)
    size: Stat = field(default_factory=Stat)
    offset: Stat = field(default_factory=Stat)
    ts: int | None = None
    te: int | None = None


def lower(text: str) -> str:
    return "".join(letter.lower() if "A" <= letter <= "Z" else letter for letter in text)


def number(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None


def kind_of(record: Rec) -> str:
    if record.phase == PHASE_AGGREGATED:
        return "profiles"
    if record.phase != PHASE_COUNTER:
        return "events"
    if record.cat != "sys":
        return "profiles"
    folded = record.count is not None or number(record.args.get("dft_cnt")) is not None
    return "system" if folded else "metrics"


def bucket_of(record: Rec, tier: AggregationTier) -> int | None:
    if record.ts is None:
        return None
    time = record.ts
    if kind_of(record) == "profiles" and record.phase == PHASE_COUNTER and time > 0:
        time -= 1
    if tier.bucket_by == "midpoint":
        time += record.dur // 2
    return time // tier.interval_us * tier.interval_us if tier.interval_us else time


def aggregate(records: Iterable[Rec], tier: AggregationTier, kind: str) -> dict[Key, OracleRow]:
    """Return the rows of one kind by (cat, name, pid, tid, hhash, fhash, bucket)."""
    rows: dict[Key, OracleRow] = {}
    for record in records:
        if kind_of(record) != kind:
            continue
        key = (
            lower(record.cat),
            record.name,
            record.pid,
            record.tid,
            record.hhash,
            record.fhash,
            bucket_of(record, tier),
        )
        row = rows.setdefault(key, OracleRow())
        if kind == "events":
            add_event(row, record)
        else:
            add_counter(row, record, tier)
    return rows


def add_times(row: OracleRow, start: int | None, end: int) -> None:
    if start is None:
        return
    row.ts = start if row.ts is None else min(row.ts, start)
    row.te = end if row.te is None else max(row.te, end)


def add_event(row: OracleRow, record: Rec) -> None:
    row.count += 1
    row.dur.sample(record.dur)
    io = lower(record.cat) in ("posix", "stdio") and record.name in TRANSFERS
    if io and record.ret is not None and record.ret >= 0:
        row.size.sample(record.ret)
    if record.offset is not None:
        row.offset.sample(max(record.offset, 0))
    add_times(row, record.ts, (record.ts or 0) + record.dur)


def add_counter(row: OracleRow, record: Rec, tier: AggregationTier) -> None:
    calls = number(record.args.get("dft_cnt"))
    calls = calls if calls is not None else record.count
    calls = 1 if calls is None else max(calls, 0)
    row.count += calls
    plain = {
        "dur": number(record.args.get("dur")),
        "ret": record.ret,
        "offset": record.offset,
    }
    for name, stat in (("dur", row.dur), ("ret", row.size), ("offset", row.offset)):
        total = number(record.args.get(f"{name}_sum"))
        total = total if total is not None else plain[name]
        if name == "ret" and total is not None and total < 0:
            total = None
        low = number(record.args.get(f"{name}_min"))
        high = number(record.args.get(f"{name}_max"))
        if total is not None:
            stat.count += calls
            stat.total += max(total, 0)
            stat.squares = None
        least = next((v for v in (low, total, high) if v is not None), None)
        greatest = next((v for v in (high, total, low) if v is not None), None)
        if least is not None and greatest is not None:
            least, greatest = max(min(least, greatest), 0), max(greatest, 0)
            stat.least = least if stat.least is None else min(stat.least, least)
            stat.greatest = greatest if stat.greatest is None else max(stat.greatest, greatest)
    add_times(row, record.ts, (record.ts or 0) + tier.interval_us)


def expected_rows(records: Sequence[Rec], tier: AggregationTier, kind: str) -> dict[Key, Any]:
    """Return what ``read_aggregation`` must say of each key."""
    expected = {}
    for key, row in aggregate(records, tier, kind).items():
        values: dict[str, Any] = {"count": row.count, "ts": row.ts, "te": row.te}
        for name, stat in (("dur", row.dur), ("size", row.size), ("offset", row.offset)):
            absent = None if name == "offset" and stat.least is None else 0
            missing = name == "offset" and stat.least is None
            values[f"{name}_total"] = None if missing else stat.total
            values[f"{name}_min"] = absent if stat.least is None else stat.least
            values[f"{name}_max"] = absent if stat.greatest is None else stat.greatest
            values[f"{name}_mean"] = None if missing else stat.mean
            values[f"{name}_std"] = None if missing else stat.std
        expected[key] = values
    return expected
