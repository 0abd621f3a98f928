"""The facts about a trace that travel between disk, parser, store and queries.

All are frozen: a change is a new value. None can be part of a cycle, so that the garbage collector
need not look at the hundreds of thousands that a store holds. Offsets are bytes; ``c_`` counts in
the file as it lies on disk, ``uc_`` in its text after inflating (for a plain trace both are the
same).
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = (
    "DEFAULT_INTERVAL_US",
    "GREATEST_BLOOM_RATE",
    "LEAST_BLOOM_RATE",
    "POSTED",
    "AggregationTier",
    "BadLine",
    "Ending",
    "FileStamp",
    "LineCounts",
    "ParseRequest",
    "ParsedTrace",
    "ResumePoint",
    "Row",
    "SegmentSummary",
    "Tail",
    "TierConfig",
    "TraceFacts",
    "TraceRecord",
)

#: Default width of a time bucket in microseconds, as in dftracer-utils.
DEFAULT_INTERVAL_US: Final = 5_000_000

#: The bounds of the share of values that a Bloom filter may claim wrongly.
LEAST_BLOOM_RATE: Final = 0.0001
GREATEST_BLOOM_RATE: Final = 0.5

#: Columns of events that may have postings, beside arguments (``args.NAME``); of the others all
#: values are known anyway.
POSTED: Final = ("ts", "dur", "ret", "offset", "count", "hhash", "fhash", "shash")

_ARGUMENT: Final = "args."
_NO_POSTINGS: Final = b',"postings":[]}'

#: How a finished trace ended: by the tracer's own marks, by silence, or cut off (killed writer).
Ending: TypeAlias = Literal["end", "silence", "cut"]

#: How the bytes of a trace end. ``complete``: at the end of a gzip member, or of a line of a plain
#: trace; ``open``: inside a member or line; ``empty``: no bytes yet; ``corrupt``: bytes that do not
#: inflate, with what came before them kept.
Tail: TypeAlias = Literal["complete", "open", "empty", "corrupt"]

#: One row for the store: column family, key, value.
Row: TypeAlias = tuple[str, bytes, bytes]


def _is_posted(name: str) -> bool:
    argument = name.removeprefix(_ARGUMENT)
    return name in POSTED or (name != argument != "" and "." not in argument)


def _column(name: str) -> str:
    """Return the one name of a column: some arguments are columns by themselves."""
    argument = name.removeprefix(_ARGUMENT)
    return argument if argument in POSTED and argument not in ("ts", "dur", "shash") else name


class FileStamp(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What ``stat`` says of a file. Two equal stamps at one path are taken as equal contents."""

    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int


class AggregationTier(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The configuration of an aggregation tier; it is part of the tier's identity."""

    interval_us: int = DEFAULT_INTERVAL_US
    group_keys: tuple[str, ...] = ()
    custom_metric_fields: tuple[str, ...] = ()
    percentiles: bool = False
    bucket_by: Literal["midpoint", "start"] = "midpoint"


class TierConfig(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which tiers a root has, or a set of tiers that was built together.

    ``checkpoints`` stands for tier 1 with the chunks' statistics. ``chunk_bytes`` is the size of a
    chunk of text. ``bloom_rate`` is the greatest share of values that a Bloom filter may claim
    wrongly, ``arguments`` names the arguments of events that have filters of their own,
    ``postings`` the columns of events of which all values are kept by chunk.
    """

    checkpoints: bool = True
    bloom: bool = True
    manifest: bool = True
    aggregation: AggregationTier | None = AggregationTier()
    chunk_bytes: int = 32 << 20
    bloom_rate: float = 0.01
    arguments: tuple[str, ...] = ()
    postings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not LEAST_BLOOM_RATE <= self.bloom_rate <= GREATEST_BLOOM_RATE:
            raise ValueError(
                f"bloom_rate must be from {LEAST_BLOOM_RATE} to {GREATEST_BLOOM_RATE},"
                f" not {self.bloom_rate}"
            )
        for name in self.arguments:
            if not name or "." in name:
                raise ValueError(f"arguments must be names without a dot, not {name!r}")
        for name in self.postings:
            if not _is_posted(name):
                raise ValueError(
                    f"postings must be {', '.join(POSTED)} or args.NAME without a further dot, "
                    f"not {name!r}"
                )

    def normal(self) -> TierConfig:
        """Return the form in which configurations that build the same are equal: blooms and
        manifest need the chunks that checkpoints describe, and nothing else has a size of them.
        Postings go with both, so that one set knows all of its chunks."""
        if self.bloom:
            arguments = tuple(sorted(set(self.arguments)))
            postings = tuple(sorted(map(_column, set(self.postings)))) if self.manifest else ()
            return msgspec.structs.replace(
                self,
                checkpoints=True,
                arguments=arguments,
                postings=tuple(dict.fromkeys(postings)),
            )
        chunks = self.checkpoints or self.manifest
        return TierConfig(
            checkpoints=chunks,
            bloom=False,
            manifest=self.manifest,
            aggregation=self.aggregation,
            chunk_bytes=self.chunk_bytes if chunks else TierConfig().chunk_bytes,
        )

    def digest(self) -> bytes:
        """Return eight bytes that differ between configurations."""
        described = msgspec.json.encode(self)
        if not self.postings:  # the last field: as in stores from before there was any
            described = described.removesuffix(_NO_POSTINGS) + b"}"
        return hashlib.blake2b(described, digest_size=8).digest()


class ResumePoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where reading a growing trace goes on: everything before it is in closed segments.

    ``c_offset``/``uc_offset`` is a place where inflating can begin (the start of a gzip member, or
    of a line of a plain trace), ``line_offset >= uc_offset`` the first byte of text that no closed
    segment holds, ``line`` the number of lines before it. ``head`` and ``tail`` are BLAKE2b digests
    (16 bytes) of the file's first ``head_bytes`` bytes and of up to 4096 bytes before ``c_offset``:
    where they no longer match, the trace was replaced and is read from its beginning.
    """

    c_offset: int
    uc_offset: int
    line_offset: int
    line: int
    head: bytes
    head_bytes: int
    tail: bytes


class TraceFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the records read so far say of the whole trace; a later segment starts from them.

    ``generation`` is ``""`` until an event was seen. ``end_seen``: an ``end`` event was read.
    ``announced``: its ``num_events``, where Decision 11 of the semantics can check it.
    ``bracket_closed``: the closing ``]`` line of v0/v1 was read.
    """

    generation: Literal["", "v0", "v1.0", "v1", "v2"] = ""
    time_metric: Literal["US", "NS", "MS", "SEC"] = "US"
    end_seen: bool = False
    announced: int | None = None
    bracket_closed: bool = False


class LineCounts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Every line of a segment is counted once: ``total == ok + skipped + bad``.

    ``ok`` lines hold records; ``skipped`` are blank or brackets; ``bad`` do not parse. ``repaired``
    counts those of ``ok`` whose text was not valid UTF-8 and was decoded with replacement, ``fast``
    those that the compiled kernel read.
    """

    total: int = 0
    ok: int = 0
    skipped: int = 0
    bad: int = 0
    repaired: int = 0
    fast: int = 0

    def __add__(self, other: LineCounts) -> LineCounts:
        return LineCounts(
            total=self.total + other.total,
            ok=self.ok + other.ok,
            skipped=self.skipped + other.skipped,
            bad=self.bad + other.bad,
            repaired=self.repaired + other.repaired,
            fast=self.fast + other.fast,
        )


class BadLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a line that does not parse begins, its number (from 0), and its first bytes."""

    uc_offset: int
    line: int
    sample: bytes


class SegmentSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one parse of the text ``uc_begin..uc_end`` of a trace contributed.

    ``provisional``: the text of the open member (or an unfinished last line), dropped and read anew
    when the trace grows. ``records`` are all JSON objects with ``ph``, of which ``complete_events``
    are complete events (``ph`` "X" or 1), ``metadata`` metadata, the rest counters, aggregated
    records and other phases. ``min_bucket`` is the smallest bucket of any aggregated row.
    """

    segment_id: int
    provisional: bool
    c_begin: int
    c_end: int
    uc_begin: int
    uc_end: int
    first_line: int
    lines: LineCounts
    records: int
    complete_events: int
    metadata: int
    chunks: int
    min_bucket: int | None = None
    bad_lines: tuple[BadLine, ...] = ()
    warnings: tuple[str, ...] = ()


class ParseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Read one trace: from its beginning, or from *resume* where it only grew.

    Rows of complete members (plain: complete lines) get *segment_id*, those of the open member's
    complete lines *provisional_id*. *run* is how many ids each of the two stands for, with itself:
    what holds very many distinct texts is cut into as many segments. With *until*, where a complete
    member ends, the trace is read as if it ended there, and the line that this cuts is left to
    whoever reads on from ``ParsedTrace.resume``.
    """

    path: bytes
    segment_id: int
    provisional_id: int
    run: int = 1
    tiers: TierConfig
    resume: ResumePoint | None = None
    until: int | None = None
    facts: TraceFacts = TraceFacts()


class ParsedTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a trace gave. ``resumed`` is false where it was read from its beginning.

    ``segments`` are in the order of the text, the closed ones before the provisional ones; most
    often there is at most one of each. ``facts`` are those of the closed text, ``final_facts``
    include the provisional text. ``resume`` is ``None`` only for an empty trace. ``rows`` is empty
    where they were handed on as the segments ended.
    """

    stamp: FileStamp
    resumed: bool
    segments: tuple[SegmentSummary, ...]
    resume: ResumePoint | None
    facts: TraceFacts
    final_facts: TraceFacts
    tail: Tail
    reason: str = ""
    rows: tuple[Row, ...] = ()


class TraceRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The commit record of one tier set of a trace: the segments it names are visible.

    A trace has one or more sets, each with its own record; ``tiers`` says what its segments hold,
    ``file_id`` is the same in all. ``path`` is relative to the root, as the file system's bytes.
    ``version`` counts the commits of this set, ``generation`` is the store's at the last of them. A
    set is finished when ``ending`` is set. ``quarantined`` names why it is not parsed any more.
    """

    file_id: int
    path: bytes
    version: int
    generation: int
    stamp: FileStamp
    tiers: TierConfig
    segments: tuple[SegmentSummary, ...] = ()
    resume: ResumePoint | None = None
    facts: TraceFacts = TraceFacts()
    final_facts: TraceFacts = TraceFacts()
    tail: Tail = "empty"
    ending: Ending | None = None
    reason: str = ""
    quarantined: str = ""

    @property
    def lines(self) -> LineCounts:
        """The line counts of all segments together."""
        if len(self.segments) == 1:  # as nearly all traces of a large root have
            return self.segments[0].lines
        return sum((segment.lines for segment in self.segments), LineCounts())

    @property
    def complete_events(self) -> int:
        """The number of complete events in all segments."""
        if len(self.segments) == 1:
            return self.segments[0].complete_events
        return sum(segment.complete_events for segment in self.segments)
