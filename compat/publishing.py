"""Publishing a directory's index as a store of dftracer-utils 0.0.12.

It happens in a process of the user who asks: it gets rows from a daemon, which gives only those of
traces that this user may read, and reads the traces for what no row holds. All files are theirs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Final

import msgspec

from dftindexd.client.sync_client import connect
from dftindexd.compat.published_place import Marker, Place, free_place, new_store
from dftindexd.compat.published_rows import TracePlan, plan_trace, published_trace
from dftindexd.compat.published_traces import Indexed, IndexedTrace, indexed_traces
from dftindexd.compat.publishing_pool import PublishingPool, publishing_pool
from dftindexd.index.errors import CoreError, StoreReadOnlyError
from dftindexd.index.model import AggregationTier
from dftindexd.index.publish.database import PublishedDatabase
from dftindexd.index.publish.registry_rows import registry_rows
from dftindexd.index.publish.root_rows import RootSummary
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


def publish(order: Order, progress: Progress = lambda _done, _all: None) -> Published:
    """Publish as *order* says; *progress* is told how many bytes of how many are read.

    :raises DftIndexError: nothing is published, for the reason it tells.
    """
    directory = os.path.realpath(order.directory)
    place = free_place(os.path.realpath(order.out or directory), force=order.force)
    with connect(order.socket) as client:
        generation = client.sync(directory).generation
        indexed = indexed_traces(client, directory)
        traces = list(indexed.traces)
    # The client's thread has ended: from here on processes can be forked.
    _refuse_unfinished(traces, unfinished=order.unfinished)
    marker = Marker(directory, generation, order.format)
    interval_us = _interval_us(order) or indexed.tier.interval_us
    made = None
    if interval_us != indexed.tier.interval_us:
        made = AggregationTier(interval_us=interval_us)
    with _told(), new_store(place, marker) as part:
        plans = [plan_trace(number, trace, made) for number, trace in enumerate(traces, 1)]
        with publishing_pool(plans, part) as pool:
            database = PublishedDatabase(part)
            root = _write(database, pool, plans, indexed.tier, made, progress)
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
    except StoreReadOnlyError as error:
        hint = "free some space there, and publish again"
        raise error_from_code(error.code, error.message, hint) from error
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
    pool: PublishingPool,
    plans: Sequence[TracePlan],
    kept: AggregationTier,
    made: AggregationTier | None,
    progress: Progress,
) -> RootSummary:
    """Write the rows of all traces, with the aggregation that is *kept*, or another that is *made*;
    return what they hold together."""
    sizes = [plan.trace.stamp.size for plan in plans]
    everything, finished = sum(sizes), 0
    aggregated = [plan.trace.aggregated for plan in plans]
    early = pool.start_aggregation(aggregated, kept) if made is None else []
    at_hand = ((place, published_trace(one)) for place, one in enumerate(plans) if not one.is_read)
    root = RootSummary()
    for place, trace in chain(at_hand, pool.read()):
        root.add(place, trace.summary)
        database.put(trace.rows)
        aggregated[place] = trace.aggregated or aggregated[place]
        finished += sizes[place]
        progress(finished, everything)
    database.put(registry_rows(len(plans) + 1))
    database.put(root.rows())
    jobs = early or pool.start_aggregation(aggregated, made or kept)
    database.flush()  # meanwhile
    database.ingest(job.result() for job in jobs)
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
