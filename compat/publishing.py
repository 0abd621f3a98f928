"""Publishing a directory's index as a store of dftracer-utils 0.0.12.

It happens in a process of the user who asks: it gets rows from a daemon, which gives only those of
traces that this user may read, and reads the traces for what no row holds. All files are theirs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Final, NamedTuple

import msgspec

from dftindexd.actors.child_process import die_with_parent
from dftindexd.client.sync_client import connect
from dftindexd.compat.published_place import Marker, Place, free_place, new_store
from dftindexd.compat.published_traces import Indexed, IndexedTrace, indexed_traces
from dftindexd.index.errors import CoreError
from dftindexd.index.model import AggregationTier
from dftindexd.index.publish.aggregation import AggregatedTrace, published_aggregation
from dftindexd.index.publish.contents import read_contents
from dftindexd.index.publish.database import PublishedDatabase
from dftindexd.index.publish.families import PublishedRow
from dftindexd.index.publish.registry_rows import content_hash, file_rows, registry_rows
from dftindexd.index.publish.trace_rows import RootSummary, TraceSummary, trace_rows
from dftindexd.index.tiers.checkpoints import decode_checkpoints
from dftindexd.index.trace import kernel_cache
from dftindexd.index.trace.trace_file import open_trace
from dftindexd.protocol.errors import DftIndexError, InvalidArgumentError, error_from_code
from dftindexd.protocol.published_formats import FOR_ANALYZER, FOR_UTILITIES, PublishedFormat

__all__ = ("Order", "Published", "publish")

#: dfanalyzer as it comes asks for this width of buckets, and for a store of which one worker of its
#: cluster has all traces: where two have rows it stops for ever under Python 3.11, in Dask
#: (docs/publishing.md).
_ANALYZER_INTERVAL_US: Final = 1_000_000


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to publish: the traces in *directory*, into *out* if it is given; *unfinished* ones
    only if that is said, and over somebody else's store only with *force*. Time buckets are
    *interval_us* wide, else as wide as the tool of *format* asks for, or as those of the daemon."""

    directory: str
    out: str | None = None
    format: PublishedFormat = FOR_UTILITIES
    interval_us: int | None = None
    force: bool = False
    unfinished: bool = False
    socket: str | None = None
    json: bool = False


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What was published: the store, its traces, events and bytes, what is aside, and which traces
    were left out for what reason."""

    path: str
    traces: int
    events: int
    bytes: int
    generation: int
    aside: str | None = None
    left_out: dict[str, str] = {}


Progress = Callable[[int, int], None]


class _Read(NamedTuple):
    """What a worker makes of a trace: its rows, and those of another aggregation than ours."""

    summary: TraceSummary
    rows: list[PublishedRow]
    aggregated: AggregatedTrace | None


def _read(file_id: int, trace: IndexedTrace, tier: AggregationTier | None) -> _Read:
    """Read one trace: what a worker does."""
    chunks = [one for value in trace.checkpoints for one in decode_checkpoints(value)]
    contents = read_contents(trace.path, trace.stamp, chunks, tier)
    summary, rows = trace_rows(file_id, trace.chunk_stats, contents)
    with open_trace(trace.path) as file:
        rows += file_rows(file_id, trace.name, trace.stamp, content_hash(file))
    if tier is None:
        return _Read(summary, rows, None)
    frames = ([contents.aggregation], [contents.system_metrics])
    return _Read(summary, rows, AggregatedTrace(trace.hash_tables, *frames))


@contextmanager
def _workers() -> Iterator[ProcessPoolExecutor]:
    """Give processes that read traces. They are forked at once, before there is any thread."""
    try:
        kernel_cache.prepare(os.environ, os.getuid())
    except kernel_cache.KernelCacheError as error:
        sys.stderr.write(f"traces are read more slowly: {error}\n")
    count = len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(
        count,
        mp_context=get_context("fork"),
        initializer=die_with_parent,  # they would wait for work for ever
        initargs=(os.getpid(),),
    )
    with pool:
        pool.submit(os.getpid).result()
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure nobody wants the rest


def publish(order: Order, progress: Progress = lambda _done, _all: None) -> Published:
    """Publish as *order* says; *progress* is told how many bytes of how many are read.

    :raises DftIndexError: nothing is published, for the reason it tells.
    """
    directory = os.path.realpath(order.directory)
    place = free_place(os.path.realpath(order.out or directory), force=order.force)
    with _workers() as pool, connect(order.socket) as client:
        generation = client.sync(directory).generation
        indexed = indexed_traces(client, directory)
        traces = list(indexed.traces)
        _refuse_unfinished(traces, unfinished=order.unfinished)
        marker = Marker(directory, generation, order.format)
        interval_us = _interval_us(order) or indexed.tier.interval_us
        made = None
        if interval_us != indexed.tier.interval_us:
            made = AggregationTier(interval_us=interval_us)
        with _told(), new_store(place, marker) as part:
            database = PublishedDatabase(part)
            root = _write(database, pool, traces, indexed.tier, made, progress)
            if order.format == FOR_ANALYZER:
                database.put(root.rows_for_one_worker())
            database.close()
    return _published(place, traces, root.events, generation, indexed)


def _interval_us(order: Order) -> int | None:
    if order.interval_us is None and order.format == FOR_ANALYZER:
        return _ANALYZER_INTERVAL_US
    return order.interval_us


def _refuse_unfinished(traces: Sequence[IndexedTrace], *, unfinished: bool) -> None:
    growing = [one for one in traces if one.record.ending is None]
    if growing and not unfinished:
        raise InvalidArgumentError(
            f"{len(growing)} of {len(traces)} traces are not finished, such as "
            f"{os.fsdecode(growing[0].path)}",
            "wait for them with `dftindexd-client wait`, or give --unfinished",
        )


@contextmanager
def _told() -> Iterator[None]:
    """Raise what the core and the system say as an error of the protocol."""
    try:
        yield
    except CoreError as error:
        raise error_from_code(error.code, error.message, error.hint) from error
    except BrokenExecutor as error:
        raise DftIndexError(
            "a process that reads traces was killed", "see whether there is memory enough"
        ) from error
    except OSError as error:
        raise DftIndexError(f"cannot publish: {error}", "check the place and its room") from error


def _write(
    database: PublishedDatabase,
    pool: ProcessPoolExecutor,
    traces: Sequence[IndexedTrace],
    kept: AggregationTier,
    made: AggregationTier | None,
    progress: Progress,
) -> RootSummary:
    """Write the rows of *traces*, with the aggregation that is *kept*, or another that is *made*;
    return what they hold together."""
    everything = sum(one.stamp.size for one in traces)
    largest_first = sorted(range(len(traces)), key=lambda place: -traces[place].stamp.size)
    jobs: dict[Future[_Read], int] = {
        pool.submit(_read, place + 1, traces[place], made): place for place in largest_first
    }
    database.put(registry_rows(len(traces) + 1))
    aggregated = [one.aggregated for one in traces]
    if made is None:
        database.put(published_aggregation(aggregated, kept))
    root, done = RootSummary(), 0
    for job in as_completed(jobs):
        place, read = jobs.pop(job), job.result()  # nothing keeps the rows any longer
        root.add(place, read.summary)
        database.put(read.rows)
        aggregated[place] = read.aggregated or aggregated[place]
        done += traces[place].stamp.size
        progress(done, everything)
    if made is not None:
        database.put(published_aggregation(aggregated, made))
    database.put(root.rows())
    return root


def _published(
    place: Place, traces: Sequence[IndexedTrace], events: int, generation: int, indexed: Indexed
) -> Published:
    return Published(
        path=place.path,
        traces=len(traces),
        events=events,
        bytes=sum(entry.stat().st_size for entry in os.scandir(place.path)),
        generation=generation,
        aside=place.aside,
        left_out=indexed.left_out,
    )
