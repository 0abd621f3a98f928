"""A worker's share: traces, or slices of them, become artifacts. No store is opened."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import msgspec

from dftindexd.actors.commands import ParsedOutcome, ParseJob, ParseResult, TraceFailure
from dftindexd.actors.jobs import segments_of
from dftindexd.cluster.artifacts import Artifacts, artifacts_of, sst_name
from dftindexd.cluster.planning import plan_lpt_partition
from dftindexd.cluster.readers import Read, readers
from dftindexd.cluster.slices import Slice
from dftindexd.index.artifacts.batch import (
    BatchMetadata,
    Part,
    PartFailure,
    SstFile,
    first_segment_id,
    write_metadata,
)
from dftindexd.index.artifacts.files import digest_of, protect
from dftindexd.index.errors import StoreReadOnlyError
from dftindexd.index.failpoints import failpoint
from dftindexd.index.model import ParseRequest, TierConfig
from dftindexd.index.store.sst import SstSink, remove_ssts

__all__ = ("BatchOrder", "Built", "Unit", "build_batch", "set_threads", "worker_threads")

#: How many random bytes are in the names of a batch's files.
_STEM_BYTES: Final = 6

#: How much of traces, and of how many, is read in one go, so that a reader's death costs no more.
_JOB_BYTES: Final = 32 << 20
_JOB_UNITS: Final = 64


class _Threads:
    """How many threads a worker has for its batches, 0 before anybody said."""

    number = 0


def set_threads(number: int, *, by_default: bool = False) -> None:
    """Have batches of this process read by *number* threads where their order names none; with
    *by_default* only if nobody said so before."""
    if not (by_default and _Threads.number):
        _Threads.number = number


class Unit(msgspec.Struct, frozen=True):
    """A trace to be read, or a slice of it. *size* bytes of its file are read."""

    path: str
    size: int
    slice: Slice = Slice()


class BatchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to do.

    :param units: in any order.
    :param staging: where it leaves files whose names begin with *name*.
    :param parallelism: how many traces are read at once, 0 for as many as :func:`set_threads` said.
    :param flush_every: how many units share files, 0 for no limit.
    :param forced: what it finds replaces what shows the same state of a trace.
    """

    name: str
    units: tuple[Unit, ...]
    tiers: TierConfig
    staging: str
    parallelism: int = 1
    flush_every: int = 0
    forced: bool = False


class Built(NamedTuple):
    """What a worker left, and the traces that could not be read."""

    artifacts: list[Artifacts]
    failures: tuple[PartFailure, ...]


def worker_threads() -> int:
    """Return how many threads batches of this process have where their order names none."""
    return _Threads.number or 1


def build_batch(order: BatchOrder, note: Callable[[int], None] | None = None) -> Built:
    """Read the units of *order*; *note* is told the bytes of each that is done, from any thread.

    A trace that cannot be read does not stop the others.

    :raises StoreReadOnlyError: the staging directory cannot be written; nothing is left there.
    """
    if not order.units:
        return Built([], ())
    try:
        os.makedirs(order.staging, exist_ok=True)
    except OSError as error:
        raise _unwritable(order.staging, error) from error
    threads = min(order.parallelism or worker_threads(), len(order.units))
    shares = _shares(order, threads)
    with readers(threads) as read, ThreadPoolExecutor(threads, "dftindexd-build") as pool:
        built = list(pool.map(lambda share: _build(order, share, read, note), shares))
    return Built(
        [artifacts for one in built for artifacts in one.artifacts],
        tuple(failure for one in built for failure in one.failures),
    )


def _shares(order: BatchOrder, threads: int) -> list[list[Unit]]:
    """Deal the units to threads, each thread's in so many as share files."""
    entries = [(str(number), unit.size) for number, unit in enumerate(order.units)]
    dealt = plan_lpt_partition(entries, threads)
    shares = [[order.units[int(number)] for number, _ in share] for share in dealt]
    step = order.flush_every or len(order.units)
    return [share[first : first + step] for share in shares for first in range(0, len(share), step)]


def _build(
    order: BatchOrder, units: Sequence[Unit], read: Read, note: Callable[[int], None] | None
) -> Built:
    stem = f"{order.name}-{secrets.token_hex(_STEM_BYTES)}"
    sink = SstSink(order.staging, stem)
    files: list[dict[str, str]] = []
    parts: list[Part] = []
    failures: list[PartFailure] = []
    requests = _requests(order, units)
    try:
        for number, some in enumerate(_jobs(units)):
            for unit in some:
                failpoint("cluster:build:unit", os.fsencode(unit.path))
            asked = tuple(next(requests) for _ in some)
            job = ParseJob(
                requests=asked, staging=order.staging, stem=f"{stem}-{number}", urgent=True
            )
            result = _staged(read(job))
            files += _one_by_one(result.artifacts)
            sink.begin_trace()
            sink.take(list(result.rows))
            for unit, request, outcome in zip(some, asked, result.outcomes, strict=True):
                part = _part(request, outcome)
                if isinstance(part, PartFailure):
                    failures.append(part)
                else:
                    parts.append(part)
                if note is not None:
                    note(unit.size)
        failpoint("cluster:build:flush")
        sink.write()
        artifacts = _with_metadata(
            order, stem, [*files, *sink.files], tuple(parts), tuple(failures)
        )
    except BaseException:
        sink.discard()
        remove_ssts(order.staging, stem)
        raise
    return Built(artifacts, tuple(failures))


def _staged(result: ParseResult) -> ParseResult:
    """Return *result*, whose rows are all there.

    :raises StoreReadOnlyError: some could not be written.
    """
    if result.staging_error:
        raise StoreReadOnlyError(result.staging_error)
    return result


def _jobs(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Yield *units* in so many as are read in one go: large ones alone."""
    some: list[Unit] = []
    size = 0
    for unit in units:
        if some and (size + unit.size > _JOB_BYTES or len(some) == _JOB_UNITS):
            yield some
            some, size = [], 0
        some.append(unit)
        size += unit.size
    if some:
        yield some


def _requests(order: BatchOrder, units: Sequence[Unit]) -> Iterator[ParseRequest]:
    """Yield what is asked of a reader for each unit, with ids of its own."""
    next_id = first_segment_id()
    for unit in units:
        run = segments_of(unit.size)
        yield ParseRequest(
            path=os.fsencode(unit.path),
            segment_id=next_id,
            provisional_id=next_id + run,
            run=run,
            tiers=order.tiers,
            resume=unit.slice.begin,
            until=unit.slice.until,
            facts=unit.slice.facts,
        )
        next_id += 2 * run


def _one_by_one(artifacts: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return the files of each family as dictionaries with one file a family."""
    most = max(map(len, artifacts.values()), default=0)
    return [
        {family: paths[number] for family, paths in artifacts.items() if number < len(paths)}
        for number in range(most)
    ]


def _part(request: ParseRequest, outcome: ParsedOutcome | TraceFailure) -> Part | PartFailure:
    if isinstance(outcome, TraceFailure):
        return PartFailure(request.path, outcome.reason)
    parsed, begin = outcome.parsed, request.resume
    if begin is not None and not parsed.resumed:
        return PartFailure(request.path, "was replaced while it was read")
    return Part(
        path=request.path,
        tiers=request.tiers,
        parsed=msgspec.structs.replace(parsed, resumed=False),
        begin=begin.line_offset if begin is not None else 0,
        is_last=request.until is None,
        given=request.facts,
    )


def _with_metadata(
    order: BatchOrder,
    stem: str,
    ssts: Sequence[Mapping[str, str]],
    parts: tuple[Part, ...],
    failures: tuple[PartFailure, ...],
) -> list[Artifacts]:
    """Write the metadata of a batch whose rows are all in files, and return its artifacts."""
    path = os.path.join(order.staging, f"{stem}.metadata")
    try:
        metadata = BatchMetadata(
            parts=parts,
            failures=failures,
            files={
                os.path.basename(sst): _described(family, sst)
                for paths in ssts
                for family, sst in paths.items()
            },
            forced=order.forced,
        )
        write_metadata(path, metadata)
    except OSError as error:
        raise _unwritable(order.staging, error) from error
    named = [{sst_name(family): sst for family, sst in paths.items()} for paths in ssts]
    first, *others = named or [{}]
    return [artifacts_of({**first, "metadata_sst": path}), *map(artifacts_of, others)]


def _described(family: str, path: str) -> SstFile:
    protect(path)
    return SstFile(family, os.stat(path).st_size, digest_of(path))


def _unwritable(folder: str, error: OSError) -> StoreReadOnlyError:
    return StoreReadOnlyError(
        f"cannot write into the staging directory {folder}: {error.strerror}",
        "name another one, or free some space there",
    )
