"""What keeps a store small, sound and copied: requests and what comes back for them."""

from __future__ import annotations

from dftindexd.protocol.message import Reply, Request, TraceProblem

__all__ = (
    "BackupRequest",
    "BackupResult",
    "CompactRequest",
    "CompactedResult",
    "RebuildRequest",
    "RebuildResult",
    "VerifyRequest",
    "VerifyResult",
)


class CompactedResult(Reply, frozen=True):
    """How many dropped segments were deleted, and how many are kept: somebody reads them, or they
    are within the retention time. Sizes are bytes on disk."""

    generation: int
    segments_deleted: int
    segments_kept: int
    bytes_before: int
    bytes_after: int


class CompactRequest(Request[CompactedResult], frozen=True, kw_only=True, tag="compact"):
    """Delete what was dropped from the store that holds *path*, and give its room back to the file
    system; *now* also what is within the retention time. Reads and indexing go on meanwhile."""

    path: str
    now: bool = False


class VerifyResult(Reply, frozen=True):
    """How many traces were verified and how many of them parsed again, and what is wrong.

    The ``state`` of a problem is its kind: ``checksum``, ``missing``, ``unreadable``, ``wrong``,
    ``replaced``, ``differs``, or ``store`` for damage of the whole store. All of it is being
    rebuilt from the traces; a sync waits for that.
    """

    generation: int
    traces: int
    sampled: int
    problems: tuple[TraceProblem, ...] = ()


class VerifyRequest(Request[VerifyResult], frozen=True, kw_only=True, tag="verify"):
    """Check every row of the traces below *path* in the store, and their files by stamp and digest;
    *sample* of them are parsed again. Reads and indexing go on meanwhile."""

    path: str
    sample: int = 4


class RebuildResult(Reply, frozen=True):
    """How many traces were parsed anew, and which of them failed."""

    traces: int
    generation: int
    problems: tuple[TraceProblem, ...] = ()


class RebuildRequest(Request[RebuildResult], frozen=True, kw_only=True, tag="rebuild"):
    """Parse all traces at or below *path* anew, whatever the store holds of them, and wait for it.
    Answers are from what was there before until each is done."""

    path: str


class BackupResult(Reply, frozen=True):
    """A copy of a store, a store in itself, as a directory of the daemon's. Whoever asked for it
    takes it over and deletes it; else it goes when the daemon opens the store next."""

    root: str
    folder: str
    generation: int


class BackupRequest(Request[BackupResult], frozen=True, kw_only=True, tag="backup"):
    """Make a copy of the store that holds *path*, as it is now."""

    path: str
