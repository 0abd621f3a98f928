"""Artifacts: what a worker leaves for whoever ingests it, as files on a file system that both see.

An artifact is a dictionary of paths by name, such as ``aggregation_sst``; a batch has one or more.
Each is an SST file of the column family of that name, except ``metadata_sst``: that says of which
traces the rows are, and which files belong to the batch, with their sizes. It ends with a digest,
and is written last, so that a batch whose metadata reads back is whole.

Segment ids of a cluster's workers are drawn at random: their highest bit is set, which no id of an
opening has. So no two attempts share one, and whatever comes late or twice is told by its ids.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from dftindexd.index.errors import CoreError
from dftindexd.index.model import ParsedTrace, TierConfig, TraceFacts
from dftindexd.index.store.identity import write_file_durably
from dftindexd.index.store.layout import SEGMENT_FAMILIES

__all__ = (
    "ARTIFACT_NAMES",
    "ArtifactError",
    "Artifacts",
    "BatchMetadata",
    "Part",
    "PartFailure",
    "SstArtifactRegistry",
    "artifacts_of",
    "first_segment_id",
    "move_artifacts",
    "read_metadata",
    "sst_name",
    "write_metadata",
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

_DIGEST_BYTES: Final = 16


class ArtifactError(CoreError):
    """An artifact is missing, incomplete or not as it was written."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What reading a trace, or a slice of it, gave: the text from byte *begin* on, to the end of
    the trace if *is_last*, else to ``parsed.resume``.

    *given* are the facts that a slice was read with.
    """

    path: bytes
    tiers: TierConfig
    parsed: ParsedTrace
    begin: int = 0
    is_last: bool = True
    given: TraceFacts = TraceFacts()


class PartFailure(msgspec.Struct, frozen=True):
    """A trace that could not be read, and why."""

    path: bytes
    reason: str


class BatchMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch holds. *files* has the size in bytes of each of its SST files, by its name.
    *forced*: it is to replace what shows the same state of a trace."""

    parts: tuple[Part, ...]
    failures: tuple[PartFailure, ...] = ()
    files: dict[str, int] = {}
    forced: bool = False


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(BatchMetadata)


def first_segment_id() -> int:
    """Return where the ids of a batch begin: far from those of any other."""
    return 1 << 63 | secrets.randbits(61)


def sst_name(family: str) -> str:
    """Return the name of an artifact that is an SST file of *family*."""
    return f"{family}_sst"


def artifacts_of(paths: Mapping[str, str]) -> Artifacts:
    """Return the artifact that has these *paths* by name."""
    return {name: paths.get(name) for name in ARTIFACT_NAMES}


def write_metadata(path: str, metadata: BatchMetadata) -> None:
    """Write the metadata of a batch whose files are all there.

    :raises OSError: it cannot be written.
    """
    text = _encoder.encode(metadata)
    write_file_durably(path, text + _digest(text))


def read_metadata(path: str) -> BatchMetadata:
    """Return the metadata at *path*.

    :raises ArtifactError: it is missing or damaged.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ArtifactError(
            f"{path}: {error.strerror}", "have the worker build its batch again"
        ) from error
    text = data[:-_DIGEST_BYTES]
    if _digest(text) != data[-_DIGEST_BYTES:]:
        raise ArtifactError(f"{path} is damaged", "have the worker build its batch again")
    return _decoder.decode(text)


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()


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

    def batches(self) -> list[str]:
        """Return the metadata of each batch, once."""
        with self._lock:
            return list(dict.fromkeys(a[METADATA] for a in self._artifacts if METADATA in a))

    def files(self) -> dict[str, tuple[str, str]]:
        """Return the family and the path of each SST file, by its file name."""
        families = {sst_name(family): family for family in SEGMENT_FAMILIES}
        with self._lock:
            return {
                os.path.basename(path): (families[name], path)
                for paths in self._artifacts
                for name, path in paths.items()
                if name in families
            }
