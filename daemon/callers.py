"""Who gets in, and what they may ask for. Pure, no I/O.

Whoever gets in is the *owner*, who may do everything (the daemon's own user, and root), or a
*guest*: somebody whom the owner allowed in by user or group. A guest asks about what it may read
on disk (:mod:`dftindexd.daemon.sight`) and has it watched and indexed; what changes, costs or shows
more than that is the owner's.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from dftindexd.daemon.peer import Peer
from dftindexd.protocol.cluster_requests import (
    ClusterHoldRequest,
    ClusterIngestRequest,
    ClusterRegisterRequest,
)
from dftindexd.protocol.errors import PermissionDeniedError
from dftindexd.protocol.index_requests import IndexBuildRequest
from dftindexd.protocol.operation_requests import DebugDumpRequest, MetricsRequest
from dftindexd.protocol.requests import IndexRequest, StopRequest, WatchRequest
from dftindexd.protocol.upkeep_requests import (
    BackupRequest,
    CompactRequest,
    RebuildRequest,
    VerifyRequest,
)
from dftindexd.protocol.view_requests import ViewsDropRequest, ViewsRequest

__all__ = ("Admission", "require_permission")

_OWNERS: Final = (
    BackupRequest,
    ClusterHoldRequest,
    ClusterIngestRequest,
    ClusterRegisterRequest,
    CompactRequest,
    DebugDumpRequest,
    MetricsRequest,
    RebuildRequest,
    StopRequest,
    VerifyRequest,
    ViewsDropRequest,
    ViewsRequest,
)


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the owner allows in beside themselves, by numeric ids."""

    owner: int = msgspec.field(default_factory=os.getuid)
    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()

    @property
    def only_group(self) -> int | None:
        """The group that the socket can belong to, where others get in by one group alone."""
        return next(iter(self.groups)) if len(self.groups) == 1 and not self.users else None

    @property
    def allows_others(self) -> bool:
        """Whether anybody beside the owner and root may get in."""
        return bool(self.users or self.groups)

    def owns(self, peer: Peer) -> bool:
        """Return whether *peer* may do everything."""
        return peer.uid in (0, self.owner)

    def require(self, peer: Peer) -> None:
        """Let the owner and guests pass.

        :raises PermissionDeniedError: *peer* is neither.
        """
        if self.owns(peer) or peer.uid in self.users:
            return
        if not self.groups.isdisjoint(peer.groups | {peer.gid}):
            return
        raise PermissionDeniedError(
            f"user {peer.uid} may not use the daemon of user {self.owner}",
            "run a daemon of your own with `dftindexd run`, or have its owner allow you in "
            "with --allow-user or --allow-group",
        )


def require_permission(request: object) -> None:
    """Refuse what only the owner may ask for, whichever path it is about.

    :raises PermissionDeniedError: it is a request of the owner's.
    """
    if isinstance(request, _OWNERS):
        raise _denied(type(request).__struct_config__.tag)
    if isinstance(request, (IndexRequest, IndexBuildRequest)) and request.force:
        raise _denied("index --force")
    # What a link leads to is read with the daemon's rights.
    if isinstance(request, WatchRequest) and request.follow_links:
        raise _denied("watch --follow-links")


def _denied(what: object) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"only the daemon's owner may ask for {what}", "ask them, or run a daemon of your own"
    )
