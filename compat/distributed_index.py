"""The primitives of a distributed index, with the names and arguments of dftracer-utils.

A coordinator registers files, workers build artifacts of SST files, and the coordinator ingests
them into its store. The store is named by its path: ``<path>`` where that ends in ``.dftindex``,
else ``<path>/.dftindex``. Nothing but these calls opens it, each for as long as it lasts; the store
of a running daemon is worked with by that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dftindexd.compat.capsule import ArrowBatch
from dftindexd.compat.errors import DFTUtilsIndexerError, DFTUtilsIOError
from dftindexd.compat.planning import checked_ids, checked_paths, files_a_batch, threads_of
from dftindexd.compat.runtime import Runtime, checked_runtime

if TYPE_CHECKING:
    from dftindexd.cluster.build import Unit
    from dftindexd.cluster.coordinator import Coordinator
    from dftindexd.cluster.slices import Slice

__all__ = (
    "IndexDatabase",
    "SstArtifactRegistry",
    "build_sst_batch",
    "literal_store",
    "move_artifacts",
    "scan_aggregation_manifest",
)

_Artifacts = dict[str, str | None]

_SHARDS = 4096


def literal_store(index_path: str) -> str:
    """Return the store that *index_path* names.

    :raises ValueError: it is empty.
    """
    if not index_path:
        raise ValueError("index_path is required")
    path = os.path.abspath(index_path)
    return path if path.endswith(".dftindex") else os.path.join(path, ".dftindex")


def build_sst_batch(
    files: list[str],
    file_ids: list[int],
    staging_dir: str,
    batch_id: str,
    index_dir: str = "",  # noqa: ARG001
    checkpoint_size: int = 33554432,
    build_manifest: bool = False,
    force_rebuild: bool = False,
    bloom_dimensions: list[str] | None = None,
    parallelism: int = 0,
    flush_every_files: int = 0,
    runtime: Runtime | None = None,
    aggregation_config: object = None,
    file_slices: Sequence[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[_Artifacts], bytes]:
    """Read *files* and leave what they hold as artifacts in *staging_dir*; return the artifacts,
    and empty bytes, since what dftracer-utils tracks besides is in the artifacts.

    :param file_ids: as many as *files*; the coordinator knows a trace by its path.
    :param index_dir: kept for the signature; no store is opened.
    :param flush_every_files: how many files share artifacts, 0 for no limit.
    :param file_slices: for each file ``None`` for all of it, or ``(member_begin, member_end,
        checkpoint_idx_base, skip_file_scoped_writes, members)``.
    :param progress: is told how many files of how many are done.
    :raises TypeError: *files* are no paths, or *file_ids* no numbers.
    :raises ValueError: the lists differ in length, or a value is out of its range.
    :raises DFTUtilsIndexerError: a file cannot be read, or *staging_dir* cannot be written.
    """
    files = checked_paths(files)
    if len(checked_ids(file_ids)) != len(files):
        raise ValueError(f"file_ids must have the same length as files, {len(files)}")
    if file_slices is not None and len(file_slices) != len(files):
        raise ValueError(f"file_slices must have the same length as files, {len(files)}")
    from dftindexd.cluster.build import BatchOrder, build_batch
    from dftindexd.compat.tiers import cluster_tiers
    from dftindexd.compat.translation import translated_errors

    tiers = cluster_tiers(
        checkpoint_size, bloom_dimensions, aggregation_config, manifest=build_manifest
    )
    threads = threads_of(parallelism, runtime)
    with translated_errors():
        order = BatchOrder(
            name=batch_id,
            units=tuple(map(_unit, files, file_slices or [None] * len(files))),
            tiers=tiers,
            staging=staging_dir,
            parallelism=threads,
            flush_every=files_a_batch(flush_every_files),
            forced=force_rebuild,
        )
        built = build_batch(order, _counting(progress, len(files)))
    if built.failures:
        first = built.failures[0]
        raise DFTUtilsIndexerError(
            f"Failed to build gzip index artifacts: {os.fsdecode(first.path)}: {first.reason}"
        )
    return built.artifacts, b""


def _counting(
    progress: Callable[[int, int], None] | None, total: int
) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done: list[int] = []

    def note(size: int) -> None:
        done.append(size)
        progress(len(done), total)

    return note


def _unit(path: str, file_slice: Sequence[Any] | None) -> Unit:
    from dftindexd.cluster.build import Unit
    from dftindexd.cluster.slices import Slice

    path = os.path.abspath(path)
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if file_slice is None:
        return Unit(path, size)
    begin, end, members = file_slice[0], file_slice[1], file_slice[-1]
    if begin == 0 and end >= len(members):
        return Unit(path, size, Slice())
    return Unit(path, sum(c_size for _, c_size in members[begin:end]), _slice(path, begin, end))


def _slice(path: str, begin: int, end: int) -> Slice:
    from dftindexd.cluster.slices import slices_of, survey

    try:
        known = survey(path)
        if not 0 <= begin < end <= len(known.members):
            raise DFTUtilsIndexerError(
                f"{path} has {len(known.members)} gzip members that it can be cut between, "
                f"none from {begin} to {end}"
            )
        return slices_of(path, known, [(begin, end)])[0]
    except OSError as error:
        raise DFTUtilsIndexerError(
            f"Failed to build gzip index artifacts: {path}: {error.strerror}"
        ) from error


def move_artifacts(artifacts: Mapping[str, str | None], dest_dir: str) -> _Artifacts:
    """Move the files of an artifact into *dest_dir*; return where they are then.

    :raises TypeError: *artifacts* is no dictionary of paths.
    :raises DFTUtilsIndexerError: a file cannot be moved.
    """
    from dftindexd.cluster import artifacts as core
    from dftindexd.compat.translation import translated_errors

    with translated_errors():
        return core.move_artifacts(artifacts, dest_dir)


class SstArtifactRegistry:
    """Collects the artifacts that workers produced; threads may share one."""

    def __init__(self) -> None:
        from dftindexd.cluster import artifacts

        self._registry = artifacts.SstArtifactRegistry()

    def append(self, artifacts_dict: Mapping[str, str | None]) -> None:
        """Add an artifact, as :func:`build_sst_batch` returned it.

        :raises TypeError: it is no dictionary of paths.
        """
        self._registry.append(artifacts_dict)


# -- the coordinator ----------------------------------------------------------------------------


class IndexDatabase:
    """The store at *index_path*, for a coordinator: a new one belongs to the directory of the files
    that are registered or ingested first.

    :raises ValueError: *index_path* is empty.
    :raises DFTUtilsIOError: its directory cannot be made.
    """

    def __init__(self, index_path: str) -> None:
        self.index_path = literal_store(index_path)
        try:
            os.makedirs(self.index_path, mode=0o700, exist_ok=True)
        except OSError as error:
            raise DFTUtilsIOError(
                f"cannot make the index {self.index_path}: {error.strerror}"
            ) from error

    @contextmanager
    def _store(self) -> Iterator[Coordinator]:
        """Open the store, by the daemon that serves it, if one does."""
        from dftindexd.cluster.opening import open_coordinator
        from dftindexd.compat.translation import translated_errors

        with translated_errors(), open_coordinator(self.index_path) as store:
            if store is not None:
                yield store

    def init_schema(self) -> None:
        """Do nothing: a store has all that it needs when it is opened first."""

    def register_files(self, paths: list[str] | None, build_manifest: bool = False) -> list[int]:
        """Return the file id of each of *paths*, the same each time. A new file is listed as
        registered until its artifacts are ingested.

        :raises TypeError: *paths* is no list of paths.
        :raises DFTUtilsIndexerError: a path does not lie below the store's root, or the store
            cannot be used.
        """
        if paths is not None and not isinstance(paths, (list, tuple)):
            raise TypeError("paths must be a list of str")
        with self._store() as store:
            return store.register(checked_paths(paths or [], "paths"))

    def bulk_ingest(
        self, registry: SstArtifactRegistry, skip_cfs: Iterable[str] | None = None
    ) -> None:
        """Take in all artifacts of *registry* and make their traces visible, in one commit. What
        was ingested before changes nothing.

        :param skip_cfs: ``aggregation`` and ``system_metrics`` can be left where their files are;
            ``agg_manifest.json`` in the store's directory then names them, both.
        :raises TypeError: *registry* is none, or *skip_cfs* are no names.
        :raises ValueError: *skip_cfs* names a family without which the others say nothing.
        :raises DFTUtilsIndexerError: a file is missing or damaged, slices of a trace are missing,
            or the store cannot be used.
        """
        if not isinstance(registry, SstArtifactRegistry):
            raise TypeError("expected an SstArtifactRegistry instance as registry")
        if skip_cfs is not None and not isinstance(skip_cfs, Iterable):
            raise TypeError("skip_cfs must be an iterable of names")
        from dftindexd.cluster.store import OUTSIDE
        from dftindexd.index.store.layout import COLUMN_FAMILIES

        skipped = frozenset(skip_cfs or ())
        needed = sorted(skipped & set(COLUMN_FAMILIES) - OUTSIDE)
        if needed:
            raise ValueError(f"skip_cfs cannot name {needed[0]}: the other families need it")
        outside = OUTSIDE if skipped & OUTSIDE else frozenset[str]()
        with self._store() as store:
            ingested = store.ingest(registry._registry, outside)
        for path, reason in ingested.incomplete.items():
            raise DFTUtilsIndexerError(f"{os.fsdecode(path)} is not indexed: {reason}")

    def rebuild_root_summaries(self) -> None:
        """Do nothing: summaries of all traces are computed from the rows when they are asked for,
        so none is stored that could be out of date."""

    def write_agg_file_markers(self, file_ids: Iterable[int]) -> None:
        """Write the completion marker of each of these traces that has an aggregation; ingesting
        has written it before.

        :raises TypeError: *file_ids* are no numbers.
        """
        ids = checked_ids(file_ids)
        with self._store() as store:
            store.write_markers(ids)


def scan_aggregation_manifest(
    agg_ssts: list[str],
    sys_ssts: list[str],
    scratch_dir: str,
    meta_index_path: str,
    batch_size: int = 10000,
    time_granularity: float = 1.0,
    time_resolution: float = 1000000.0,
    query: str | None = None,
    group_by: list[str] | None = None,
    shard_begin: int = 0,
    shard_end: int = _SHARDS,
    runtime: Runtime | None = None,
    file_hashes: dict[str, str] | None = None,
    host_hashes: dict[str, str] | None = None,
) -> dict[str, list[ArrowBatch]]:
    """Return what :meth:`Indexer.iter_arrow_dfanalyzer_all` does, of the aggregation in these SST
    files, which were left outside of the index *meta_index_path*; times have the index's origin.

    *scratch_dir* is an empty directory of the caller's. Of all rows those are given that are in the
    shards ``shard_begin .. shard_end``: rows of one key are in one shard.

    :raises ValueError: the shards are none of 0 to 4096, or *query* or *group_by* is wrong.
    :raises DFTUtilsIndexerError: the index does not know a file, or a file is missing.
    """
    checked_runtime(runtime)
    if not 0 <= shard_begin < shard_end <= _SHARDS:
        raise ValueError(f"0 <= shard_begin < shard_end <= {_SHARDS} is required")
    from dftindexd.cluster.outside import OutsideScan, scan_outside
    from dftindexd.cluster.shards import of_shards
    from dftindexd.compat.capsule import batches_of
    from dftindexd.compat.translation import translated_errors
    from dftindexd.index.query.selected import AnalyzerQuery

    scan = OutsideScan(
        parts=("events", "profiles", "metrics"),
        query=AnalyzerQuery(time_granularity, time_resolution, query, group_by),
        file_hashes=file_hashes or {},
        host_hashes=host_hashes or {},
    )
    with translated_errors():
        store = literal_store(meta_index_path)
        tables = scan_outside(store, agg_ssts, sys_ssts, scratch_dir, scan)
    shards = (shard_begin, shard_end, _SHARDS)
    return {
        kind: list(batches_of(of_shards(table, *shards), batch_size))
        for kind, table in zip(("events", "profiles", "system"), tables, strict=True)
    }
