"""A distributed build from the first look at the traces to the last commit.

How calls reach workers is the caller's: an :class:`Executor` runs them here, or on a Dask cluster.
A share that no worker could finish, a trace that was not read as a whole, and one whose slices do
not fit together are read again in a second round, each trace alone. What fails twice is named.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, TypeAlias

from dftindexd.cluster.artifacts import Artifacts, SstArtifactRegistry, move_artifacts
from dftindexd.cluster.build import BatchOrder, Built, Unit, build_batch
from dftindexd.cluster.coordinator import Coordinator
from dftindexd.cluster.planning import (
    WorkUnit,
    plan_by_process,
    plan_round_robin,
    plan_work_units,
)
from dftindexd.cluster.processes import process_of
from dftindexd.cluster.slices import Slice, Survey, slices_of, survey
from dftindexd.index.errors import TraceGoneError
from dftindexd.index.model import FileStamp, TierConfig

__all__ = ("Build", "Done", "Executor", "Inline", "Outcome", "Partition", "Progress", "run_build")

#: How shares are dealt; ``process``: as ``lpt``, the traces of a process to one worker.
Partition: TypeAlias = Literal["lpt", "process", "round_robin"]

#: Is told how much of how much is done, and what that is.
Progress: TypeAlias = Callable[[int, int, str], None]

_log: Final = logging.getLogger("dftindexd.cluster")

_INDEXING: Final = "Indexing"


class Outcome:
    """What became of one call: its *result*, or the *error* that it ended with."""

    def __init__(self, result: Any = None, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error


class Executor(Protocol):
    """Runs calls on workers."""

    @property
    def workers(self) -> int:
        """How many workers there are."""
        ...

    def run(
        self,
        call: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        note: Callable[[str, int], None],
    ) -> Iterator[tuple[int, Outcome]]:
        """Run *call* with each of *arguments* and, last, a function that takes a name and a number
        of bytes, of which *note* is told here. Yield each outcome, and which call's it is."""
        ...


class Inline:
    """Runs calls here, one after the other."""

    workers = 1

    def run(
        self,
        call: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        note: Callable[[str, int], None],
    ) -> Iterator[tuple[int, Outcome]]:
        """See :class:`Executor`."""
        for number, those in enumerate(arguments):
            yield number, Outcome(call(*those, note))


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What to build: the traces at *stamps* below *root*, which are all of it if *whole_root*.

    Workers write into *local_staging*; where *shared_staging* is another directory they move what
    they wrote there, for the coordinator to read. *parallelism* is that of each worker.
    """

    root: bytes
    stamps: Mapping[bytes, FileStamp]
    tiers: TierConfig
    local_staging: str
    shared_staging: str
    whole_root: bool = False
    forced: bool = False
    partition: Partition = "lpt"
    parallelism: int = 1
    flush_every: int = 0


@dataclass(slots=True)
class Done:
    """What a build did. ``failed`` are the traces that could not be indexed, with the reason."""

    per_worker: list[int] = field(default_factory=list)
    artifact_batches: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def run_build(
    build: Build, store: Coordinator, executor: Executor, progress: Progress | None = None
) -> Done:
    """Have the workers index what *store* lacks, and take it in.

    :raises CoreError: the store or a staging directory cannot be used.
    """
    if build.whole_root:
        store.forget_gone(build.stamps)
    names = list(build.stamps) if build.forced else store.lacking(build.stamps, build.tiers)
    if not names:
        return Done()
    entries = [
        (os.fsdecode(os.path.join(build.root, name)), build.stamps[name].size)
        for name in sorted(names)
    ]
    with store.held(names):
        return _Run(build, executor, store, progress).index(entries)


class _Run:
    """One build on its way. What it stages lies in a directory of its own."""

    def __init__(
        self, build: Build, executor: Executor, store: Coordinator, progress: Progress | None
    ) -> None:
        self._build = build
        self._executor = executor
        self._store = store
        self._progress = progress
        self._name = f"dftindexd-{secrets.token_hex(4)}"
        self._total = 0
        self._noted: dict[str, int] = {}
        self._done = Done()

    def index(self, entries: Sequence[tuple[str, int]]) -> Done:
        self._total = sum(size for _, size in entries)
        try:
            shares = self._shares(entries)
            self._done.per_worker = [len({unit.path for unit in share}) for share in shares]
            failed = self._round("share", [share for share in shares if share])
            if failed:
                _log.warning("%d traces are read again: %s", len(failed), sorted(failed)[:5])
                sizes = dict(entries)
                again = [[Unit(path, sizes[path])] for path in sorted(failed)]
                self._done.failed = self._round("again", again)
        finally:
            for staging in {self._build.local_staging, self._build.shared_staging}:
                shutil.rmtree(os.path.join(staging, self._name), ignore_errors=True)
        return self._done

    def _shares(self, entries: Sequence[tuple[str, int]]) -> list[list[Unit]]:
        sizes = [size for _, size in entries]
        workers = self._executor.workers
        if self._build.partition == "round_robin":
            planned = plan_round_robin(sizes, workers)
            return [[Unit(*entries[unit.file_idx]) for unit in share] for share in planned]
        surveys = self._surveys(entries, -(-sum(sizes) // workers))
        members = [
            surveys[path].sizes if path in surveys else [(0, size)] for path, size in entries
        ]
        if self._build.partition == "process":
            planned = plan_by_process(members, self._processes(entries), workers)
        else:
            planned = plan_work_units(members, workers)
        return _cut(entries, planned, surveys)

    def _processes(self, entries: Sequence[tuple[str, int]]) -> list[int | None]:
        """Have the workers look which process each trace is of."""
        workers = self._executor.workers
        found: list[int | None] = [None] * len(entries)
        shares = [(tuple(path for path, _ in entries[one::workers]),) for one in range(workers)]
        for number, outcome in self._executor.run(_processes_task, shares, _ignore):
            if outcome.error is None:
                found[number::workers] = outcome.result
        return found

    def _surveys(self, entries: Sequence[tuple[str, int]], share: int) -> dict[str, Survey]:
        """Have the traces surveyed that are larger than a worker's even *share*."""
        large = [path for path, size in entries if size > share]
        found: dict[str, Survey] = {}
        for number, outcome in self._executor.run(_survey_task, [(p,) for p in large], _ignore):
            if outcome.error is None and outcome.result.members:
                found[large[number]] = outcome.result
        return found

    def _round(self, name: str, shares: Sequence[Sequence[Unit]]) -> dict[str, str]:
        """Have *shares* built and take in what comes; return the traces that are missing then."""
        orders = [self._order(f"{name}-{number}", share) for number, share in enumerate(shares)]
        shared = os.path.join(self._build.shared_staging, self._name)
        if self._build.shared_staging == self._build.local_staging:
            shared = ""
        registry = SstArtifactRegistry()
        failed: dict[str, str] = {}
        arguments = [(order, shared) for order in orders]
        for number, outcome in self._executor.run(_build_task, arguments, self._note):
            if outcome.error is not None:
                reason = f"{type(outcome.error).__name__}: {outcome.error}"
                failed |= {unit.path: reason for unit in orders[number].units}
                continue
            built: Built = outcome.result
            failed |= {os.fsdecode(one.path): one.reason for one in built.failures}
            for artifacts in built.artifacts:
                registry.append(artifacts)
                self._done.artifact_batches += 1
        ingested = self._store.ingest(registry)
        incomplete = {os.fsdecode(path): why for path, why in ingested.incomplete.items()}
        return {**incomplete, **failed}

    def _order(self, name: str, units: Sequence[Unit]) -> BatchOrder:
        build = self._build
        return BatchOrder(
            name=name,
            units=tuple(units),
            tiers=build.tiers,
            staging=os.path.join(build.local_staging, self._name, name),
            parallelism=build.parallelism,
            flush_every=build.flush_every,
            forced=build.forced,
        )

    def _note(self, share: str, size: int) -> None:
        self._noted[share] = self._noted.get(share, 0) + size
        if self._progress is not None:
            done = min(sum(self._noted.values()), self._total)
            self._progress(done, self._total, _INDEXING)


def _cut(
    entries: Sequence[tuple[str, int]],
    planned: Iterable[Iterable[WorkUnit]],
    surveys: Mapping[str, Survey],
) -> list[list[Unit]]:
    """Return the units of each worker: whole traces, and slices of those that are cut."""
    cuts: dict[int, list[tuple[int, int]]] = {}
    shares = [list(share) for share in planned]
    for unit in (unit for share in shares for unit in share):
        cuts.setdefault(unit.file_idx, []).append((unit.member_begin, unit.member_end))
    slices: dict[tuple[int, int], Slice] = {}
    for index, those in cuts.items():
        path = entries[index][0]
        if len(those) > 1:
            found = _slices_or_none(path, surveys[path], those)
            slices |= {(index, begin): one for (begin, _), one in zip(those, found, strict=False)}
    return [
        [
            Unit(entries[unit.file_idx][0], unit.c_size, slices.get(_place(unit), Slice()))
            for unit in share
            if not unit.member_begin or _place(unit) in slices
        ]
        for share in shares
    ]


def _place(unit: WorkUnit) -> tuple[int, int]:
    return unit.file_idx, unit.member_begin


def _slices_or_none(path: str, known: Survey, cuts: list[tuple[int, int]]) -> list[Slice]:
    """Return the slices; none of a trace that is gone: whoever reads it as a whole says so."""
    try:
        return slices_of(path, known, cuts)
    except (OSError, TraceGoneError):
        return []


def _ignore(share: str, size: int) -> None:
    """Take no note of progress."""


def _survey_task(path: str, _note: Callable[[str, int], None]) -> Survey:
    """Survey a trace, on a worker."""
    return survey(path)


def _processes_task(paths: Sequence[str], _note: Callable[[str, int], None]) -> list[int | None]:
    """Look which process each trace is of, on a worker."""
    return [process_of(path) for path in paths]


def _build_task(order: BatchOrder, shared: str, note: Callable[[str, int], None]) -> Built:
    """Build a share, on a worker, and move what it gave to the directory *shared*, if any."""
    name = f"{order.name}@{socket.gethostname()}-{os.getpid()}"
    built = build_batch(order, lambda size: note(name, size))
    if not shared:
        return built
    moved: list[Artifacts] = [move_artifacts(one, shared) for one in reversed(built.artifacts)]
    moved.reverse()
    with suppress(OSError):  # another attempt may be at work there
        os.rmdir(order.staging)
        os.rmdir(os.path.dirname(order.staging))
    return Built(moved, built.failures)
