"""What the tests of reading share: parsing files and lines, totals, and an independent count."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from dftindexd.index.model import (
    AggregationTier,
    LineCounts,
    ParsedTrace,
    ParseRequest,
    ResumePoint,
    TierConfig,
    TraceFacts,
)
from dftindexd.index.segment import parse_trace
from dftindexd.index.trace.columns import Interner
from dftindexd.index.trace.decode import BlockDecoder, DecodedBlock
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.lines import Lines
from dftindexd.index.trace.names import NameCollector

CLOSED_ID = 11
PROVISIONAL_ID = 12


def event(name: str = "read", ts: int = 1_000_000, **fields: object) -> bytes:
    """Return the line of a complete v2 event, without its newline."""
    args = "".join(f',"{key}":{value}' for key, value in fields.items())
    return (
        f'{{"id":1,"name":"{name}","cat":"POSIX","type":3,"pid":7,"tid":8,"ts":{ts},"dur":5,"ph":1,'
        f'"args":{{"hhash":"00000000000000aa"{args}}}}}'
    ).encode()


def lines_of(*lines: bytes) -> bytes:
    """Return the text of some lines."""
    return b"".join(line + b"\n" for line in lines)


def gzip_member(text: bytes) -> bytes:
    """Return a whole gzip member."""
    return gzip.compress(text, mtime=0)


class Decoded:
    """Some lines decoded on their own, with everything that was gathered."""

    def __init__(
        self, text: bytes, wanted: tuple[str, ...] = (), facts: TraceFacts | None = None
    ) -> None:
        self.texts = Interner()
        self.collector = FactsCollector(facts or TraceFacts())
        self.names = NameCollector()
        decoder = BlockDecoder(self.texts, self.collector, self.names, wanted)
        self.block: DecodedBlock = decoder.decode(Lines(text, 0, 0))

    @property
    def facts(self) -> TraceFacts:
        """The facts of the lines."""
        return self.collector.facts()

    def column(self, name: str) -> list[int]:
        """Return a numeric column."""
        values: list[int] = getattr(self.block.columns, name).tolist()
        return values

    def text_column(self, name: str) -> list[str]:
        """Return a column of codes as texts."""
        return [self.texts.texts[code] for code in self.column(name)]

    def arguments(self) -> list[tuple[int, str, object]]:
        """Return the sparse arguments as row, key and text or float."""
        columns = self.block.columns
        return [
            (row, self.texts.texts[key], real if text < 0 else self.texts.texts[text])
            for row, key, text, real in zip(
                columns.arg_row.tolist(),
                columns.arg_key.tolist(),
                columns.arg_text.tolist(),
                columns.arg_float.tolist(),
                strict=True,
            )
        ]


def parse(
    path: Path,
    *,
    resume: ResumePoint | None = None,
    facts: TraceFacts | None = None,
    chunk_bytes: int = 32 << 20,
    aggregation: AggregationTier | None = None,
) -> ParsedTrace:
    """Parse the trace at *path*."""
    return parse_trace(
        ParseRequest(
            path=os.fsencode(path),
            segment_id=CLOSED_ID,
            provisional_id=PROVISIONAL_ID,
            tiers=TierConfig(chunk_bytes=chunk_bytes, aggregation=aggregation),
            resume=resume,
            facts=facts or TraceFacts(),
        )
    )


def total_lines(parses: Iterable[ParsedTrace]) -> LineCounts:
    """Return the line counts of all segments of all *parses*."""
    counts = (segment.lines for parsed in parses for segment in parsed.segments)
    return sum(counts, LineCounts())


def complete_events(parsed: ParsedTrace) -> int:
    """Return the number of complete events in all segments."""
    return sum(segment.complete_events for segment in parsed.segments)


def inflated(data: bytes) -> bytes:
    """Return the text of a trace's bytes by the standard library, up to where they end."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    text = b""
    while data:
        inflater = zlib.decompressobj(31)
        text += inflater.decompress(data)
        if not inflater.eof:
            break
        data = inflater.unused_data
    return text
