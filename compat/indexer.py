"""The ``Indexer`` of dftracer-utils: resolve, build and read the index of some traces.

Where a daemon serves the directory it is asked (:mod:`dftindexd.compat.access`). Else this works
embedded: a build runs the daemon's own engine for as long as it takes, a read opens the store for
as long as it takes. Nothing stays open or running in between, and the rooms that this needs (extra
``daemon``) are imported when they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from dftindexd.compat.capsule import ArrowBatch, batches_of
from dftindexd.compat.checkpoints import CheckpointIndexer
from dftindexd.compat.config import AggregationConfig, IndexStatus
from dftindexd.compat.errors import DFTUtilsError
from dftindexd.compat.runtime import Runtime, checked_runtime

if TYPE_CHECKING:
    from dftindexd.compat.access import Built
    from dftindexd.compat.reading import OpenIndex
    from dftindexd.compat.selection import Selection
    from dftindexd.index.model import AggregationTier, TierConfig
    from dftindexd.index.query.selected import AnalyzerQuery

__all__ = ("Indexer",)

_Kind = Literal["events", "profiles", "system"]
_HashKind = Literal["file", "host", "string", "proc"]
_K = TypeVar("_K", bound=str)

_KINDS: Mapping[str, _Kind] = {"events": "events", "profiles": "profiles", "system": "system"}
_HASH_KINDS: Mapping[str, _HashKind] = {
    "file": "file",
    "host": "host",
    "string": "string",
    "proc": "proc",
}


class Indexer:
    """The index of the traces in *directory* (not below it), or of *files* without a directory.

    :param index_dir: where the store lies, else in the state directory; never beside the traces
        unless this names their directory.
    :param require_checkpoint, require_bloom, require_manifest: build these tiers. Blooms and
        manifest come with the checkpoints of their chunks.
    :param require_aggregation: build the aggregation tier: with this configuration, or if it is
        ``True`` with *time_interval_ms*, *group_keys*, *custom_metric_fields* and
        *compute_percentiles*. Anything else: it is neither built nor asked for.
    :param checkpoint_size: bytes of text in a chunk; part of what is required.
    :param parallelism: the number of parser processes, 0 for one a processor.
    :param force_rebuild: parse also what is indexed already.
    :param bloom_dimensions: arguments of events that have Bloom filters as well, part of what is
        required; ``name``, ``cat``, ``pid``, ``tid`` and the hashes always have them.
    :raises ValueError: neither *directory* nor a list of *files* is given, or a value is none.
    :param runtime: its ``threads`` are the number of parser processes where *parallelism* is 0.
    :raises TypeError: *runtime* is none.
    """

    def __init__(
        self,
        directory: str = "",
        files: list[str] | None = None,
        index_dir: str = "",
        require_checkpoint: bool = True,
        require_bloom: bool = True,
        require_manifest: bool = True,
        require_aggregation: bool | AggregationConfig | None = None,
        time_interval_ms: float = 5000.0,
        group_keys: list[str] | None = None,
        custom_metric_fields: list[str] | None = None,
        compute_percentiles: bool = False,
        checkpoint_size: int = 33554432,
        parallelism: int = 0,
        force_rebuild: bool = False,
        runtime: Runtime | None = None,
        bloom_dimensions: list[str] | None = None,
        io_cat_table: Literal["analyzer", "0.0.12"] = "analyzer",
    ) -> None:
        if not directory and not (isinstance(files, list) and files):
            raise ValueError("At least one of 'directory' or 'files' must be provided")
        chosen = checked_runtime(runtime)
        if checkpoint_size < 1:
            raise ValueError(f"checkpoint_size must be at least 1, not {checkpoint_size}")
        if parallelism < 0:
            raise ValueError(f"parallelism must be at least 0, not {parallelism}")
        if io_cat_table not in ("analyzer", "0.0.12"):
            raise ValueError(f"io_cat_table must be 'analyzer' or '0.0.12', not {io_cat_table!r}")
        self.io_cat_table = io_cat_table
        self.bloom_dimensions = list(bloom_dimensions or ())
        for name in self.bloom_dimensions:
            if not name or "." in name:
                raise ValueError(f"bloom_dimensions must be names without a dot, not {name!r}")
        self.directory = directory
        self.files = list(files or ())
        self.index_dir = index_dir
        self.require_checkpoint = require_checkpoint
        self.require_bloom = require_bloom
        self.require_manifest = require_manifest
        self.checkpoint_size = checkpoint_size
        self.parallelism = parallelism or (chosen.threads if chosen is not None else 0)
        self.force_rebuild = force_rebuild
        self.aggregation: AggregationConfig | None = None
        if isinstance(require_aggregation, AggregationConfig):
            self.aggregation = require_aggregation
        elif require_aggregation is True:
            self.aggregation = AggregationConfig(
                time_interval_ms, group_keys, custom_metric_fields, compute_percentiles
            )

    def __enter__(self) -> Indexer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: between calls an indexer holds nothing that could be released."""

    @property
    def aggregation_config(self) -> AggregationConfig | None:
        """How the aggregation is built, ``None`` without one."""
        return self.aggregation

    # -- building -----------------------------------------------------------------------------

    def resolve(self) -> IndexStatus:
        """Return which traces have all that is required as it is on disk, and what others lack."""
        from dftindexd.compat.access import resolve

        return resolve(self._select(), self.index_dir, self._tiers())

    def build(self) -> None:
        """Index what is new, changed or required and missing, forget what is gone.

        With *force_rebuild* all that is required is built anew. What else the index holds, such as
        the aggregation in other intervals, stays.

        :raises DFTUtilsError: the directory or the store cannot be used.
        """
        self._build()

    def _build(self) -> Built:
        """Build, and return what the store holds then."""
        from dftindexd.compat.access import build_index

        selection, tiers = self._select(), self._tiers()
        return build_index(
            selection, self.index_dir, tiers, self.parallelism, force=self.force_rebuild
        )

    def ensure_indexed(self) -> IndexStatus:
        """Resolve, build if anything is to be done, and return how it stands then.

        Traces that cannot be indexed stay in ``needs_work``.
        """
        status = self.resolve()
        if status.needs_work or (self.force_rebuild and status.total_files):
            from dftindexd.compat.status import status_of

            built = self._build()
            status = status_of(self._select(), built.path, built.sets, self._tiers())
        return status

    def _select(self) -> Selection:
        from dftindexd.compat.selection import select

        return select(self.directory, self.files)

    def _tiers(self) -> TierConfig:
        """Return what is required."""
        from dftindexd.index.model import TierConfig

        return TierConfig(
            checkpoints=self.require_checkpoint,
            bloom=self.require_bloom,
            manifest=self.require_manifest,
            aggregation=self._aggregation_tier(),
            chunk_bytes=self.checkpoint_size,
            arguments=tuple(self.bloom_dimensions),
        ).normal()

    def _aggregation_tier(self) -> AggregationTier | None:
        if self.aggregation is None:
            return None
        from dftindexd.compat.tiers import aggregation_tier

        return aggregation_tier(self.aggregation)

    # -- reading ------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[OpenIndex | None]:
        from dftindexd.compat.access import read_index

        selection = self._select()
        if not selection.stamps:
            raise DFTUtilsError("No index path available")
        with read_index(selection, self.index_dir, self._tiers()) as index:
            if index is not None:
                index.warn_of_changed()
            yield index

    @contextmanager
    def _read_aggregation(self) -> Iterator[OpenIndex]:
        with self._read() as index:
            if index is None:
                from dftindexd.compat.errors import DFTUtilsAggregationError

                raise DFTUtilsAggregationError(
                    "No aggregation config found - was aggregation enabled? "
                    "(nothing is indexed yet: call ensure_indexed())"
                )
            yield index

    def get_checkpoint_indexer(self, file_path: str) -> CheckpointIndexer:
        """Return what tells the checkpoints of the trace at *file_path*, one of this indexer's.

        It reads, and where need be builds, the same store, with this indexer's *checkpoint_size*.

        :raises DFTUtilsIndexerError: the indexer has no such trace.
        """
        selection = self._select()
        return CheckpointIndexer.of_indexer(
            selection, self.index_dir, file_path, self.checkpoint_size
        )

    def get_hash_table(self, hash_type: str) -> dict[str, str]:
        """Return hash to name of type ``file``, ``host``, ``string`` or ``proc``.

        A hash that traces name differently has the name "".
        """
        kind = _one_of(hash_type, _HASH_KINDS, "type must be 'file', 'host', 'string', or 'proc'")
        with self._read() as index:
            return index.names(kind) if index is not None else {}

    def query_file_pids(self, file_id: int) -> set[int]:
        """Return the processes whose records the trace of this id holds, none for an unknown id."""
        return self.query_all_file_pids().get(file_id, set())

    def query_all_file_pids(self) -> dict[int, set[int]]:
        """Return the processes whose records each trace holds, by the trace's file id."""
        with self._read() as index:
            return index.pids() if index is not None else {}

    def query_file_info(self) -> tuple[dict[int, str], dict[int, set[int]]]:
        """Return the path of each trace and the processes in it, both by the trace's file id."""
        with self._read() as index:
            return (index.paths(), index.pids()) if index is not None else ({}, {})

    def iter_aggregation(
        self, type: str = "events", batch_size: int = 10000
    ) -> Iterator[ArrowBatch]:
        """Return the stored rows of ``events``, ``profiles`` or ``system`` in batches."""
        kind = _kind(type)
        _check_batch_size(batch_size)
        with self._read_aggregation() as index:
            return batches_of(index.aggregation(self._aggregation_tier(), kind), batch_size)

    def _question(
        self,
        time_granularity: float,
        time_resolution: float,
        query: str | None,
        group_by: Sequence[str] | None,
    ) -> AnalyzerQuery:
        from dftindexd.index.query.selected import AnalyzerQuery

        return AnalyzerQuery(time_granularity, time_resolution, query, group_by, self.io_cat_table)

    def iter_arrow_dfanalyzer(
        self,
        type: str = "events",
        batch_size: int = 10000,
        time_granularity: float = 1.0,
        time_resolution: float = 1000000.0,
        query: str | None = None,
    ) -> Iterator[ArrowBatch]:
        """Return the analyzer's table of ``events``, ``profiles`` or ``system`` in batches.

        :raises ValueError: *query* does not parse, or names an unknown column.
        """
        kind = _kind(type)
        _check_batch_size(batch_size)
        asked = self._question(time_granularity, time_resolution, query, None)
        with self._read_aggregation() as index:
            (table,) = index.analyzer(self._aggregation_tier(), [kind], asked)
        return batches_of(table, batch_size)

    def iter_arrow_dfanalyzer_all(
        self,
        batch_size: int = 10000,
        time_granularity: float = 1.0,
        time_resolution: float = 1000000.0,
        query: str | None = None,
        group_by: Sequence[str] | None = None,
    ) -> dict[str, list[ArrowBatch]]:
        """Return the batches of all kinds; ``system`` has the means of the system metrics.

        :raises ValueError: *query* or *group_by* names an unknown column.
        """
        _check_batch_size(batch_size)
        group_by = _checked_group_by(group_by)
        asked = self._question(time_granularity, time_resolution, query, group_by)
        with self._read_aggregation() as index:
            tables = index.analyzer(
                self._aggregation_tier(), ("events", "profiles", "metrics"), asked
            )
        return {
            kind: list(batches_of(table, batch_size))
            for kind, table in zip(_KINDS, tables, strict=True)
        }


def _one_of(value: str, allowed: Mapping[str, _K], message: str) -> _K:
    if value not in allowed:
        raise ValueError(message)
    return allowed[value]


def _kind(value: str) -> _Kind:
    return _one_of(value, _KINDS, "type must be 'events', 'profiles', or 'system'")


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 0:
        raise DFTUtilsError(f"batch_size must be at least 0, not {batch_size}")


def _checked_group_by(group_by: object) -> Sequence[str] | None:
    if group_by is None:
        return None
    if not isinstance(group_by, Sequence):
        raise TypeError("group_by must be a list of column names")
    if not all(isinstance(name, str) for name in group_by):
        raise TypeError("group_by must hold column names only")
    return cast("Sequence[str]", list(group_by))
