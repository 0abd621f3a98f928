"""What a client is told by ``tail``: the rows of its Arrow stream, as values."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ("EventKind", "IndexEvent")

#: ``queued``: a trace is to be read; ``parsing``: it is being read; ``grew``: what was added is in
#: answers, and more may come; ``indexed``: it is finished and in answers; ``failed``: reading it
#: failed and is tried again; ``quarantined``: it failed too often; ``removed``: it is gone from
#: disk and from answers; ``store``: the store of a root is at something else, which ``reason`` says
#: (``caught-up``, ``indexing``, ``rebuilding``, ``read-only``, ``root-missing``).
EventKind: TypeAlias = Literal[
    "queued", "parsing", "grew", "indexed", "failed", "quarantined", "removed", "store"
]


class IndexEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to the trace *path*, or to the store of *root* where this is empty.

    ``time`` is in seconds since 1970, ``generation`` the store's by then. ``events`` and ``ending``
    are those of the trace in the index. ``missed`` events before this one were not told, since they
    were not taken in time.
    """

    time: float
    kind: str
    root: str
    path: str
    generation: int
    ending: str | None
    events: int
    reason: str
    missed: int
