"""The messages between the actors that index: what a store takes, what a worker takes.

They carry the core's own values, which is why they live here and not in ``protocol``.
"""

from __future__ import annotations

import msgspec

from dftindexd.index.model import ParsedTrace, ParseRequest, Row, TierConfig
from dftindexd.index.store.registry import Commit, Registry
from dftindexd.protocol.message import Request

__all__ = (
    "CommitResult",
    "Compact",
    "CompactResult",
    "Condemn",
    "Ingest",
    "NoteRebuilt",
    "Open",
    "ParseJob",
    "ParseResult",
    "ParsedOutcome",
    "Remove",
    "StoreCopy",
    "TraceFailure",
    "Verify",
    "Write",
)


class CommitResult(msgspec.Struct, frozen=True, kw_only=True):
    """The store's generation after a commit, and the traces whose commit came too late."""

    generation: int
    refused: tuple[tuple[bytes, str], ...] = ()


class Write(Request[CommitResult], frozen=True, kw_only=True):
    """Write the rows of small segments and make them visible, in one synced batch."""

    commits: tuple[Commit, ...]
    rows: tuple[Row, ...] = ()


class Ingest(Request[CommitResult], frozen=True, kw_only=True):
    """Take SST files in (family to paths in the staging folder) and make their segments visible."""

    commits: tuple[Commit, ...]
    artifacts: dict[str, tuple[str, ...]]


class CompactResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction did."""

    segments_deleted: int
    segments_kept: int


class Compact(Request[CompactResult], frozen=True, kw_only=True):
    """Delete dropped segments that nobody reads any more and that are old enough, or with *now* of
    any age. An error is told to whoever asked."""

    now: bool = False


class Remove(Request[CommitResult], frozen=True, kw_only=True):
    """Take traces out, whatever their version is by then; with *tiers* only that set of each."""

    paths: tuple[bytes, ...]
    tiers: TierConfig | None = None


class StoreCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the store as a directory beside its tables, and the registry that it shows. Whoever
    asked for it deletes it."""

    path: str
    registry: Registry


class Verify(Request[StoreCopy], frozen=True, kw_only=True):
    """Make a copy to verify or to back up. It costs a flush; what is then done with the copy keeps
    neither the store nor its writer."""

    name: str


class Open(Request[None], frozen=True):
    """Open the store if it is parked. For the control lane; every other command does so, too."""


class NoteRebuilt(Request[None], frozen=True):
    """The store holds again what is on disk: answers need not wait for that any more."""


class Condemn(Request[None], frozen=True, kw_only=True):
    """The store is damaged beyond its traces' rows: close it, set it aside and begin another. The
    asker is told that the actor ended with this in hand; the next life does the rest."""

    reason: str


class TraceFailure(msgspec.Struct, frozen=True, kw_only=True, tag="failure"):
    """One trace of a job could not be read. ``gone``: there is no file at its path."""

    reason: str
    gone: bool = False


class ParsedOutcome(msgspec.Struct, frozen=True, kw_only=True, tag="parsed"):
    """One trace of a job was read; its rows are with those of the others."""

    parsed: ParsedTrace


class ParseResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of each request of a job, in order, and the rows of all: either in ``rows``, or
    where they are many in SST files of each family. ``staging_error``: why these could not be
    written; nothing of the job can be committed then, and no trace is to blame.
    ``without_kernel``: why the worker read by the reference, slower."""

    outcomes: tuple[ParsedOutcome | TraceFailure, ...]
    rows: tuple[Row, ...] = ()
    artifacts: dict[str, tuple[str, ...]] = {}
    staging_error: str = ""
    without_kernel: str = ""


class ParseJob(Request[ParseResult], frozen=True, kw_only=True):
    """Read some traces. SST files go to *staging* under names that begin with *stem*. Somebody
    waits for *urgent* ones; the others are read at a low priority."""

    requests: tuple[ParseRequest, ...]
    staging: str
    stem: str
    urgent: bool = False
