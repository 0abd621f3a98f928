"""Artifacts: what a worker leaves for whoever ingests it, as files on a file system that both see.

An artifact is a dictionary of paths by name, such as ``aggregation_sst``; a batch has one or more.
Each is an SST file of the column family of that name, except ``metadata_sst``, which describes the
batch (:mod:`dftindexd.index.artifacts.batch`).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from typing import Final, TypeAlias

from dftindexd.index.artifacts.batch import Delivery
from dftindexd.index.artifacts.files import ArtifactError
from dftindexd.index.store.layout import SEGMENT_FAMILIES

__all__ = (
    "ARTIFACT_NAMES",
    "Artifacts",
    "SstArtifactRegistry",
    "artifacts_of",
    "move_artifacts",
    "sst_name",
)

#: The path of each kind of file, ``None`` where there is none.
Artifacts: TypeAlias = dict[str, str | None]

METADATA: Final = "metadata_sst"

#: The names of dftracer-utils. Ours are those of our column families; the others stay ``None``.
ARTIFACT_NAMES: Final = (
    *(METADATA, "checkpoints_sst", "manifest_sst", "chunk_bloom_sst", "file_bloom_sst"),
    *("chunk_stats_sst", "chunk_dim_stats_sst", "dimensions_sst", "file_scalar_stats_sst"),
    *("file_cat_counts_sst", "file_pid_tid_counts_sst", "file_name_counts_sst"),
    *("name_dictionary_sst", "name_file_postings_sst", "name_chunk_postings_sst"),
    *("hash_tables_sst", "aggregation_sst", "system_metrics_sst"),
)


def sst_name(family: str) -> str:
    """Return the name of an artifact that is an SST file of *family*."""
    return f"{family}_sst"


def artifacts_of(paths: Mapping[str, str]) -> Artifacts:
    """Return the artifact that has these *paths* by name."""
    return {name: paths.get(name) for name in ARTIFACT_NAMES}


def checked_artifacts(artifacts: object) -> dict[str, str]:
    """Return the paths of *artifacts* by name, those that are none of ours left out.

    :raises TypeError: it is no dictionary of paths.
    """
    if not isinstance(artifacts, Mapping):
        raise TypeError("artifacts must be a dict")
    found: dict[str, str] = {}
    for name in ARTIFACT_NAMES:
        path = artifacts.get(name)
        if path is not None and not isinstance(path, str):
            raise TypeError(f"artifacts[{name!r}] must be str or None")
        if path is not None:
            found[name] = path
    return found


def move_artifacts(artifacts: Mapping[str, str | None], dest_dir: str) -> Artifacts:
    """Move the files of *artifacts* into *dest_dir*, which may lie on another file system; return
    where they are then.

    The metadata comes last: where it is, the others are.

    :raises TypeError: *artifacts* is no dictionary of paths.
    :raises ArtifactError: a file is missing or cannot be moved.
    """
    paths = checked_artifacts(artifacts)
    moved: dict[str, str] = {}
    for name in sorted(paths, key=lambda name: name == METADATA):
        moved[name] = os.path.join(dest_dir, os.path.basename(paths[name]))
        try:
            os.makedirs(dest_dir, exist_ok=True)
            shutil.move(paths[name], moved[name])
        except OSError as error:
            raise ArtifactError(
                f"cannot move {paths[name]} to {moved[name]}: {error.strerror}",
                "see whether both directories are there and writable on the worker",
            ) from error
    return artifacts_of(moved)


class SstArtifactRegistry:
    """Collects the artifacts that workers produced; threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._artifacts: list[dict[str, str]] = []

    def append(self, artifacts_dict: Mapping[str, str | None]) -> None:
        """Add an artifact, as a worker returned it.

        :raises TypeError: it is no dictionary of paths.
        """
        paths = checked_artifacts(artifacts_dict)
        with self._lock:
            self._artifacts.append(paths)

    def delivery(self) -> Delivery:
        """Return each batch, once, and all their SST files."""
        families = set(map(sst_name, SEGMENT_FAMILIES))
        with self._lock:
            batches = [os.path.abspath(a[METADATA]) for a in self._artifacts if METADATA in a]
            files = {
                os.path.basename(path): os.path.abspath(path)
                for paths in self._artifacts
                for name, path in paths.items()
                if name in families
            }
        return Delivery(batches=tuple(dict.fromkeys(batches)), files=files)
