"""The base of every message that is answered: a request carries the type of its reply."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

__all__ = ("Request",)

R_co = TypeVar("R_co", covariant=True)


class Request(msgspec.Struct, Generic[R_co], frozen=True):
    """A message whose reply is an ``R_co``; ``ask`` and ``call`` return that type."""
