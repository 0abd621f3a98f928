"""What concerns views beside their rows: how far a statement is, what is kept, and its deletion."""

from __future__ import annotations

from dftindexd.protocol.message import Reply, Request

__all__ = (
    "SqlProgressRequest",
    "SqlProgressResult",
    "ViewStatus",
    "ViewsDropRequest",
    "ViewsDropResult",
    "ViewsRequest",
    "ViewsResult",
)


class SqlProgressResult(Reply, frozen=True):
    """How far a statement is: of the *view* that is being made, *chunks* of *of* are read. *view*
    is empty while none is made, and where no such statement runs."""

    view: str = ""
    chunks: int = 0
    of: int = 0


class SqlProgressRequest(Request[SqlProgressResult], frozen=True, kw_only=True, tag="sql-progress"):
    """How far the statement of this user's is that was sent with *ticket*."""

    ticket: str


class ViewStatus(Reply, frozen=True):
    """What is kept of a view set of one root. ``version`` is that of its schema; ``stale`` of the
    partitions are of another. ``used`` is when one was used last, in nanoseconds since 1970, to the
    hour."""

    root: str
    view: str
    version: int
    partitions: int
    stale: int
    rows: int
    bytes: int
    used: int | None = None


class ViewsResult(Reply, frozen=True):
    """Every view set, for every root."""

    views: tuple[ViewStatus, ...] = ()


class ViewsRequest(Request[ViewsResult], frozen=True, kw_only=True, tag="views"):
    """What is kept of the views of the root that holds *path*, or of all roots."""

    path: str | None = None


class ViewsDropResult(Reply, frozen=True):
    """How many partitions were deleted, and their bytes."""

    partitions: int
    bytes: int


class ViewsDropRequest(Request[ViewsDropResult], frozen=True, kw_only=True, tag="views-drop"):
    """Delete what is kept of the views of the root that holds *path*, or of all roots. It is made
    again when it is asked for."""

    path: str | None = None
