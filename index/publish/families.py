"""The column families of a dftracer-utils 0.0.12 store, and what a row of one is."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = (
    "AGGREGATION",
    "CHECKPOINTS",
    "CHUNK_BLOOM",
    "CHUNK_DIM_STATS",
    "CHUNK_STATS",
    "DEFAULT",
    "DIMENSIONS",
    "FAMILIES",
    "FILE_BLOOM",
    "FILE_CAT_COUNTS",
    "FILE_NAME_COUNTS",
    "FILE_PID_TID_COUNTS",
    "FILE_SCALAR_STATS",
    "HASH_TABLES",
    "MANIFEST",
    "METADATA",
    "NAME_CHUNK_POSTINGS",
    "NAME_DICTIONARY",
    "NAME_FILE_POSTINGS",
    "ROOT_CAT_COUNTS",
    "ROOT_NAME_COUNTS",
    "ROOT_PID_TID_COUNTS",
    "ROOT_SCALAR_STATS",
    "SYSTEM_METRICS",
    "PublishedRow",
)

#: Family, key, value.
PublishedRow: TypeAlias = tuple[str, bytes, bytes]

DEFAULT: Final = "default"
CHECKPOINTS: Final = "checkpoints"
METADATA: Final = "metadata"
CHUNK_BLOOM: Final = "chunk_bloom"
FILE_BLOOM: Final = "file_bloom"
CHUNK_STATS: Final = "chunk_stats"
DIMENSIONS: Final = "dimensions"
CHUNK_DIM_STATS: Final = "chunk_dim_stats"
FILE_SCALAR_STATS: Final = "file_scalar_stats"
FILE_CAT_COUNTS: Final = "file_cat_counts"
FILE_NAME_COUNTS: Final = "file_name_counts"
FILE_PID_TID_COUNTS: Final = "file_pid_tid_counts"
ROOT_SCALAR_STATS: Final = "root_scalar_stats"
ROOT_CAT_COUNTS: Final = "root_cat_counts"
ROOT_NAME_COUNTS: Final = "root_name_counts"
ROOT_PID_TID_COUNTS: Final = "root_pid_tid_counts"
NAME_DICTIONARY: Final = "name_dictionary"
NAME_FILE_POSTINGS: Final = "name_file_postings"
NAME_CHUNK_POSTINGS: Final = "name_chunk_postings"
MANIFEST: Final = "manifest"
AGGREGATION: Final = "aggregation"
SYSTEM_METRICS: Final = "system_metrics"
HASH_TABLES: Final = "hash_tables"

#: All of them, in their order; a reader that misses one fails.
FAMILIES: Final = (
    *(DEFAULT, CHECKPOINTS, METADATA, CHUNK_BLOOM, FILE_BLOOM, CHUNK_STATS, DIMENSIONS),
    *(CHUNK_DIM_STATS, FILE_SCALAR_STATS, FILE_CAT_COUNTS, FILE_NAME_COUNTS),
    *(FILE_PID_TID_COUNTS, ROOT_SCALAR_STATS, ROOT_CAT_COUNTS, ROOT_NAME_COUNTS),
    *(ROOT_PID_TID_COUNTS, NAME_DICTIONARY, NAME_FILE_POSTINGS, NAME_CHUNK_POSTINGS, MANIFEST),
    *("provenance", "archives", "tar_files", AGGREGATION, SYSTEM_METRICS, HASH_TABLES),
)
