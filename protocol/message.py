"""The bases of all messages: a request carries the type of its reply."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

__all__ = ("AnswerHead", "Reply", "Request", "TraceProblem")

R_co = TypeVar("R_co", covariant=True)


class Request(msgspec.Struct, Generic[R_co], frozen=True):
    """A message whose reply is an ``R_co``; ``ask`` and ``call`` return that type."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every reply; unknown fields of a newer daemon are ignored."""


class AnswerHead(Reply, frozen=True):
    """What precedes an Arrow stream: which generation it shows, and what to know about it.

    ``store_id``, in the answers to ``list`` of a directory: which store's generation that is.
    """

    generation: int
    warnings: tuple[str, ...] = ()
    store_id: str = ""


class TraceProblem(Reply, frozen=True):
    """One trace that is not in the answer as it lies on disk, and why."""

    path: str
    state: str
    reason: str
