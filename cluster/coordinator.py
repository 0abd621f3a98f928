"""What a coordinator needs of a store: that of a daemon, or one that this process opens itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from dftindexd.cluster.artifacts import SstArtifactRegistry
from dftindexd.index.model import FileStamp, TierConfig, TraceRecord

__all__ = ("Coordinator", "Ingested", "showing")


class Ingested(NamedTuple):
    """What became of the batches: *incomplete* traces, with the reason, and how many were taken."""

    taken: int
    incomplete: dict[bytes, str]


class Coordinator(Protocol):
    """A store, for traces that are named by their paths relative to the directory of a build."""

    def lacking(self, stamps: Mapping[bytes, FileStamp], tiers: TierConfig) -> list[bytes]:
        """Return which of the traces with these *stamps* the store lacks, as they are on disk with
        all *tiers*."""
        ...

    def forget_gone(self, on_disk: Mapping[bytes, FileStamp]) -> None:
        """Remove the traces that are not *on_disk*, where all of the directory was looked at."""
        ...

    def held(self, names: Iterable[bytes]) -> AbstractContextManager[None]:
        """Have nobody else read these traces for as long as the context lasts."""
        ...

    def register(self, paths: list[str]) -> list[int]:
        """Return the file id of each of *paths*, a new one for each that has none."""
        ...

    def ingest(
        self, registry: SstArtifactRegistry, outside: frozenset[str] = frozenset()
    ) -> Ingested:
        """Take in all batches of *registry*, and make their traces visible; of families *outside*
        the files stay where they are.

        :raises CoreError: a file may not come in, or the store takes nothing.
        """
        ...

    def write_markers(self, file_ids: Iterable[int]) -> None:
        """Write the completion marker of each set with an aggregation of these traces again."""
        ...


def showing(sets: Iterable[TraceRecord], stamp: FileStamp) -> list[TraceRecord]:
    """Return those of a trace's *sets* that answer for it as *stamp* shows it."""
    return [one for one in sets if one.stamp == stamp and not one.quarantined]
