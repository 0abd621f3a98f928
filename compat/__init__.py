"""The API of dftracer-utils over our own index: ``from dftindexd import compat as dftracer_utils``.

Where a daemon serves the traces it is asked; else the index lies in a store of this process's own,
never in ``<dir>/.dftindex``. docs/differences.md says where
answers differ from dftracer-utils 0.0.12 on purpose.
"""

from __future__ import annotations

from dftindexd import __version__
from dftindexd.compat.aggregator import AggregatorUtility
from dftindexd.compat.arrow_files import read_arrow, write_arrow
from dftindexd.compat.capsule import ArrowBatch, ArrowTable
from dftindexd.compat.checkpoints import CheckpointIndexer, IndexerCheckpoint
from dftindexd.compat.config import AggregationConfig, IndexStatus
from dftindexd.compat.distributed_index import (
    IndexDatabase,
    SstArtifactRegistry,
    build_sst_batch,
    move_artifacts,
    scan_aggregation_manifest,
)
from dftindexd.compat.errors import (
    DFTUtilsAggregationError,
    DFTUtilsCompressionError,
    DFTUtilsError,
    DFTUtilsIndexerError,
    DFTUtilsIOError,
    DFTUtilsNotFoundError,
    DFTUtilsParseError,
    DFTUtilsPipelineError,
    DFTUtilsQueryError,
    DFTUtilsReaderError,
    DFTUtilsValueError,
)
from dftindexd.compat.expressions import Expr, Field
from dftindexd.compat.indexer import Indexer
from dftindexd.compat.json_value import JsonDictValue
from dftindexd.compat.log_level import get_log_level, set_log_color, set_log_level
from dftindexd.compat.planning import (
    enumerate_gzip_members,
    plan_lpt_partition,
    plan_work_units,
    scan_files,
)
from dftindexd.compat.runtime import (
    Runtime,
    TaskHandle,
    get_default_runtime,
    set_default_runtime,
)
from dftindexd.compat.statistics import StatisticsQueryUtility
from dftindexd.compat.trace_reader import TraceReader

__all__ = (
    "AggregationConfig",
    "AggregatorUtility",
    "ArrowBatch",
    "ArrowTable",
    "CheckpointIndexer",
    "DFTUtilsAggregationError",
    "DFTUtilsCompressionError",
    "DFTUtilsError",
    "DFTUtilsIOError",
    "DFTUtilsIndexerError",
    "DFTUtilsNotFoundError",
    "DFTUtilsParseError",
    "DFTUtilsPipelineError",
    "DFTUtilsQueryError",
    "DFTUtilsReaderError",
    "DFTUtilsValueError",
    "Expr",
    "Field",
    "IndexDatabase",
    "IndexStatus",
    "Indexer",
    "IndexerCheckpoint",
    "JsonDictValue",
    "Runtime",
    "SstArtifactRegistry",
    "StatisticsQueryUtility",
    "TaskHandle",
    "TraceReader",
    "__version__",
    "build_sst_batch",
    "enumerate_gzip_members",
    "get_default_runtime",
    "get_log_level",
    "move_artifacts",
    "plan_lpt_partition",
    "plan_work_units",
    "read_arrow",
    "scan_aggregation_manifest",
    "scan_files",
    "set_default_runtime",
    "set_log_color",
    "set_log_level",
    "write_arrow",
)
