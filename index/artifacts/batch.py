"""A batch: the SST files that hold the rows of some traces, and the metadata that describes them.

The metadata says of which traces the rows are, and which files belong to the batch, with the size
and digest of each. It ends with a digest of its own, and is written last, so that a batch whose
metadata reads back is whole. A *delivery* names batches for whoever takes them in elsewhere.

Segment ids of a cluster's workers are drawn at random: their highest bit is set, which no id of an
opening has. So no two attempts share one, and whatever comes late or twice is told by its ids.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import Final, NamedTuple, TypeVar

import msgspec

from dftindexd.index.artifacts.files import ArtifactError, open_artifact
from dftindexd.index.model import ParsedTrace, TierConfig, TraceFacts
from dftindexd.index.store.identity import write_file_durably

__all__ = (
    "BatchMetadata",
    "Delivery",
    "Part",
    "PartFailure",
    "SstFile",
    "first_segment_id",
    "read_delivery",
    "read_metadata",
    "segments_of_batch",
    "write_delivery",
    "write_metadata",
)

T = TypeVar("T")

_DIGEST_BYTES: Final = 16
_CLUSTERS: Final = 1 << 63
_AGAIN: Final = "have the worker build its batch again"


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


class SstFile(msgspec.Struct, frozen=True, array_like=True):
    """A file with rows of one column family: its size in bytes and its digest."""

    family: str
    size: int
    digest: bytes


class BatchMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch holds. *files* has each of its SST files by its name. *forced*: it is to replace
    what shows the same state of a trace."""

    parts: tuple[Part, ...]
    failures: tuple[PartFailure, ...] = ()
    files: dict[str, SstFile] = {}
    forced: bool = False


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Batches to be taken in: the paths of their metadata, and of each SST file by its name."""

    batches: tuple[str, ...]
    files: dict[str, str]


class Segments(NamedTuple):
    """The ids from *first* to *last*: those that the keys of a batch's rows may begin with."""

    first: int
    last: int


_encoder: Final = msgspec.msgpack.Encoder()


def first_segment_id() -> int:
    """Return where the ids of a batch begin: far from those of any other."""
    return _CLUSTERS | secrets.randbits(61)


def segments_of_batch(batch: BatchMetadata) -> Segments:
    """Return between which ids those of the rows of *batch* are.

    :raises ArtifactError: one is none of a cluster's.
    """
    ids = [one.segment_id for part in batch.parts for one in part.parsed.segments]
    segments = Segments(min(ids, default=_CLUSTERS), max(ids, default=_CLUSTERS))
    if segments.first < _CLUSTERS:
        raise ArtifactError(
            f"segment {segments.first:016x} of a batch is none of a cluster's worker", _AGAIN
        )
    return segments


def write_metadata(path: str, metadata: BatchMetadata) -> None:
    """Write the metadata of a batch whose files are all there.

    :raises OSError: it cannot be written.
    """
    _write(path, metadata)


def read_metadata(path: str) -> BatchMetadata:
    """Return the metadata at *path*.

    :raises ArtifactError: it is missing, damaged, or not to be trusted.
    """
    return _read(path, BatchMetadata)


def write_delivery(path: str, delivery: Delivery) -> None:
    """Write *delivery* to *path*.

    :raises ArtifactError: a path in it is not UTF-8.
    :raises OSError: it cannot be written.
    """
    try:
        _write(path, delivery)
    except UnicodeEncodeError as error:
        raise ArtifactError(
            f"the path {error.object!r} is not UTF-8", "name another staging directory"
        ) from error


def read_delivery(path: str) -> Delivery:
    """Return the delivery at *path*.

    :raises ArtifactError: it is missing, damaged, or not to be trusted.
    """
    return _read(path, Delivery)


def _write(path: str, value: msgspec.Struct) -> None:
    text = _encoder.encode(value)
    write_file_durably(path, text + _digest(text))


def _read(path: str, kind: type[T]) -> T:
    with os.fdopen(open_artifact(path), "rb") as file:
        data = file.read()
    text = data[:-_DIGEST_BYTES]
    if _digest(text) != data[-_DIGEST_BYTES:]:
        raise ArtifactError(f"{path} is damaged", _AGAIN)
    try:
        return msgspec.msgpack.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} does not say what it should: {error}",
            "have all workers and the coordinator run one version",
        ) from error


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()
