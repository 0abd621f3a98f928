"""One segment in the making: its lines become columns, and its columns every tier's rows."""

from __future__ import annotations

from typing import Final, NamedTuple

from dftindexd.index.model import BadLine, LineCounts, Row, SegmentSummary, TierConfig
from dftindexd.index.tiers.aggregation import AggregationBuilder
from dftindexd.index.tiers.checkpoints import Checkpoint, checkpoint_rows
from dftindexd.index.tiers.chunk_tiers import ChunkTiers
from dftindexd.index.tiers.hash_tables import hash_table_rows
from dftindexd.index.tiers.postings import posted_arguments
from dftindexd.index.tiers.system_metrics import SystemMetricsBuilder
from dftindexd.index.trace.columns import Interner
from dftindexd.index.trace.decode import BlockDecoder, DecodedBlock, wanted_arguments
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.kernel import Kernel
from dftindexd.index.trace.lines import Lines
from dftindexd.index.trace.names import NameCollector
from dftindexd.index.trace.resume import Place

__all__ = ("MAX_BAD_LINES", "Segment", "SegmentBuilder")

#: How many bad lines of a segment are kept to show; all are counted.
MAX_BAD_LINES: Final = 100


class Segment(NamedTuple):
    """A finished segment and what the store is to hold of it."""

    summary: SegmentSummary
    rows: list[Row]


class _OpenChunk(NamedTuple):
    uc_offset: int
    first_line: int


class SegmentBuilder:
    """Takes a segment's lines in order, and where its chunks end.

    ``uc_end`` and ``line`` are the end of the text taken so far and the number of the next line,
    ``held`` the number of distinct texts, names and groups, which memory goes by.
    """

    def __init__(
        self,
        segment_id: int,
        *,
        provisional: bool,
        begin: Place,
        uc_begin: int,
        first_line: int,
        tiers: TierConfig,
        facts: FactsCollector,
        use_kernel: bool = True,
    ) -> None:
        self._segment_id = segment_id
        self._provisional = provisional
        self._c_begin = begin.c_offset
        self._uc_begin = uc_begin
        self._first_line = first_line
        self.uc_end = uc_begin
        self.line = first_line
        self.held = 0
        self._texts = Interner()
        self._names = NameCollector()
        self._arguments = (
            *(tiers.arguments if tiers.bloom else ()),
            *posted_arguments(tiers.postings),
        )
        self._is_posted = bool(tiers.postings)
        wanted = wanted_arguments(tiers.aggregation, self._arguments)
        self._decoder = BlockDecoder(self._texts, facts, self._names, wanted)
        config = tiers.aggregation
        self._facts = facts
        self._config = config
        self._use_kernel = use_kernel
        self._kernel: Kernel | None = None
        self._aggregation = AggregationBuilder(config) if config else None
        self._system_metrics = SystemMetricsBuilder(config) if config else None
        self._has_checkpoints = tiers.checkpoints
        self._chunk_tiers = ChunkTiers(tiers, self._texts, facts)
        self._chunk = _OpenChunk(uc_begin, first_line)
        self._chunks: list[Checkpoint] = []
        self._counts = LineCounts()
        self._bad_lines: list[BadLine] = []
        self._notes: list[str] = []
        self._records = 0
        self._is_cut = False  # whether the last line has no newline
        self._complete = 0
        self._metadata = 0
        self._without_phase = 0
        self._clamped = 0

    @property
    def chunk_begin(self) -> int:
        """Where the text of the chunk begins that is being filled."""
        return self._chunk.uc_offset

    def add_note(self, text: str) -> None:
        """Take something that whoever looks at the trace should know."""
        self._notes.append(text)

    def add_oversized(self, bad: BadLine, uc_end: int) -> None:
        """Take a line that was too long to be read, and where it ends."""
        self._counts += LineCounts(total=1, bad=1)
        self._keep_bad([bad])
        self.uc_end = uc_end
        self._is_cut = False
        self.line = bad.line + 1

    def add_lines(self, lines: Lines) -> int:
        """Take a block of whole lines, all of the current chunk; return how many they are."""
        self.line = lines.line
        for block in self._decode(lines):
            self._count(block)
            self._add(block)
            self.line += block.lines.total
        self.uc_end = lines.uc_offset + len(lines.text)
        self._is_cut = not lines.text.endswith(b"\n")
        self.held = self._held()
        return self.line - lines.line

    def _held(self) -> int:
        held = len(self._texts) + self._names.held + self._chunk_tiers.held
        held += self._kernel.held if self._kernel else 0
        builders = (self._aggregation, self._system_metrics)
        return held + sum(builder.held for builder in builders if builder)

    def _decode(self, lines: Lines) -> tuple[DecodedBlock, ...]:
        if not self._use_kernel:
            return (self._decoder.decode(lines),)
        if self._kernel is None:  # many a builder never gets a line
            shared = (self._texts, self._facts, self._names, self._decoder)
            self._kernel = Kernel(
                *shared, self._config, self._arguments, grouped=not self._is_posted
            )
        return self._kernel.decode(lines)

    def _add(self, block: DecodedBlock) -> None:
        if self._aggregation and self._system_metrics:
            self._aggregation.add(block.columns, self._texts)
            self._system_metrics.add(block.columns, self._texts)
        self._chunk_tiers.add(block)

    def _count(self, block: DecodedBlock) -> None:
        self._counts += block.lines
        self._keep_bad(block.bad_lines)
        self._records += len(block.columns) + block.grouped + block.metadata
        self._complete += block.complete
        self._metadata += block.metadata
        self._without_phase += block.without_phase
        self._clamped += block.clamped

    def _keep_bad(self, bad: list[BadLine]) -> None:
        self._bad_lines += bad[: MAX_BAD_LINES - len(self._bad_lines)]

    def end_chunk(self, begin: Place, c_end: int) -> None:
        """End the chunk here, if it has any lines.

        To read it, inflating begins at *begin*; its last byte lies before byte *c_end* of the file.
        """
        lines = self.line - self._chunk.first_line
        if not lines:
            return
        self._chunks.append(
            Checkpoint(
                uc_offset=self._chunk.uc_offset,
                uc_size=self.uc_end - self._chunk.uc_offset,
                c_offset=begin.c_offset,
                c_size=c_end - begin.c_offset,
                skip=self._chunk.uc_offset - begin.uc_offset,
                first_line=self._chunk.first_line,
                num_lines=lines,
                bits=begin.bits,
                window=begin.window,
            )
        )
        self._chunk = _OpenChunk(self.uc_end, self.line)
        if self._kernel:
            self._chunk_tiers.add_groups(self._kernel.end_chunk())
        self._chunk_tiers.end_chunk(lines - self._is_cut)

    def finish(self) -> Segment | None:
        """Return the segment, ``None`` if it has no lines; its last chunk must be ended."""
        if not self._chunks:
            return None
        last = self._chunks[-1]
        if self._kernel and self._aggregation:
            self._aggregation.add_groups(self._kernel.groups(), self._texts)
        if self._kernel:  # its tables may be larger than all rows, which are made next
            self._kernel.close()
            self._kernel = None
        summary = SegmentSummary(
            segment_id=self._segment_id,
            provisional=self._provisional,
            c_begin=self._c_begin,
            c_end=last.c_offset + last.c_size,
            uc_begin=self._uc_begin,
            uc_end=self.uc_end,
            first_line=self._first_line,
            lines=self._counts,
            records=self._records,
            complete_events=self._complete,
            metadata=self._metadata,
            chunks=len(self._chunks),
            min_bucket=self._min_bucket(),
            bad_lines=tuple(self._bad_lines),
            warnings=tuple(self._warnings()),
        )
        return Segment(summary, self._rows())

    def _rows(self) -> list[Row]:
        segment_id, texts = self._segment_id, self._texts
        rows = checkpoint_rows(segment_id, self._chunks) if self._has_checkpoints else []
        rows += hash_table_rows(segment_id, self._names.tables)
        rows += self._chunk_tiers.rows(segment_id)
        for builder in (self._aggregation, self._system_metrics):
            if builder:
                rows += builder.rows(segment_id, texts)
        return rows

    def _min_bucket(self) -> int | None:
        builders = (self._aggregation, self._system_metrics)
        buckets = [builder.min_bucket for builder in builders if builder]
        return min((bucket for bucket in buckets if bucket is not None), default=None)

    def _warnings(self) -> list[str]:
        counted = {
            "records without ph ignored": self._without_phase,
            "numbers out of range clamped": self._clamped,
        }
        return [*self._notes, *(f"{what}: {count}" for what, count in counted.items() if count)]
