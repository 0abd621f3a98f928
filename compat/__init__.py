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
    "IndexStatus",
    "Indexer",
    "IndexerCheckpoint",
    "JsonDictValue",
    "Runtime",
    "StatisticsQueryUtility",
    "TaskHandle",
    "TraceReader",
    "__version__",
    "get_default_runtime",
    "get_log_level",
    "read_arrow",
    "set_default_runtime",
    "set_log_color",
    "set_log_level",
    "write_arrow",
)
