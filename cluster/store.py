"""The coordinator's store: named by its path, open only while something is done with it.

It belongs to the root that its identity names; traces are known by their paths below that. What
workers left is taken in by :meth:`IndexStore.ingest`: files first, then one commit of all traces,
as the store's own writer does it. Ingesting a batch again changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import msgspec

from dftindexd.actors.directories import is_below
from dftindexd.cluster.artifacts import (
    ArtifactError,
    BatchMetadata,
    Part,
    SstArtifactRegistry,
    read_metadata,
)
from dftindexd.cluster.assembly import TOO_LATE, assemble, base_version, grouped
from dftindexd.cluster.outside import OutsideFiles, add_outside
from dftindexd.index.model import FileStamp, TierConfig, TraceRecord
from dftindexd.index.scan import stamp_or_none
from dftindexd.index.store.identity import (
    IDENTITY_FILE,
    RootError,
    check_root,
    read_identity,
)
from dftindexd.index.store.layout import AGGREGATION, SYSTEM_METRICS, completion_marker
from dftindexd.index.store.registry import (
    Commit,
    CommitParsed,
    CommitQuarantine,
    CommitRemoval,
    Registry,
)
from dftindexd.index.store.writer import StoreWriter
from dftindexd.index.tier_sets import cover

__all__ = ("OUTSIDE", "IndexStore", "Ingested", "root_of")

#: The families that may stay outside of the store: nothing but the aggregation needs them.
OUTSIDE: Final = frozenset((AGGREGATION, SYSTEM_METRICS))

_REGISTERED: Final = "registered for a build by a cluster, not indexed yet"
_NO_STAMP: Final = FileStamp(0, 0, 0, 0)


class Ingested(NamedTuple):
    """What became of the batches: *incomplete* traces, with the reason, and how many were taken."""

    taken: int
    incomplete: dict[bytes, str]


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
        """Open the store, a new one for *paths*, for as long as the context lasts.

        :raises StoreLockedError: somebody else has it open.
        """
        root = os.fsdecode(self.root(paths))
        writer = StoreWriter(self.path, root=root, owner=f"a coordinator, pid {os.getpid()}")
        try:
            yield writer
        finally:
            writer.close()

    def name(self, path: str) -> bytes:
        """Return the path of a trace relative to the root.

        :raises RootError: it does not lie below it.
        """
        root = self.root([path])
        named = os.path.abspath(os.fsencode(path))
        if not is_below(named, root):  # a link below the root keeps its name
            named = os.path.realpath(named)
        relative = os.path.relpath(named, root)
        if relative.startswith(b"../"):
            raise RootError(
                f"{path} does not lie below {os.fsdecode(root)}, whose index {self.path} is",
                "name another index path",
            )
        return relative

    def register(self, paths: list[str]) -> list[int]:
        """Return the file id of each of *paths*, a new one for each that has none.

        A new one is listed as quarantined until its rows come.
        """
        if not paths:
            return []
        names = [self.name(path) for path in paths]
        with self.open(paths) as writer:
            new = [name for name in dict.fromkeys(names) if name not in writer.registry.sets]
            if new:
                writer.write((), [_registration(name) for name in new])
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
            if cover(_showing(sets.get(path, ()), stamp), tiers).missing is not None
        ]

    def ingest(
        self, registry: SstArtifactRegistry, outside: frozenset[str] = frozenset()
    ) -> Ingested:
        """Take in all batches of *registry* and make their traces visible, all in one commit.

        What the store holds as it is on disk is not replaced, unless a batch is forced. With some
        of the families *outside*, traces get no aggregation, and its files stay where they are.

        :raises ArtifactError: a file is missing, or not as it was written; nothing is taken then.
        :raises RootError: a trace lies elsewhere.
        """
        batches = [read_metadata(path) for path in registry.batches()]
        paths = [os.fsdecode(part.path) for batch in batches for part in batch.parts]
        if not paths:
            return Ingested(0, {})
        with self.open(paths) as writer:
            new = _not_taken(batches, writer.registry)
            if not new:
                return Ingested(0, {})
            artifacts = _checked_files(new, registry.files())
            commits, incomplete = self._commits(new, writer.registry, bool(outside))
            inside = {family: ssts for family, ssts in artifacts.items() if family not in outside}
            writer.ingest(inside, commits)
        if outside:
            self._note_outside(new, artifacts)
        return Ingested(len(new), incomplete)

    def _note_outside(
        self, batches: Iterable[BatchMetadata], artifacts: Mapping[str, Sequence[str]]
    ) -> None:
        """Note where the files are that stay outside of the store."""
        tiers = {part.tiers.aggregation for batch in batches for part in batch.parts} - {None}
        files = {family: tuple(artifacts.get(family, ())) for family in sorted(OUTSIDE)}
        if any(files.values()):
            add_outside(self.path, [OutsideFiles(tier, files) for tier in tiers if tier])

    def _commits(
        self, batches: list[BatchMetadata], registry: Registry, without_aggregation: bool
    ) -> tuple[list[Commit], dict[bytes, str]]:
        """Return what to commit, and the traces that are not whole."""
        commits: list[Commit] = []
        incomplete: dict[bytes, str] = {}
        forced = {part.path for batch in batches if batch.forced for part in batch.parts}
        for (path, tiers), parts in grouped(_parts(batches)).items():
            name = self.name(os.fsdecode(path))
            if without_aggregation:
                tiers = msgspec.structs.replace(tiers, aggregation=None).normal()
            sets = registry.sets.get(name, ())
            whole = assemble(parts)
            if whole.parsed is None:
                incomplete[path] = whole.reason
            else:
                stamp = whole.parsed.stamp
                version = base_version(
                    sets, tiers, stamp, stamp_or_none(path), forced=path in forced
                )
                commits.append(
                    CommitParsed(path=name, base_version=version, tiers=tiers, parsed=whole.parsed)
                )
                if version != TOO_LATE:
                    commits += _outdated(sets, tiers, stamp)
            commits += [
                CommitParsed(path=name, base_version=TOO_LATE, tiers=tiers, parsed=part.parsed)
                for part in whole.unused
            ]
        return commits, incomplete

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


def _registration(name: bytes) -> CommitQuarantine:
    return CommitQuarantine(
        path=name,
        base_version=0,
        tiers=TierConfig().normal(),
        stamp=_NO_STAMP,
        reason=_REGISTERED,
    )


def _outdated(sets: Iterable[TraceRecord], tiers: TierConfig, stamp: FileStamp) -> list[Commit]:
    """Return the removals of the other sets of a trace that do not show it as *stamp* does."""
    return [
        CommitRemoval(path=one.path, base_version=one.version, tiers=one.tiers)
        for one in sets
        if one.stamp != stamp and one.tiers != tiers
    ]


def _showing(sets: Iterable[TraceRecord], stamp: FileStamp) -> list[TraceRecord]:
    return [one for one in sets if one.stamp == stamp and not one.quarantined]


def _parts(batches: Iterable[BatchMetadata]) -> list[Part]:
    return [part for batch in batches for part in batch.parts]


def _not_taken(batches: Iterable[BatchMetadata], registry: Registry) -> list[BatchMetadata]:
    """Return those of *batches* that were not committed before: their segments' ids say so."""
    visible = {
        segment.segment_id
        for sets in registry.sets.values()
        for record in sets
        for segment in record.segments
    }
    return [
        batch
        for batch in batches
        if visible.isdisjoint(s.segment_id for part in batch.parts for s in part.parsed.segments)
    ]


def _checked_files(
    batches: Iterable[BatchMetadata], files: Mapping[str, tuple[str, str]]
) -> dict[str, list[str]]:
    """Return the files of each family that *batches* name.

    :raises ArtifactError: one is not there, or not of the size that it had.
    """
    found: dict[str, list[str]] = {}
    for batch in batches:
        for name, size in batch.files.items():
            if name not in files:
                raise ArtifactError(
                    f"the artifact {name} of a batch is missing",
                    "append every artifact that build_sst_batch returned",
                )
            family, path = files[name]
            actual = os.stat(path).st_size if os.path.isfile(path) else -1
            if actual != size:
                raise ArtifactError(
                    f"{path} " + ("is missing" if actual < 0 else f"has {actual} of {size} bytes"),
                    "have the worker build its batch again",
                )
            found.setdefault(family, []).append(path)
    return found
