"""The ``CheckpointIndexer`` of dftracer-utils: the places of one trace where reading can begin.

As in :mod:`dftindexd.compat.indexer`, the rooms that this needs are imported when they are, and the
store is open only while it is built or read.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Final

from dftindexd.compat.errors import DFTUtilsIndexerError
from dftindexd.compat.runtime import Runtime, checked_runtime

if TYPE_CHECKING:
    from dftindexd.compat.config import IndexStatus
    from dftindexd.compat.selection import Selection
    from dftindexd.index.model import TierConfig
    from dftindexd.index.tiers.checkpoints import Checkpoint

__all__ = ("CheckpointIndexer", "IndexerCheckpoint")

_FAILED: Final = "Failed to create indexer"


@dataclass(frozen=True, slots=True)
class IndexerCheckpoint:
    """A place where inflating can begin: at byte ``c_offset`` of the file for ``uc_offset`` of the
    text.

    ``uc_size`` and ``c_size`` reach to the next checkpoint, those of the last one to the end of
    what is indexed. ``bits`` bits (0 to 7, the upper ones) of the byte before ``c_offset`` belong
    to the place; they are 0 at the beginning of a gzip member and in a plain trace. ``num_lines``
    are the lines from the first that begins at or after the place, or about there, to where those
    of the next checkpoint begin: together they are all lines.
    """

    checkpoint_idx: int
    uc_offset: int
    uc_size: int
    c_offset: int
    c_size: int
    bits: int
    num_lines: int


@dataclass(frozen=True, slots=True)
class _Index:
    """What the store holds of the trace."""

    checkpoints: tuple[IndexerCheckpoint, ...] = ()
    lines: int = 0
    bytes: int = 0
    has_bloom: bool = False
    has_manifest: bool = False


class CheckpointIndexer:
    """The checkpoints of the trace at *gz_path*, packed or plain.

    What is read of the index is kept until :meth:`build` or :meth:`close`.

    :param index_path: the store itself; without it the one of the trace's directory, in the state
        directory.
    :param checkpoint_size: bytes of text between two checkpoints, about.
    :param force_rebuild: :meth:`build` parses also what is indexed already.
    :param build_bloom, build_manifest: build these tiers too.
    :raises DFTUtilsIndexerError: there is no such trace, or *checkpoint_size* is less than 1.
    :raises TypeError: a path is not a ``str``, or *runtime* is none; one trace has one parser.
    """

    def __init__(
        self,
        gz_path: str,
        index_path: str | None = None,
        checkpoint_size: int = 1048576,
        force_rebuild: bool = False,
        build_bloom: bool = False,
        build_manifest: bool = False,
        runtime: Runtime | None = None,
    ) -> None:
        _check_str(gz_path, "gz_path")
        _check_str("" if index_path is None else index_path, "index_path")
        checked_runtime(runtime)
        if checkpoint_size < 1:
            raise DFTUtilsIndexerError(
                f"{_FAILED}: checkpoint_size must be at least 1, not {checkpoint_size}"
            )
        selection = _trace(gz_path)
        self._index_dir = ""
        if index_path:
            # Taken literally; its own lock guards it, not the state directory's.
            selection = replace(selection, store=os.path.abspath(index_path))
            self._index_dir = os.path.dirname(selection.store)
        self._selection: Selection | None = selection
        self._index_path = selection.store_path(self._index_dir)
        self._gz_path = gz_path
        self._checkpoint_size = checkpoint_size
        self._force = force_rebuild
        self._with_bloom = build_bloom
        self._with_manifest = build_manifest
        self._index: _Index | None = None

    @classmethod
    def of_indexer(
        cls, selection: Selection, index_dir: str, path: str, checkpoint_size: int
    ) -> CheckpointIndexer:
        """Return the one of the trace at *path* in the store of an indexer of *selection*.

        :raises DFTUtilsIndexerError: the indexer has no such trace.
        """
        name = os.path.relpath(os.path.realpath(os.fsencode(path)), selection.root)
        if selection.stamps.get(name) is None:
            raise DFTUtilsIndexerError(
                f"Failed to create checkpoint indexer: the indexer has no trace {path}"
            )
        self = cls(path, None, checkpoint_size)
        self._selection = replace(
            selection,
            stamps={name: selection.stamps[name]},
            targets=(os.path.join(selection.root, name),),
        )
        self._index_dir = index_dir
        self._index_path = selection.store_path(index_dir)
        return self

    def __enter__(self) -> CheckpointIndexer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the trace: every method but this one is an error from now on."""
        self._selection = None
        self._index = None

    @property
    def gz_path(self) -> str:
        """The trace, as the caller named it."""
        return self._gz_path

    @property
    def index_path(self) -> str:
        """The store: of a daemon where one serves the trace with these tiers."""
        if self._selection is not None:
            from dftindexd.compat.access import index_path

            self._index_path = index_path(self._selection, self._index_dir, self._tiers())
        return self._index_path

    @property
    def checkpoint_size(self) -> int:
        """Bytes of text between two checkpoints, about."""
        return self._checkpoint_size

    @property
    def has_bloom(self) -> bool:
        """Whether the index holds the bloom filters of the trace."""
        return self._selection is not None and self._read().has_bloom

    @property
    def has_manifest(self) -> bool:
        """Whether the index holds the manifest of the trace."""
        return self._selection is not None and self._read().has_manifest

    # -- building -----------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return whether there is a store."""
        self._opened()
        from dftindexd.index.store.identity import IDENTITY_FILE

        return os.path.exists(os.path.join(self.index_path, IDENTITY_FILE))

    def need_rebuild(self) -> bool:
        """Return whether :meth:`build` would parse the trace."""
        return self._force or bool(self._resolve().needs_work)

    def build(self) -> None:
        """Index the trace as it is on disk, if it is not; with *force_rebuild* in any case.

        :raises DFTUtilsIndexerError: the trace is gone or cannot be indexed, or the store cannot be
            used.
        """
        from dftindexd.compat.access import build_index

        build_index(self._on_disk(), self._index_dir, self._tiers(), 1, force=self._force)
        self._index = None
        if self._resolve().needs_work:
            raise DFTUtilsIndexerError(f"{self._gz_path} could not be indexed as it is on disk")

    def _resolve(self) -> IndexStatus:
        from dftindexd.compat.access import resolve

        return resolve(self._on_disk(), self._index_dir, self._tiers())

    # -- reading ------------------------------------------------------------------------------

    def get_checkpoints(self) -> list[IndexerCheckpoint]:
        """Return all checkpoints in order; none before the first :meth:`build`."""
        return list(self._read().checkpoints)

    def find_checkpoint(self, target_offset: int) -> IndexerCheckpoint | None:
        """Return the last checkpoint at or before *target_offset* of the text.

        ``None`` where nothing is indexed yet, and for an offset less than 0.
        """
        checkpoints = self._read().checkpoints
        found = bisect_right(checkpoints, target_offset, key=lambda one: one.uc_offset)
        return checkpoints[found - 1] if found else None

    def get_num_lines(self) -> int:
        """Return the number of lines that are indexed; 0 before the first :meth:`build`."""
        return self._read().lines

    def get_max_bytes(self) -> int:
        """Return the size of the text that is indexed; 0 before the first :meth:`build`.

        An unfinished last line is not in it.
        """
        return self._read().bytes

    def _opened(self) -> Selection:
        if self._selection is None:
            raise DFTUtilsIndexerError("Indexer not initialized")
        return self._selection

    def _on_disk(self) -> Selection:
        """Return the trace with its stamp of now."""
        from dftindexd.index.scan import stamp_or_none

        selection = self._opened()
        try:
            stamps = {
                name: stamp_or_none(os.path.join(selection.root, name)) for name in selection.stamps
            }
        except OSError as error:
            raise DFTUtilsIndexerError(f"{self._gz_path}: {error.strerror}") from error
        return replace(selection, stamps=stamps)

    def _tiers(self) -> TierConfig:
        from dftindexd.index.model import TierConfig

        return TierConfig(
            bloom=self._with_bloom,
            manifest=self._with_manifest,
            aggregation=None,
            chunk_bytes=self._checkpoint_size,
        ).normal()

    def _read(self) -> _Index:
        from dftindexd.compat.access import read_index

        selection = self._opened()
        if self._index is None:
            (name,) = selection.stamps
            with read_index(selection, self._index_dir, self._tiers()) as index:
                if index is None:
                    return _Index()
                chunks = index.checkpoints(name, self._checkpoint_size)
                tiers = [one.tiers for one in index.sets.get(name, ())]
            self._index = _Index(
                tuple(_checkpoints(chunks)),
                sum(chunk.num_lines for chunk in chunks),
                chunks[-1].uc_offset + chunks[-1].uc_size if chunks else 0,
                any(one.bloom for one in tiers),
                any(one.manifest for one in tiers),
            )
        return self._index


def _check_str(value: object, name: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def _trace(path: str) -> Selection:
    from dftindexd.compat.selection import select

    if not path:
        raise DFTUtilsIndexerError(f"{_FAILED}: the path is empty")
    if os.path.isdir(path):
        raise DFTUtilsIndexerError(f"{_FAILED}: {path} is a directory")
    selection = select("", [path])
    if None in selection.stamps.values():
        raise DFTUtilsIndexerError(f"{_FAILED}: {path} is no trace that can be read")
    return selection


def _checkpoints(chunks: list[Checkpoint]) -> list[IndexerCheckpoint]:
    """Return the places where the reading of *chunks* begins, each up to the next."""
    if not chunks:
        return []
    last = chunks[-1]
    begins = [chunk.uc_offset - chunk.skip for chunk in chunks]
    ends = [*begins[1:], last.uc_offset + last.uc_size]
    c_ends = [*(chunk.c_offset for chunk in chunks[1:]), last.c_offset + last.c_size]
    return [
        IndexerCheckpoint(
            checkpoint_idx=index,
            uc_offset=begin,
            uc_size=end - begin,
            c_offset=chunk.c_offset,
            c_size=c_end - chunk.c_offset,
            bits=chunk.bits,
            num_lines=chunk.num_lines,
        )
        for index, (chunk, begin, end, c_end) in enumerate(
            zip(chunks, begins, ends, c_ends, strict=True)
        )
    ]
