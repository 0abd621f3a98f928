"""Traces for the tests of the aggregation tier: records in Python, built into a store in memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dftindexd.index.model import (
    AggregationTier,
    FileStamp,
    LineCounts,
    ParsedTrace,
    Row,
    SegmentSummary,
    TierConfig,
    TraceRecord,
)
from dftindexd.index.tiers.aggregation import AggregationBuilder
from dftindexd.index.tiers.hash_tables import HashTables, hash_table_rows
from dftindexd.index.tiers.system_metrics import SystemMetricsBuilder
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


@dataclass(frozen=True)
class Rec:
    """One record; ``args`` are its further arguments."""

    cat: str = "POSIX"
    name: str = "read"
    phase: int = PHASE_COMPLETE
    pid: int = 1
    tid: int = 1
    ts: int | None = 1_000_000
    dur: int = 0
    hhash: str = ""
    fhash: str = ""
    ret: int | None = None
    offset: int | None = None
    count: int | None = None
    args: Mapping[str, int | float | str] = field(default_factory=dict)


def block(records: Sequence[Rec], texts: Interner) -> RecordColumns:
    """Return *records* as columns."""

    def ints(values: Iterable[int], dtype: Any = np.int64) -> Any:
        return np.array(list(values), dtype)

    def codes(values: Iterable[str]) -> Any:
        return ints((texts.code(value) for value in values), np.int32)

    def has(record: Rec) -> int:
        bits = HAS_TS * (record.ts is not None) | HAS_RET * (record.ret is not None)
        return (
            bits | HAS_OFFSET * (record.offset is not None) | HAS_COUNT * (record.count is not None)
        )

    args = [
        (row, key, value)
        for row, record in enumerate(records)
        for key, value in record.args.items()
    ]
    numbers = [0 if isinstance(value, str) else value for _, _, value in args]
    return RecordColumns(
        line=ints(range(len(records))),
        uc_offset=ints(range(len(records))),
        phase=ints((record.phase for record in records), np.uint8),
        cat=codes(record.cat for record in records),
        name=codes(record.name for record in records),
        pid=ints((record.pid for record in records), np.uint64),
        tid=ints((record.tid for record in records), np.uint64),
        ts=ints(record.ts or 0 for record in records),
        dur=ints(record.dur for record in records),
        hhash=codes(record.hhash for record in records),
        fhash=codes(record.fhash for record in records),
        shash=ints((0 for _ in records), np.int32),
        ret=ints(record.ret or 0 for record in records),
        offset=ints(record.offset or 0 for record in records),
        count=ints(record.count or 0 for record in records),
        has=ints((has(record) for record in records), np.uint8),
        arg_row=ints((row for row, _, _ in args), np.int32),
        arg_key=codes(key for _, key, _ in args),
        arg_text=ints(
            (texts.code(value) if isinstance(value, str) else -1 for _, _, value in args), np.int32
        ),
        arg_int=ints(int(number) for number in numbers),
        arg_float=np.array(numbers, np.float64),
    )


class MemoryStore:
    """Rows by family and key: what a store's snapshot answers, without a disk."""

    def __init__(self, tier: AggregationTier | None = None) -> None:
        self.tier = tier or AggregationTier()
        self.rows: dict[tuple[str, bytes], bytes] = {}
        self.records: list[TraceRecord] = []
        self._segments = 0

    def get_many(self, family: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, ``None`` where there is none."""
        return [self.rows.get((family, key)) for key in keys]

    def add_trace(
        self,
        *segments: Sequence[Sequence[Rec]],
        tables: HashTables | None = None,
        path: bytes | None = None,
    ) -> TraceRecord:
        """Index one trace: each segment is a list of blocks of records."""
        summaries = []
        for blocks in segments:
            self._segments += 1
            texts = Interner()
            aggregation = AggregationBuilder(self.tier)
            metrics = SystemMetricsBuilder(self.tier)
            for records in blocks:
                columns = block(records, texts)
                aggregation.add(columns, texts)
                metrics.add(columns, texts)
            rows: list[Row] = [
                *aggregation.rows(self._segments, texts),
                *metrics.rows(self._segments, texts),
                *hash_table_rows(self._segments, tables or HashTables()),
            ]
            for family, key, value in rows:
                self.rows[family, key] = value
            buckets = [
                bucket
                for bucket in (aggregation.min_bucket, metrics.min_bucket)
                if bucket is not None
            ]
            summaries.append(summary(self._segments, min(buckets, default=None)))
        return self._commit(path or b"trace-%d.pfw" % len(self.records), summaries)

    def add_parsed(self, parsed: ParsedTrace) -> TraceRecord:
        """Take in what a parser worker made of a trace."""
        self.rows |= {(family, key): value for family, key, value in parsed.rows}
        return self._commit(b"trace-%d.pfw" % len(self.records), parsed.segments)

    def _commit(self, path: bytes, segments: Sequence[SegmentSummary]) -> TraceRecord:
        record = TraceRecord(
            file_id=len(self.records) + 1,
            path=path,
            version=1,
            generation=1,
            stamp=FileStamp(1, 1, 1, 1),
            tiers=TierConfig(aggregation=self.tier),
            segments=tuple(segments),
        )
        self.records.append(record)
        return record


def summary(segment_id: int, min_bucket: int | None) -> SegmentSummary:
    """Return a summary of a segment of which only its buckets matter."""
    return SegmentSummary(
        segment_id=segment_id,
        provisional=False,
        c_begin=0,
        c_end=0,
        uc_begin=0,
        uc_end=0,
        first_line=0,
        lines=LineCounts(),
        records=0,
        complete_events=0,
        metadata=0,
        chunks=1,
        min_bucket=min_bucket,
    )


_PHASES = {
    "X": PHASE_COMPLETE,
    1: PHASE_COMPLETE,
    "C": PHASE_COUNTER,
    2: PHASE_COUNTER,
    "A": PHASE_AGGREGATED,
    3: PHASE_AGGREGATED,
}


def real_records(path: Path) -> tuple[list[Rec], HashTables]:
    """Return the records and hash tables of a real trace of generation 1 or 2, by plain JSON."""
    data = path.read_bytes()
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    records: list[Rec] = []
    tables = HashTables()
    names = {"FH": tables.file, "HH": tables.host, "SH": tables.string}
    for line in text.decode().splitlines():
        if not line.strip() or line.strip() in "[]":
            continue
        fields = json.loads(line)
        if fields["ph"] not in ("M", 4):
            records.append(_real_record(fields))
        elif fields["name"] in names:
            names[fields["name"]].setdefault(fields["args"]["value"], fields["args"]["name"])
    return records, tables


def _real_record(fields: dict[str, Any]) -> Rec:
    args = dict(fields.get("args", {}))
    phase = _PHASES.get(fields["ph"], PHASE_OTHER)
    own = {name: args.pop(name, None) for name in ("ret", "offset", "count")}
    hhash, fhash = args.pop("hhash", ""), args.pop("fhash", "")
    return Rec(
        cat=fields["cat"],
        name=fields["name"],
        phase=phase,
        pid=fields["pid"],
        tid=fields["tid"],
        ts=fields.get("ts"),
        dur=fields.get("dur", 0),
        hhash=hhash,
        fhash=fhash,
        args={name: value for name, value in args.items() if isinstance(value, (int, float, str))}
        if phase in (PHASE_COUNTER, PHASE_AGGREGATED)
        else {},
        **own,
    )
