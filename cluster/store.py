"""The coordinator's store: named by its path, open only while something is done with it.

It belongs to the root that its identity names; traces are known by their paths below that. What
workers left is taken in by :meth:`IndexStore.ingest`: files first, then one commit of all traces,
as the store's own writer does it. Ingesting a batch again changes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from dftindexd.cluster.artifacts import SstArtifactRegistry
from dftindexd.cluster.coordinator import Ingested, showing
from dftindexd.cluster.outside import OutsideFiles, add_outside
from dftindexd.index.artifacts.batch import BatchMetadata, read_metadata
from dftindexd.index.artifacts.files import unlink_all
from dftindexd.index.artifacts.taking import (
    files_of,
    name_below,
    not_taken,
    plan_taking,
    registration,
    take_files,
)
from dftindexd.index.errors import StoreLockedError, StoreReadOnlyError
from dftindexd.index.model import FileStamp, TierConfig
from dftindexd.index.store.identity import (
    IDENTITY_FILE,
    LOCK_FILE,
    UNKNOWN_HOLDER,
    acquire_lock,
    check_identity,
    check_root,
    is_unclaimed,
    lock_holder,
    read_identity,
)
from dftindexd.index.store.layout import AGGREGATION, SYSTEM_METRICS, completion_marker
from dftindexd.index.store.registry import CommitRemoval
from dftindexd.index.store.writer import StoreWriter
from dftindexd.index.tier_sets import cover

__all__ = ("OUTSIDE", "IndexStore", "root_of")

#: The families that may stay outside of the store: nothing but the aggregation needs them.
OUTSIDE: Final = frozenset((AGGREGATION, SYSTEM_METRICS))

_OWNER: Final = "a coordinator"
#: How long another coordinator is waited for, and how often it is looked whether it is done.
_PATIENCE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05


def _owner() -> str:
    return f"{_OWNER}, pid {os.getpid()}"


def root_of(paths: Iterable[str]) -> bytes:
    """Return the directory that all of *paths* lie below."""
    folders = {os.path.dirname(os.path.realpath(os.fsencode(path))) for path in paths}
    return os.path.commonpath(folders)


class IndexStore:
    """The store at *path*; *root* is the root of a new one, by default that of the first traces.

    :raises RootError: the store is of another root.
    :raises ForeignStoreError: *path* holds something else.
    """

    def __init__(self, path: str, root: bytes | None = None) -> None:
        self.path = os.path.abspath(path)
        self._root = root
        if self.exists and root is not None:
            check_root(self.path, root)

    @property
    def exists(self) -> bool:
        """Whether there is a store."""
        return os.path.exists(os.path.join(self.path, IDENTITY_FILE))

    def root(self, paths: Iterable[str] = ()) -> bytes:
        """Return the root of the store; that of a new one is where *paths* lie."""
        if self._root is None:
            held = read_identity(self.path).root if self.exists else ""
            self._root = os.fsencode(held) if held else root_of(paths)
        return self._root

    @contextmanager
    def open(self, paths: Iterable[str] = ()) -> Iterator[StoreWriter]:
        """Open the store, a new one for *paths*, for as long as the context lasts. Another
        coordinator, which has it open for a moment only, is waited for.

        :raises StoreLockedError: somebody else has it open.
        """
        writer = self._opened(os.fsdecode(self.root(paths)))
        try:
            yield writer
        finally:
            writer.close()

    def _opened(self, root: str) -> StoreWriter:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                if not self.exists and is_unclaimed(self.path):
                    self._claim(root)
                return StoreWriter(self.path, root=root, owner=_owner())
            except StoreLockedError:
                holder = lock_holder(os.path.join(self.path, LOCK_FILE))
                # Whoever has just locked it says only then who they are.
                is_known = holder.startswith((_OWNER, UNKNOWN_HOLDER))
                if not is_known or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_SECONDS)

    def _claim(self, root: str) -> None:
        """Make the directory ours, of two who do so at once by one alone."""
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            lock = acquire_lock(os.path.join(self.path, LOCK_FILE), _owner())
            try:
                check_identity(self.path, root)
            finally:
                os.close(lock)
        except OSError as error:
            raise StoreReadOnlyError(
                f"the store {self.path} cannot be made: {error.strerror}",
                "check its directory's owner, mode and file system",
            ) from error

    def held(self, names: Iterable[bytes]) -> AbstractContextManager[None]:
        """See :class:`~dftindexd.cluster.coordinator.Coordinator`: nobody else reads them here."""
        return nullcontext()

    def register(self, paths: list[str]) -> list[int]:
        """Return the file id of each of *paths*, a new one for each that has none.

        A new one is listed as quarantined until its rows come.
        """
        if not paths:
            return []
        root = self.root(paths)
        names = [name_below(root, os.fsencode(path)) for path in paths]
        with self.open(paths) as writer:
            new = [name for name in dict.fromkeys(names) if name not in writer.registry.sets]
            if new:
                writer.write((), [registration(name) for name in new])
            return [writer.registry.sets[name][0].file_id for name in names]

    def lacking(self, stamps: Mapping[bytes, FileStamp], tiers: TierConfig) -> list[bytes]:
        """Return which of the traces with these *stamps* the store lacks, as they are on disk with
        all *tiers*."""
        if not self.exists:
            return list(stamps)
        with self.open() as writer:
            sets = writer.registry.sets
        return [
            path
            for path, stamp in stamps.items()
            if cover(showing(sets.get(path, ()), stamp), tiers).missing is not None
        ]

    def ingest(
        self, registry: SstArtifactRegistry, outside: frozenset[str] = frozenset()
    ) -> Ingested:
        """Take in all batches of *registry* and make their traces visible, all in one commit.

        What the store holds as it is on disk is not replaced, unless a batch is forced. With some
        of the families *outside*, traces get no aggregation, and its files stay where they are.

        What was taken in is removed from where it was.

        :raises ArtifactError: a file is missing, not as it was written, or not to be trusted;
            nothing is taken then.
        :raises RootError: a trace lies elsewhere.
        """
        delivery = registry.delivery()
        batches = [read_metadata(path) for path in delivery.batches]
        paths = [os.fsdecode(part.path) for batch in batches for part in batch.parts]
        if not paths:
            return Ingested(0, {})
        with self.open(paths) as writer:
            new = not_taken(batches, writer.registry)
            taking = plan_taking(new, writer.registry, self.root(), aggregated=not outside)
            artifacts = take_files(new, delivery.files, writer.staging, outside)
            if new:
                inside = {name: ssts for name, ssts in artifacts.items() if name not in outside}
                writer.ingest(inside, taking.commits)
        if outside:
            self._note_outside(new, artifacts)
        unlink_all(files_of(new, delivery.files, outside))
        return Ingested(len(new), taking.incomplete)

    def _note_outside(
        self, batches: Iterable[BatchMetadata], artifacts: Mapping[str, Sequence[str]]
    ) -> None:
        """Note where the files are that stay outside of the store."""
        tiers = {part.tiers.aggregation for batch in batches for part in batch.parts} - {None}
        files = {family: tuple(artifacts.get(family, ())) for family in sorted(OUTSIDE)}
        if any(files.values()):
            add_outside(self.path, [OutsideFiles(tier, files) for tier in tiers if tier])

    def write_markers(self, file_ids: Iterable[int]) -> None:
        """Write the completion marker of each set with an aggregation of these traces again."""
        wanted = set(file_ids)
        if not self.exists:
            return
        with self.open() as writer:
            batch = writer.rocks.batch()
            for sets in writer.registry.sets.values():
                for one in sets:
                    if one.file_id in wanted and one.tiers.aggregation and not one.quarantined:
                        marker = completion_marker(one.file_id, one.tiers.digest())
                        batch.put(AGGREGATION, marker, b"")
            writer.rocks.write(batch)

    def forget_gone(self, on_disk: Mapping[bytes, FileStamp]) -> None:
        """Remove the traces that are not *on_disk*, where the whole root was looked at."""
        if not self.exists:
            return
        with self.open() as writer:
            gone = [
                CommitRemoval(path=one.path, base_version=one.version, tiers=one.tiers)
                for path, sets in writer.registry.sets.items()
                if path not in on_disk
                for one in sets
            ]
            if gone:
                writer.write((), gone)
