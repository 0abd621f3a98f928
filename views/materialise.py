"""View sets made just in time: what is not on disk yet is built from the traces, and only that.

Everything is asked of a :class:`ViewSource`. What is built is written to the selection's folder;
asking the same again finds it there and writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import count
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dftindexd.index.errors import NotWatchedError, QueryError
from dftindexd.index.query.event_fields import Event
from dftindexd.views.block_facts import FACTS, BlockFacts, facts_of_segment, read_field
from dftindexd.views.directory import blocks_table
from dftindexd.views.entries import BlockOf, log_entries, measures, problem_entries
from dftindexd.views.freshness import (
    SLICE,
    BlockRef,
    Order,
    Partition,
    Spec,
    by_event_time,
    by_insert_order,
    judge,
)
from dftindexd.views.names import did_you_mean
from dftindexd.views.net_spans import net_spans
from dftindexd.views.partition_files import PartitionFolder, ViewFiles
from dftindexd.views.problems import Problem
from dftindexd.views.reading import events_of_chunks
from dftindexd.views.schema import ViewSchema
from dftindexd.views.sets import (
    ASYNC_EVENTS,
    BLOCKS,
    LOG_ENTRIES,
    NET_SPANS,
    OTEL_SPANS,
    THREAD_SPANS,
    VIEW_SETS,
)
from dftindexd.views.source import Made, Selection, ViewSource
from dftindexd.views.spans import (
    Calls,
    async_events,
    file_hashes,
    otel_spans,
    root_span,
    thread_spans,
)

__all__ = ("GLOBAL", "Views")

#: The id of the one instance that has the rows of all processes.
GLOBAL: Final = "global"

#: So many segments' chunks are asked for at once: each chunk can have a window of 32 KiB.
_SEGMENTS_AT_ONCE: Final = 64
_ALL: Final = "all"
_SEGMENTS_KEY: Final = b"segments"

_PID, _TID, _HHASH = (read_field(name) for name in ("pid", "tid", "hhash"))

#: A row of ``blocks``.
_Block = dict[str, Any]

#: Which blocks have rows of a set, by the column that counts them.
_COUNTED: Final = {"log_entries": "nb_logs", "measures": "nb_counters"}
_NEEDED: Final = (
    *("block_id", "stream_id", "process_id", "begin_ticks", "end_ticks", "insert_time"),
    *("nb_calls", "nb_counters", "nb_logs", "segment_id", "chunk", "host_hashes", "first_line"),
    *("streams.tid", "streams.thread_name", "processes.pid", "processes.start_ticks"),
)
_SPANS: Final = frozenset((THREAD_SPANS.name, ASYNC_EVENTS.name, NET_SPANS.name, OTEL_SPANS.name))


class Views:
    """The view sets of one selection. ``used`` are the files below ``folder`` that were read or
    written."""

    def __init__(self, selection: Selection, source: ViewSource) -> None:
        self._selection = selection
        self._source = source
        self._files = ViewFiles(selection.folder)
        self._digest = selection.digest()
        #: What names the rows of all of the selection among those of other selections.
        self._place = _ALL if selection.whole else self._digest
        self.folder = selection.folder
        self._blocks: pa.Table | None = None
        self._wrote = False
        self.used: list[str] = []

    # -- blocks -------------------------------------------------------------------------------

    def blocks(self) -> pa.Table:
        """Return the set ``blocks``."""
        if self._blocks is None:
            self._blocks = self._read_blocks()
        return self._blocks

    def _read_blocks(self) -> pa.Table:
        segments = sorted(one for trace in self._selection.traces for one in trace.segments)
        if not segments:
            return BLOCKS.arrow.empty_table()
        wanted = Partition(
            segments[0], segments[-1] + 1, len(segments), BLOCKS.digest, self._digest
        )
        folder = self._files.instance(BLOCKS.name, self._place)
        existing = folder.partitions()
        if wanted not in existing:
            table = blocks_table(self._selection, self._facts(segments), self._source.names)
            self._write(folder, wanted, table)
            folder.retire(existing)
        path = folder.file(wanted)
        self.used.append(path)
        return pq.read_table(path, partitioning=None)

    def _facts(self, segments: Sequence[int]) -> Iterator[BlockFacts]:
        """Yield the facts of *segments*; those that are not on disk yet are read from the traces,
        and written."""
        folder = self._files.instance(FACTS.name, _ALL)
        existing = [one for one in folder.partitions() if one.schema == FACTS.digest]
        windows: dict[int, list[int]] = defaultdict(list)
        for segment in segments:
            windows[segment // SLICE].append(segment)
        for window, wanted in windows.items():
            begin = window * SLICE
            before = [one for one in existing if one.begin == begin]
            yield from self._window(folder, before, begin, wanted)
        outdated = [one for one in folder.partitions() if one.schema != FACTS.digest]
        folder.retire(outdated)

    def _window(
        self, folder: PartitionFolder, before: list[Partition], begin: int, wanted: list[int]
    ) -> Iterator[BlockFacts]:
        tables = [pq.read_table(folder.file(one), partitioning=None) for one in before]
        known = {one: table for table in tables for one in _segments_of(table)}
        missing = [one for one in wanted if one not in known]
        if self._selection.whole:
            known = {one: known[one] for one in wanted if one in known}
        kept = [
            table.filter(pc.is_in(table["segment"], pa.array(own, pa.int64())))
            for table in tables
            if (own := [one for one, holder in known.items() if holder is table])
        ]
        if missing:
            built = FACTS.rows(facts.row() for facts in self._scan(missing))
            whole = pa.concat_tables([table.replace_schema_metadata() for table in (*kept, built)])
            held = sorted([*known, *missing])
            metadata = {_SEGMENTS_KEY: msgspec.json.encode(held)}
            spec = Spec(tuple(BlockRef("", segment, 1) for segment in held))
            partition = Partition(begin, begin + SLICE, len(held), FACTS.digest, spec.source())
            self._write(folder, partition, whole.replace_schema_metadata(metadata))
            folder.retire(one for one in before if one != partition)
            kept = [whole]
        asked = set(wanted)
        for table in kept:
            for row in table.to_pylist():
                if row["segment"] in asked:
                    yield BlockFacts.of_row(row)

    def _scan(self, segments: Sequence[int]) -> Iterator[BlockFacts]:
        step = self._counting(FACTS.name, sum(self._chunks[segment] for segment in segments))
        for some in _parts(segments):
            for given in self._source.chunks(some):
                yield from facts_of_segment(self._selection.root, given, step)

    @cached_property
    def _chunks(self) -> dict[int, int]:
        """How many chunks each segment has."""
        traces = self._selection.traces
        return {
            segment: chunks
            for trace in traces
            for segment, chunks in zip(trace.segments, trace.chunks, strict=True)
        }

    @cached_property
    def _places(self) -> dict[int, int]:
        """The place among the traces of that which has a segment."""
        traces = enumerate(self._selection.traces)
        return {segment: at for at, trace in traces for segment in trace.segments}

    def _counting(self, view: str, chunks: int) -> Callable[[], None]:
        """Return what is to be called for each of *chunks* that are read for a view."""
        done = count(1)
        self._source.note(Made(view, 0, chunks))
        return lambda: self._source.note(Made(view, next(done), chunks))

    # -- the aggregation tier -----------------------------------------------------------------

    def aggregated(self, name: str) -> str:
        """Return the file with the rows of a set of the aggregation tier."""
        key = self._source.aggregated_key(name)
        wanted = Partition(0, 1, 0, VIEW_SETS[name].digest, key)
        folder = self._files.instance(name, self._place)
        existing = folder.partitions()
        if wanted not in existing:
            self._write(folder, wanted, self._source.table(name))
            folder.retire(existing)
        path = folder.file(wanted)
        self.used.append(path)
        return path

    # -- instances ----------------------------------------------------------------------------

    def instance(self, name: str, instance: str) -> tuple[list[str], pa.Table]:
        """Return an instance of a view set: Parquet files, and rows that come before theirs.

        :raises QueryError: the set is none, or has no such instances.
        :raises NotWatchedError: no process or stream has that id.
        """
        schema = _known(name, instance)
        blocks = self._of_instance(schema, instance)
        counted = _COUNTED.get(name, "nb_calls")
        refs = {_ref_id(row): row for row in blocks if row[counted]}
        order: Order = "insert" if name in _COUNTED else "event"
        specs = _specs(refs.values(), counted, order)
        if name == NET_SPANS.name and specs:
            # What a connection moved is counted over all of it.
            specs = [Spec(tuple(block for spec in specs for block in spec.blocks))]
        folder = self._files.instance(name, f"{self._selection.viewer}\n{instance}")
        verdict = judge(specs, folder.partitions(), schema.digest, order, ("", self._digest))
        partitions = list(verdict.fresh)
        for spec in verdict.build:
            rows = [refs[block.id] for block in spec.blocks]
            table, own = self._build(name, instance, rows)
            source = spec.source("" if own else self._digest)
            partition = Partition(spec.begin, spec.end, spec.objects, schema.digest, source)
            self._write(folder, partition, table)
            partitions.append(partition)
        folder.retire(one for one in verdict.retire if one not in partitions)
        files = [folder.file(one) for one in sorted(partitions)]
        self.used += files
        if schema is LOG_ENTRIES:
            return files, self._problems(instance)
        return files, _first_rows(schema, list(refs.values()))

    def _problems(self, instance: str) -> pa.Table:
        """Return the log entries of what cannot be read, which records say. They belong to the
        thread that a trace begins with, at or after the block before them."""
        traces = self._selection.traces
        of_trace: dict[int, list[_Block]] = {
            at: [] for at, trace in enumerate(traces) if trace.problems
        }
        for block in _rows_of(self.blocks()) if of_trace else ():
            at = self._places[block["segment_id"]]
            if at in of_trace:
                of_trace[at].append(block)
        found: list[tuple[Problem, BlockOf]] = []
        for at, blocks in of_trace.items():
            own = [one for one in blocks if one["stream_id"] == blocks[0]["stream_id"]]
            if instance != GLOBAL and not (own and own[0]["process_id"] == instance):
                continue
            for problem in traces[at].problems:
                before = [block for block in own if block["first_line"] <= problem.line]
                written = traces[at].written
                nowhere = BlockOf("", "", "", written, written // 1000)
                found.append((problem, _block_of((before or own)[-1]) if own else nowhere))
        return problem_entries(found)

    def finish(self) -> None:
        """Note what was used; where anything was written, make room."""
        self._files.note_use(self.used)
        if self._wrote:
            self._files.evict(self.used)

    def _write(self, folder: PartitionFolder, partition: Partition, table: pa.Table) -> None:
        folder.write(partition, table)
        self._wrote = True

    def _of_instance(self, schema: ViewSchema, instance: str) -> list[_Block]:
        blocks = self.blocks()
        if instance == GLOBAL and "global" in schema.instances:
            return _rows_of(blocks)
        kind = "stream" if "stream" in schema.instances else "process"
        found = blocks.filter(pc.equal(blocks[f"{kind}_id"], pa.scalar(instance)))
        if not found.num_rows:
            raise NotWatchedError(
                f"no {kind} {instance!r}",
                f"SELECT {kind}_id FROM {kind}{'e' * (kind == 'process')}s names all",
            )
        return _rows_of(found)

    def _build(self, name: str, instance: str, blocks: Sequence[_Block]) -> tuple[pa.Table, bool]:
        """Return the rows of *blocks*, and whether they depend on no other trace than their own."""
        if name not in _SPANS:
            make = log_entries if name == "log_entries" else measures
            read = self._events(name, blocks)
            events = ((event, _block_of(block)) for event, block, _ in read)
            return make(events), True
        threads: dict[str, Calls] = {}
        for event, block, trace in self._events(name, blocks):
            stream = block["stream_id"]
            thread = threads.get(stream)
            if thread is None:
                thread = threads[stream] = Calls(stream)
            thread.add(event, trace, block["block_id"])
        calls = list(threads.values())
        if name == OTEL_SPANS.name:
            return otel_spans(instance, calls), True
        hashes = file_hashes(calls)
        resolved = self._source.names([(trace, "file", hash_) for trace, hash_ in hashes])
        names = dict(zip(hashes, (one.name for one in resolved), strict=True))
        own = all(one.own for one in resolved)
        if name == ASYNC_EVENTS.name:
            return async_events(calls, names), own
        if name == NET_SPANS.name:
            return net_spans(instance, calls, names), own
        return thread_spans(calls[0], names), own

    def _events(self, view: str, blocks: Sequence[_Block]) -> Iterator[tuple[Event, _Block, int]]:
        """Yield the events of *blocks*, each with its block and its trace's place, for a *view*."""
        by_segment: dict[int, dict[int, dict[tuple[str, int, int], _Block]]] = defaultdict(dict)
        for block in blocks:
            chunk = by_segment[block["segment_id"]].setdefault(block["chunk"], {})
            for hhash in block["host_hashes"]:
                chunk[hhash, block["processes.pid"], block["streams.tid"]] = block
        segments = [
            segment
            for trace in self._selection.traces
            for segment in trace.segments
            if segment in by_segment
        ]
        step = self._counting(view, sum(map(len, by_segment.values())))
        for some in _parts(segments):
            for given in self._source.chunks(some):
                wanted = by_segment[given.segment]
                read = events_of_chunks(self._selection.root, given, step, wanted)
                for number, _, events in read:
                    chunk = wanted[number]
                    for event in events:
                        key = _HHASH(event) or "", _PID(event), _TID(event)
                        found = chunk.get(key)
                        if found is not None:
                            yield event, found, self._places[given.segment]


def _known(name: str, instance: str) -> ViewSchema:
    schema = VIEW_SETS.get(name)
    if schema is None:
        known = [one.name for one in VIEW_SETS.values() if one.instances]
        raise QueryError(
            f"view set {name} not found",
            f"{did_you_mean(name, known)}the sets with instances are {', '.join(known)}",
        )
    if not schema.instances:
        raise QueryError(f"{name} has no instances", f"ask it as a table: SELECT * FROM {name}")
    if instance == GLOBAL and GLOBAL not in schema.instances:
        raise QueryError(
            f"{name} has no global instance", f"give the id of a {schema.instances[0]}"
        )
    return schema


def _specs(blocks: Iterable[_Block], counted: str, order: Order) -> list[Spec]:
    refs = [
        BlockRef(
            _ref_id(block),
            block["segment_id"],
            block[counted],
            block["begin_ticks"] or 0,
            block["end_ticks"] or 0,
        )
        for block in blocks
    ]
    return by_insert_order(refs) if order == "insert" else by_event_time(refs)


def _rows_of(blocks: pa.Table) -> list[_Block]:
    at = blocks.schema.get_field_index("insert_time")
    # As numbers: Python has no time in nanoseconds.
    numbers = blocks.set_column(at, "insert_time", blocks["insert_time"].cast(pa.int64()))
    return numbers.select(list(_NEEDED)).to_pylist()


def _first_rows(schema: ViewSchema, blocks: Sequence[_Block]) -> pa.Table:
    """Return the row of a thread itself, which changes whenever it grows; else none."""
    if schema is not THREAD_SPANS or not blocks:
        return schema.arrow.empty_table()
    begin = min(block["begin_ticks"] for block in blocks)
    end = max(block["end_ticks"] for block in blocks)
    return root_span(blocks[0]["streams.thread_name"], begin, end)


def _ref_id(block: _Block) -> str:
    """Return what names a block among those of all processes."""
    return f"{block['block_id']} {block['stream_id']}"


def _block_of(block: _Block) -> BlockOf:
    return BlockOf(
        block["block_id"],
        block["stream_id"],
        block["process_id"],
        block["insert_time"],
        block["processes.start_ticks"],
    )


def _segments_of(table: pa.Table) -> list[int]:
    metadata = table.schema.metadata or {}
    return msgspec.json.decode(metadata[_SEGMENTS_KEY], type=list[int])


def _parts(segments: Sequence[int]) -> Iterable[list[int]]:
    for first in range(0, len(segments), _SEGMENTS_AT_ONCE):
        yield list(segments[first : first + _SEGMENTS_AT_ONCE])
