"""How long the daemon works on one answer from its stores.

A filter has no patterns to search for, but it may name thousands of values, and be asked of very
many rows. So every answer that a thread makes from a store has a time, after which the thread gives
it up between two steps (:mod:`dftindexd.index.query.given_up`). What waits for other work, what
only the owner may ask for, and SQL, whose statements have a time of their own, have none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final, get_args

import anyio

from dftindexd.protocol.errors import RequestTimeoutError
from dftindexd.protocol.index_requests import IndexBuildRequest, IndexRequests
from dftindexd.protocol.inverted_requests import IndicesRequest, PartitionsRequest
from dftindexd.protocol.requests import (
    AggregationRequest,
    ExplainRequest,
    ListRequest,
    ReadRequest,
)

__all__ = ("REQUEST_SECONDS", "Patience", "too_slow", "within")

#: How long an answer may take unless the configuration says.
REQUEST_SECONDS: Final = 300.0

_LIMITED: Final = (
    AggregationRequest,
    ExplainRequest,
    IndicesRequest,
    ListRequest,
    PartitionsRequest,
    ReadRequest,
    *(kind for kind in get_args(IndexRequests) if kind is not IndexBuildRequest),
)


@contextmanager
def within(seconds: float, request: object) -> Iterator[None]:
    """Have *request* answered within so many *seconds*, if it is one that has a limit.

    :raises RequestTimeoutError: it was not.
    """
    if not isinstance(request, _LIMITED):
        yield
        return
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise too_slow(seconds)


def too_slow(seconds: float) -> RequestTimeoutError:
    """Return the error for an answer on which the daemon worked for so many *seconds*."""
    return RequestTimeoutError(
        f"the daemon worked on this answer for more than {seconds:g} s, the limit of one answer",
        "ask for less at once, or have the daemon's owner raise ipc.request_limit",
    )


class Patience:
    """Counts for how long nothing is found. The time that whoever takes what is found takes for it
    is not counted."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._spent = 0.0

    async def spent_on(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield *messages*; an empty one tells that nothing was found yet.

        :raises RequestTimeoutError: for too long.
        """
        while True:
            begin = anyio.current_time()
            message = await anext(messages, None)
            if message is None:
                return
            self._spent = 0.0 if message else self._spent + anyio.current_time() - begin
            if self._spent > self._seconds:
                raise too_slow(self._seconds)
            yield message
