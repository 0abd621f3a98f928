"""The API of dftracer-utils over our own index: ``from dftindexd import compat as dftracer_utils``.

The index lies in a store of ours, never in ``<dir>/.dftindex``. docs/differences.md says where
answers differ from dftracer-utils 0.0.12 on purpose.
"""

from __future__ import annotations

from dftindexd.compat.capsule import ArrowBatch
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
from dftindexd.compat.indexer import Indexer

__all__ = (
    "AggregationConfig",
    "ArrowBatch",
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
    "IndexStatus",
    "Indexer",
    "IndexerCheckpoint",
)
