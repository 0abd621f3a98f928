"""Requests of a coordinator, whose workers on other machines read traces for a daemon's store.

Traces are named as in :mod:`~dftindexd.protocol.index_requests`: by the file system's bytes,
relative to a directory that a root of the daemon covers.
"""

from __future__ import annotations

from typing import TypeAlias

from dftindexd.protocol.index_requests import OfTraces
from dftindexd.protocol.message import Reply, Request

__all__ = (
    "ClusterHoldRequest",
    "ClusterHoldResult",
    "ClusterIngestRequest",
    "ClusterIngestResult",
    "ClusterRegisterRequest",
    "ClusterRegisterResult",
    "ClusterRequests",
)


class ClusterHoldResult(Reply, frozen=True):
    """The traces are held."""


class ClusterHoldRequest(
    OfTraces, Request[ClusterHoldResult], frozen=True, kw_only=True, tag="cluster-hold"
):
    """Leave the traces *names* to a cluster for *seconds* from now on: the daemon does not read
    them meanwhile. With none of them the hold ends, and the daemon indexes what they lack."""

    seconds: float


class ClusterRegisterResult(Reply, frozen=True):
    """The file id of each trace, in the order of the names."""

    file_ids: tuple[int, ...]


class ClusterRegisterRequest(
    OfTraces, Request[ClusterRegisterResult], frozen=True, kw_only=True, tag="cluster-register"
):
    """Give each of the traces *names* a file id; those that have one keep it."""


class ClusterIngestResult(Reply, frozen=True):
    """How many batches were taken in, and the paths of traces that are not as a batch showed them,
    each with the reason."""

    taken: int
    incomplete: tuple[tuple[bytes, str], ...] = ()


class ClusterIngestRequest(
    Request[ClusterIngestResult], frozen=True, kw_only=True, tag="cluster-ingest"
):
    """Take in the batches that the file *delivery* names, on a file system that the daemon sees,
    into the store of the root that covers *directory*, all in one commit.

    Every file has to be the daemon's user's or root's, no link, writable by nobody else, and as its
    batch describes it; else nothing is taken.
    """

    directory: bytes
    delivery: bytes


#: All that a coordinator may ask.
ClusterRequests: TypeAlias = ClusterHoldRequest | ClusterRegisterRequest | ClusterIngestRequest
