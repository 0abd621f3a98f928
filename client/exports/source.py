"""What exports are made of: rows of view sets, asked of a daemon some at a time.

Each statement is answered in one generation of the store. Where what was chosen grew or went
between two of them, the warnings say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from typing import Final, NamedTuple

import pyarrow as pa

from dftindexd.client.exports.statements import (
    COUNTERS,
    INSTANCES,
    PART,
    Choice,
    InstanceSet,
    Part,
    Weight,
    blocks_statement,
    grouped,
    instances_statement,
    one_of,
    parts,
    table_statement,
)
from dftindexd.client.reading import sql_request
from dftindexd.client.sync_client import Client
from dftindexd.protocol.errors import NotFoundError

__all__ = ("Advance", "Process", "Source", "Stream")

#: Told how many rows have come, and of how many, None where that is not known.
Advance = Callable[[int, int | None], None]

_MOST_ROWS: Final = 100_000_000
#: The row of the thread itself is no call.
_NO_THREAD: Final = "id <> -1"


class Process(NamedTuple):
    """A process, as the view set ``processes`` has it; ``start`` is in nanoseconds."""

    id: str
    pid: int
    exe: str
    cmd: str
    host: str
    version: str
    start: int


class Stream(NamedTuple):
    """A thread of a process; ``begin`` and ``end``, in nanoseconds, are of its chosen blocks."""

    id: str
    process: Process
    tid: int
    name: str
    begin: int
    end: int


class _Block(NamedTuple):
    """A row of ``blocks``, with what it says of its process and thread; texts are "" for none."""

    start: int
    process_id: str
    tid: int
    stream_id: str
    begin: int
    end: int
    calls: int
    counters: int
    pid: int
    exe: str
    cmd: str
    host: str
    version: str
    thread: str

    def process(self) -> Process:
        return Process(
            self.process_id, self.pid, self.exe, self.cmd, self.host, self.version, self.start
        )


class Source:
    """The rows of one export. ``rows`` counts those that were given."""

    def __init__(self, client: Client, choice: Choice, advance: Advance) -> None:
        self._client = client
        self._choice = choice
        self._advance = advance
        self._blocks: list[_Block] = []
        self._generations: set[int] = set()
        self._warnings: dict[str, None] = {}
        self.rows = 0

    @property
    def generation(self) -> int:
        """The oldest generation that rows are of."""
        return min(self._generations, default=0)

    @property
    def warnings(self) -> list[str]:
        """What to know about the rows."""
        return list(self._warnings)

    def finish(self) -> None:
        """See whether all rows that were given can be of one state of the traces."""
        if len(self._generations) > 1 and self._blocks and self._read_blocks() != self._blocks:
            self._warnings[
                f"traces changed meanwhile: rows are of generations {self.generation} to "
                f"{max(self._generations)}, so some of one trace may be older than others"
            ] = None

    def streams(self) -> list[Stream]:
        """Return the chosen threads that have events: those of the earliest process first.

        :raises NotFoundError: there are none, or one that was named is not there.
        """
        choice = self._choice
        self._blocks = self._read_blocks()
        processes = {block.process_id: block.process() for block in reversed(self._blocks)}
        by_stream: dict[str, list[_Block]] = defaultdict(list)
        for block in self._blocks:
            by_stream[block.stream_id].append(block)
        self._check("process", choice.processes, processes)
        self._check("stream", choice.streams, by_stream)
        if not by_stream:
            raise NotFoundError(
                f"no event of the chosen processes and time below {choice.directory}",
                "dftindexd-client list shows its traces",
            )
        return [
            Stream(
                stream,
                processes[blocks[0].process_id],
                blocks[0].tid,
                blocks[0].thread,
                min(block.begin for block in blocks),
                max(block.end for block in blocks),
            )
            for stream, blocks in by_stream.items()
        ]

    def _check(self, kind: str, named: Iterable[str], found: Iterable[str]) -> None:
        for name in set(named) - set(found):
            raise NotFoundError(
                f"no {kind} {name!r} with events of that time below {self._choice.directory}",
                f"SELECT {kind}_id FROM {kind}{'e' * (kind == 'process')}s names all",
            )

    def spans(
        self, streams: Sequence[Stream], columns: Sequence[str]
    ) -> Iterator[tuple[Stream, pa.RecordBatch]]:
        """Yield the chosen calls of *streams*, stream by stream, each call after the one that it
        lies in."""
        name = "thread_spans"
        by_id = {stream.id: stream for stream in streams}
        planned = self._plan(INSTANCES[name], by_id)
        for stream, batch in self._instances(
            name, INSTANCES[name], planned, columns, where=_NO_THREAD
        ):
            yield by_id[stream], batch

    def otel_spans(
        self, streams: Sequence[Stream], columns: Sequence[str]
    ) -> Iterator[tuple[Process, pa.RecordBatch]]:
        """Yield the chosen calls of the processes of *streams* as OpenTelemetry has them."""
        name = "otel_spans"
        by_id = {stream.process.id: stream.process for stream in streams}
        planned = self._plan(INSTANCES[name], by_id)
        where = one_of("stream_id", self._choice.streams)
        for process, batch in self._instances(name, INSTANCES[name], planned, columns, where=where):
            yield by_id[process], batch

    def counters(
        self, streams: Sequence[Stream], columns: Sequence[str]
    ) -> Iterator[tuple[Process, pa.RecordBatch]]:
        """Yield the numbers of the counters of the processes of *streams*, by time. The condition
        is for calls: these are all of the chosen time."""
        by_id = {stream.process.id: stream.process for stream in streams}
        planned = self._plan(COUNTERS, by_id)
        where = one_of("stream_id", self._choice.streams)
        for process, batch in self._instances(
            "measures", COUNTERS, planned, columns, where=where, condition=""
        ):
            yield by_id[process], batch

    def table(self, name: str, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yield the chosen rows of a view set, at least one batch, which may be empty. Rows of
        instances have the id of their stream or process as well."""
        if name not in INSTANCES:
            statement = table_statement(name, self._choice, columns)
            yield from self._counted(self._batches(statement), 0, None)
            return
        kind = INSTANCES[name].kind
        streams = self.streams()
        ids = dict.fromkeys(one.id if kind == "stream" else one.process.id for one in streams)
        where = one_of("stream_id", self._choice.streams) if kind == "process" else ""
        planned = self._plan(INSTANCES[name], ids)
        for instance, batch in self._instances(
            name, INSTANCES[name], planned, columns, where=where
        ):
            if f"{kind}_id" in batch.schema.names:
                yield batch
                continue
            own = pa.repeat(pa.scalar(instance, pa.utf8()), batch.num_rows)
            yield batch.add_column(0, f"{kind}_id", own)

    # -- asking -------------------------------------------------------------------------------

    def _read_blocks(self) -> list[_Block]:
        batches = self._batches(blocks_statement(self._choice))
        return sorted(_Block(**row) for batch in batches for row in batch.to_pylist())

    def _plan(self, of: InstanceSet, ids: Iterable[str]) -> list[Part]:
        """Return the parts of instances in the order of their *ids*."""
        weights: dict[str, list[Weight]] = defaultdict(list)
        for block in self._blocks:
            instance = block.stream_id if of.kind == "stream" else block.process_id
            rows = block.counters if of is COUNTERS else block.calls * of.rows_a_call
            weights[instance].append(Weight(block.begin, rows))
        return [part for one in ids for part in parts(one, weights[one])]

    def _instances(
        self,
        name: str,
        of: InstanceSet,
        planned: Sequence[Part],
        columns: Sequence[str] | None,
        *,
        where: str = "",
        condition: str | None = None,
    ) -> Iterator[tuple[str, pa.RecordBatch]]:
        total = sum(part.rows for part in planned)
        done = 0
        kept = self._choice.condition if condition is None else condition
        for group in grouped(planned):
            if self._is_enough:
                return
            statement = instances_statement(
                name, group, columns, of=of, condition=kept, where=where
            )
            for batch in self._counted(self._batches(statement), done, total):
                for part, rows in _by_part(batch):
                    yield group[part].instance, rows
            done += sum(part.rows for part in group)

    @property
    def _is_enough(self) -> bool:
        return self._choice.limit is not None and self.rows >= self._choice.limit

    def _counted(
        self, batches: Generator[pa.RecordBatch, None, None], done: int, total: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows up to the limit, and tell of how far it is."""
        came = done
        with closing(batches):
            for batch in batches:
                kept = batch
                if self._choice.limit is not None:
                    kept = batch.slice(0, self._choice.limit - self.rows)
                self.rows += kept.num_rows
                came += batch.num_rows
                self._advance(came, total)
                yield kept
                if self._is_enough:
                    return

    def _batches(self, statement: str) -> Generator[pa.RecordBatch, None, None]:
        request = sql_request(
            statement,
            self._choice.directory,
            begin=self._choice.begin,
            end=self._choice.end,
            rows=_MOST_ROWS,
            seconds=self._choice.seconds,
        )
        with self._client.stream(request, timeout=None) as stream:
            self._generations.add(stream.generation)
            self._warnings |= dict.fromkeys(stream.warnings)
            came = False
            for batch in stream:
                came = True
                yield batch
            if not came:
                yield pa.RecordBatch.from_pylist([], schema=stream.schema)


def _by_part(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Split a batch of rows that are sorted by their part, and take that column away."""
    numbers: list[int] = batch.column(PART).to_pylist()  # type: ignore[assignment]
    rest = batch.remove_column(batch.schema.get_field_index(PART))
    if not numbers:
        yield 0, rest
    begin = 0
    for part, same in groupby(numbers):
        rows = sum(1 for _ in same)
        yield part, rest.slice(begin, rows)
        begin += rows
