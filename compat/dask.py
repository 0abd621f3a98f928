"""The Dask helpers of dftracer-utils: indexing and aggregating on the workers of a cluster.

Only importable where ``distributed`` is installed (extra ``dask``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from dftindexd.compat.capsule import ArrowBatch
from dftindexd.compat.config import AggregationConfig
from dftindexd.compat.distributed_index import literal_store
from dftindexd.compat.indexer import Indexer
from dftindexd.compat.planning import files_a_batch, threads_of

try:
    from distributed import Client, get_client
except ImportError as error:
    raise ImportError(
        "dftindexd.compat.dask needs dask.distributed: install dftindexd[dask]"
    ) from error

from dftindexd.cluster.dask_executor import BuildPlugin, DaskExecutor
from dftindexd.cluster.planning import assign_files_by_pid

if TYPE_CHECKING:
    from dftindexd.cluster.driver import Executor, Progress

__all__ = (
    "DFTracerUtilsDaskWorkerPlugin",
    "assign_files_by_pid",
    "consolidate_index",
    "distributed_aggregate",
    "distributed_aggregate_all",
    "distributed_index",
    "register_auto_thread_plugin",
    "resolve_local_staging",
)

_Kind = Literal["events", "profiles", "system"]

_KINDS: tuple[_Kind, ...] = ("events", "profiles", "system")


class DFTracerUtilsDaskWorkerPlugin(BuildPlugin):
    """Sets up each worker: the parse kernel is compiled and loaded, and builds on it have *threads*
    threads, 0 for as many as Dask gave the worker. *io_threads* is kept for the signature."""

    def __init__(self, threads: int = 0, io_threads: int = 0) -> None:
        super().__init__(threads)
        self.io_threads = io_threads


def register_auto_thread_plugin() -> None:
    """Have each worker of the current client use as many threads as Dask gave it; without a client
    nothing is done."""
    try:
        client = get_client()
    except ValueError:
        return
    client.register_plugin(DFTracerUtilsDaskWorkerPlugin())


def resolve_local_staging(client: Client) -> str:
    """Return a directory for artifacts below the scratch directory of the workers of *client*."""
    workers = client.scheduler_info()["workers"].values()
    scratch = next((one.get("local_directory") for one in workers), None)
    return os.path.join(scratch or "/tmp", "dftindexd-staging")


def distributed_index(
    directory: str = "",
    files: list[str] | None = None,
    index_path: str = "",
    local_staging: str = "",
    shared_staging: str = "",
    client: Client | None = None,
    checkpoint_size: int = 33554432,
    bloom_dimensions: list[str] | None = None,
    build_manifest: bool = True,
    force_rebuild: bool = False,
    partition: str = "lpt",
    rebuild_root_summaries: bool = True,  # noqa: ARG001 - they are computed when asked for
    parallelism_per_worker: int = 0,
    flush_every_files: int = 0,
    aggregation_config: object = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Index traces on the workers of *client*, here without one, into the store *index_path*.

    Traces that the store holds already as they are on disk are left alone, those of *directory*
    that are gone are forgotten. ``Indexer(directory, index_dir=index_path)`` reads the result.

    Where a daemon serves the traces and *index_path* is its store, or not given, workers read for
    the daemon, which takes in what they leave and reads none of these traces meanwhile.

    :param directory: traces in it and below it; or else *files*.
    :param local_staging: where workers write artifacts. They move them to *shared_staging* where
        that is another directory; the coordinator reads them there.
    :param partition: ``lpt`` balances bytes and cuts a huge trace between gzip members;
        ``round_robin`` deals whole traces in turn.
    :param parallelism_per_worker: threads of each worker, 0 for those of its runtime.
    :param flush_every_files: how many traces share artifacts, 0 for no limit.
    :param progress: is told the bytes that are done, all bytes, and what is being done.
    :returns: ``total_files``; ``per_worker``, how many files each worker got; ``index_path``;
        ``artifact_batches``; and ``failed``, the traces that could not be indexed, with the reason.
    :raises ValueError: an argument is missing or none of those that it can be.
    :raises FileNotFoundError: one of *files* is missing.
    :raises DFTUtilsIndexerError: the store or the staging directory cannot be used.
    """
    from dftindexd.cluster.served_store import may_be_served

    if not index_path and not may_be_served():
        raise ValueError("index_path is required")
    if not local_staging:
        raise ValueError("local_staging is required")
    if files is None and not directory:
        raise ValueError("either directory or files is required")
    if partition not in ("lpt", "round_robin"):
        raise ValueError(f"unknown partition={partition}")
    from dftindexd.cluster.driver import Build, Done, Inline, run_build
    from dftindexd.cluster.opening import open_coordinator
    from dftindexd.cluster.traces import traces_in, traces_of
    from dftindexd.compat.tiers import cluster_tiers
    from dftindexd.compat.translation import translated_errors

    tiers = cluster_tiers(
        checkpoint_size, bloom_dimensions, aggregation_config, manifest=build_manifest
    )
    done = Done()
    with translated_errors(), ExitStack() as stack:
        traces = traces_in(directory) if files is None else traces_of(files)
        path = literal_store(index_path) if index_path else ""
        store = stack.enter_context(open_coordinator(path, traces.root or None))
        if store is None:
            raise ValueError("index_path is required: no daemon serves these traces")
        if traces.root:
            build = Build(
                root=traces.root,
                stamps=traces.stamps,
                tiers=tiers,
                local_staging=os.path.abspath(local_staging),
                shared_staging=os.path.abspath(shared_staging or local_staging),
                whole_root=files is None,
                forced=force_rebuild,
                partition="lpt" if partition == "lpt" else "round_robin",
                parallelism=_parallelism(parallelism_per_worker, client),
                flush_every=files_a_batch(flush_every_files),
            )
            executor: Executor = Inline() if client is None else DaskExecutor(client)
            done = run_build(build, store, executor, progress)
    return {
        "total_files": len(traces.stamps),
        "per_worker": done.per_worker,
        "index_path": index_path or store.path,
        "artifact_batches": done.artifact_batches,
        "failed": done.failed,
    }


def _parallelism(parallelism: int, client: Client | None) -> int:
    """Return the threads of a worker, 0 where it is to use its own."""
    threads = threads_of(parallelism, None)
    return threads if parallelism or client is None else 0


def distributed_aggregate(
    directory: str = "",
    files: list[str] | None = None,
    client: Client | None = None,
    time_interval_ms: float = 5000.0,
    time_granularity: float = 1.0,
    time_resolution: float = 1000000.0,
    index_dir: str = "",
    data_type: str = "events",
) -> pa.Table:
    """Return the analyzer's table of *data_type*: ``events``, ``profiles`` or ``system``.

    What is not indexed yet is read by the workers of *client*, the traces of a process by one of
    them, and aggregated while it is read; the partial rows, whichever trace and worker they are of,
    are merged by their keys. It equals ``Indexer.iter_arrow_dfanalyzer``; without traces it is an
    empty table. Workers leave artifacts beside the index, in *index_dir* or else in the state
    directory: it has to be on a shared file system.

    :raises ValueError: *data_type* is none of the three, or there are no *files* and no
        *directory*.
    :raises DFTUtilsError: the directory or the store cannot be used.
    """
    if data_type not in _KINDS:
        raise ValueError("type must be 'events', 'profiles', or 'system'")
    indexer = _indexed(directory, files, client, time_interval_ms, index_dir)
    if indexer is None:
        return pa.table({})
    batches = indexer.iter_arrow_dfanalyzer(
        data_type, time_granularity=time_granularity, time_resolution=time_resolution
    )
    return _table(batches)


def distributed_aggregate_all(
    directory: str = "",
    files: list[str] | None = None,
    client: Client | None = None,
    time_interval_ms: float = 5000.0,
    time_granularity: float = 1.0,
    time_resolution: float = 1000000.0,
    index_dir: str = "",
) -> dict[str, pa.Table]:
    """Return what :func:`distributed_aggregate` does, of all kinds and as
    ``Indexer.iter_arrow_dfanalyzer_all``: ``system`` has the means of the system metrics."""
    indexer = _indexed(directory, files, client, time_interval_ms, index_dir)
    if indexer is None:
        return {kind: pa.table({}) for kind in _KINDS}
    found = indexer.iter_arrow_dfanalyzer_all(
        time_granularity=time_granularity, time_resolution=time_resolution
    )
    return {kind: _table(batches) for kind, batches in found.items()}


def _table(batches: Iterable[ArrowBatch]) -> pa.Table:
    rows = [pa.record_batch(batch) for batch in batches]
    return pa.Table.from_batches(rows) if rows else pa.table({})


def _indexed(
    directory: str,
    files: list[str] | None,
    client: Client | None,
    time_interval_ms: float,
    index_dir: str,
) -> Indexer | None:
    """Return an indexer of traces that are indexed, ``None`` where there are none."""
    indexer = Indexer(
        directory,
        files,
        index_dir,
        require_aggregation=AggregationConfig(time_interval_ms=time_interval_ms),
    )
    status = indexer.resolve()
    if not status.total_files:
        return None
    if client is None:
        indexer.ensure_indexed()  # here, or by the daemon that serves the traces
        return indexer
    from dftindexd.cluster.driver import Build, run_build
    from dftindexd.cluster.opening import open_coordinator
    from dftindexd.compat.translation import translated_errors

    selection = indexer._select()
    folder = os.path.dirname(status.index_path)
    build = Build(
        root=selection.root,
        stamps={path: stamp for path, stamp in selection.stamps.items() if stamp is not None},
        tiers=indexer._tiers(),
        local_staging=folder,
        shared_staging=folder,
        partition="process",
    )
    with translated_errors(), open_coordinator(status.index_path, selection.root) as store:
        if store is not None:
            run_build(build, store, DaskExecutor(client))
    return indexer


def consolidate_index(index_path: str) -> int:
    """Take the aggregation that ``bulk_ingest(skip_cfs=...)`` left outside of the index into it,
    and return how many traces gained one; the files outside are deleted.

    :raises DFTUtilsIndexerError: a file is missing, or the store cannot be used.
    """
    from dftindexd.cluster.consolidation import consolidate
    from dftindexd.cluster.store import IndexStore
    from dftindexd.compat.translation import translated_errors

    with translated_errors():
        return consolidate(IndexStore(literal_store(index_path)))
