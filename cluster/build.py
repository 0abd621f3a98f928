"""A worker's share: traces, or slices of them, become artifacts. No store is opened."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
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
from dftindexd.index.model import ParseRequest, Row, TierConfig
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
    :param flush_every: how many units share files, 0 for no limit: what all threads hold at the end
        then shares files, since each costs whoever takes it in as much as some traces.
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
    dealt = _shares(order, threads)
    with readers(threads) as read, ThreadPoolExecutor(threads, "dftindexd-build") as pool:
        if order.flush_every:
            shares = [_Share(order, units, first_segment_id(), read, note) for units in dealt]
            built = list(pool.map(lambda share: _written(order, [share.read()]), shares))
        else:
            built = [_written(order, _all_read(pool, _shares_of_one(order, dealt, read, note)))]
    return Built(
        [artifacts for one in built for artifacts in one.artifacts],
        tuple(failure for one in built for failure in one.failures),
    )


def _shares_of_one(
    order: BatchOrder,
    dealt: Sequence[Sequence[Unit]],
    read: Read,
    note: Callable[[int], None] | None,
) -> list[_Share]:
    """Return shares that become one batch: the ids of each follow those of the one before."""
    next_id = first_segment_id()
    shares = []
    for units in dealt:
        shares.append(_Share(order, units, next_id, read, note))
        next_id += sum(2 * segments_of(unit.size) for unit in units)
    return shares


def _all_read(pool: ThreadPoolExecutor, shares: Sequence[_Share]) -> list[_Share]:
    """Have *shares* read, each by a thread; nothing of any is left where one fails."""
    done = [pool.submit(share.read) for share in shares]
    try:
        return [one.result() for one in done]
    except BaseException:
        wait(done)
        for share in shares:
            share.discard()
        raise


def _shares(order: BatchOrder, threads: int) -> list[list[Unit]]:
    """Deal the units to threads, each thread's in so many as share files at most."""
    entries = [(str(number), unit.size) for number, unit in enumerate(order.units)]
    dealt = plan_lpt_partition(entries, threads)
    shares = [[order.units[int(number)] for number, _ in share] for share in dealt]
    step = order.flush_every or len(order.units)
    return [share[first : first + step] for share in shares for first in range(0, len(share), step)]


class _Share:
    """What one thread reads, and what it found: rows that are few are held, others in files."""

    def __init__(
        self,
        order: BatchOrder,
        units: Sequence[Unit],
        first_id: int,
        read: Read,
        note: Callable[[int], None] | None,
    ) -> None:
        self._order = order
        self._units = units
        self._requests = _requests(order, units, first_id)
        self._read = read
        self._note = note
        self._stem = _new_stem(order)
        self._sink = SstSink(order.staging, self._stem)
        self._files: list[dict[str, str]] = []
        self.parts: list[Part] = []
        self.failures: list[PartFailure] = []

    @property
    def files(self) -> list[dict[str, str]]:
        """The files by their families."""
        return [*self._files, *self._sink.files]

    @property
    def rows(self) -> list[Row]:
        """The rows that are in no file."""
        return self._sink.rows

    def read(self) -> _Share:
        """Read all units; nothing is left where that fails."""
        try:
            for number, some in enumerate(_jobs(self._units)):
                self._read_job(number, some)
        except BaseException:
            self.discard()
            raise
        return self

    def _read_job(self, number: int, units: Sequence[Unit]) -> None:
        for unit in units:
            failpoint("cluster:build:unit", os.fsencode(unit.path))
        asked = tuple(next(self._requests) for _ in units)
        staging, stem = self._order.staging, f"{self._stem}-{number}"
        job = ParseJob(requests=asked, staging=staging, stem=stem, urgent=True)
        result = _staged(self._read(job))
        self._files += _one_by_one(result.artifacts)
        self._sink.begin_trace()
        self._sink.take(list(result.rows))
        for unit, request, outcome in zip(units, asked, result.outcomes, strict=True):
            part = _part(request, outcome)
            if isinstance(part, PartFailure):
                self.failures.append(part)
            else:
                self.parts.append(part)
            if self._note is not None:
                self._note(unit.size)

    def discard(self) -> None:
        """Remove what was written."""
        self._sink.discard()
        remove_ssts(self._order.staging, self._stem)


def _written(order: BatchOrder, shares: Sequence[_Share]) -> Built:
    """Have what *shares* found as one batch, all rows in files."""
    stem = _new_stem(order)
    sink = SstSink(order.staging, stem)
    try:
        failpoint("cluster:build:flush")
        for share in shares:
            sink.begin_trace()
            sink.take(share.rows)
        sink.write()
        failures = tuple(one for share in shares for one in share.failures)
        artifacts = _with_metadata(
            order,
            stem,
            [*(one for share in shares for one in share.files), *sink.files],
            tuple(one for share in shares for one in share.parts),
            failures,
        )
    except BaseException:
        sink.discard()
        remove_ssts(order.staging, stem)
        for share in shares:
            share.discard()
        raise
    return Built(artifacts, failures)


def _new_stem(order: BatchOrder) -> str:
    return f"{order.name}-{secrets.token_hex(_STEM_BYTES)}"


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


def _requests(order: BatchOrder, units: Sequence[Unit], next_id: int) -> Iterator[ParseRequest]:
    """Yield what is asked of a reader for each unit, with ids of its own, from *next_id* on."""
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
