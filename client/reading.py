"""Reading single events and views: calls that both clients have."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from msgspec import UNSET

from dftindexd.client.indices import GivenPredicates, sent_predicates
from dftindexd.protocol.message import Request
from dftindexd.protocol.requests import (
    AnswerHead,
    ExplainRequest,
    ExplainResult,
    ReadRequest,
    SqlRequest,
)
from dftindexd.protocol.view_requests import (
    SqlProgressRequest,
    SqlProgressResult,
    ViewsDropRequest,
    ViewsDropResult,
    ViewsRequest,
    ViewStatus,
)

if TYPE_CHECKING:
    from dftindexd.client.async_client import AnswerStream, AnyPath, Timeout
    from dftindexd.client.results import Answer
    from dftindexd.client.sync_client import BlockingAnswerStream

__all__ = ("AsyncReading", "BlockingReading", "read_request", "sql_request")

R = TypeVar("R")


class AsyncReading(ABC):
    """The calls of the asynchronous client."""

    @abstractmethod
    async def request(self, request: Request[R], *, timeout: Timeout = UNSET) -> R: ...

    @abstractmethod
    def stream(
        self, request: Request[AnswerHead], *, timeout: Timeout = UNSET
    ) -> AbstractAsyncContextManager[AnswerStream]: ...

    @abstractmethod
    async def fetch(self, request: Request[AnswerHead], *, timeout: Timeout = UNSET) -> Answer: ...

    async def sql(
        self,
        query: str,
        path: AnyPath | None = None,
        *,
        begin: int | None = None,
        end: int | None = None,
        rows: int = 1_000_000,
        seconds: float = 60.0,
        ticket: str = "",
        timeout: Timeout = None,
    ) -> Answer:
        """Return the rows of one SELECT over the views of the traces below a directory, or of all
        roots, then with a column ``root``.

        Views are made when they are first asked for. *begin* and *end*, in nanoseconds since 1970,
        leave out rows of other times. More than *rows* rows, or more than *seconds* until the last
        of them is taken, are an error. *ticket* is what :meth:`sql_progress` calls the statement.

        ``client.sql("SELECT name, count(*) FROM view_instance('thread_spans', 'h:1:2:3') ...")``
        """
        request = sql_request(
            query, path, begin=begin, end=end, rows=rows, seconds=seconds, ticket=ticket
        )
        return await self.fetch(request, timeout=timeout)

    async def sql_progress(self, ticket: str, *, timeout: Timeout = UNSET) -> SqlProgressResult:
        """Return how far the statement is that was sent with *ticket* and is not answered yet:
        which view is being made, and how many chunks of traces are read for it."""
        return await self.request(SqlProgressRequest(ticket=ticket), timeout=timeout)

    async def views(
        self, path: AnyPath | None = None, *, timeout: Timeout = UNSET
    ) -> tuple[ViewStatus, ...]:
        """Return what is kept of each view set of the root that holds a directory, or of all
        roots."""
        below = None if path is None else os.fspath(path)
        return (await self.request(ViewsRequest(path=below), timeout=timeout)).views

    async def drop_views(
        self, path: AnyPath | None = None, *, timeout: Timeout = UNSET
    ) -> ViewsDropResult:
        """Delete what is kept of the views of the root that holds a directory, or of all roots; it
        is made again when it is asked for."""
        below = None if path is None else os.fspath(path)
        return await self.request(ViewsDropRequest(path=below), timeout=timeout)

    def read(
        self,
        path: AnyPath,
        *,
        query: str = "",
        predicates: GivenPredicates | None = None,
        lines: tuple[int, int] | None = None,
        bytes: tuple[int, int] | None = None,  # noqa: A002 - the word of the interface
        columns: Sequence[str] | None = None,
        raw: bool = False,
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> AbstractAsyncContextManager[AnswerStream]:
        """Read the events of a trace, or of all traces below a directory, batch by batch.

        Only chunks that can hold what *query* and *predicates* keep are read, and only as fast as
        the batches are taken. *predicates* are a list of lists of a field, an operator and a value:
        all literals of one of the inner lists are to hold; null is ``None``. *lines* and *bytes*
        are a first and one after the last: numbers of lines from 0, and where lines begin in the
        text. *columns* are fields of events, ``trace``, ``line``,
        ``uc_offset``, ``json`` and ``args``. *raw* gives lines as they are, in a column ``text``.
        While nothing is found, batches without rows come about once a second.

        ``async with client.read("/traces", query="dur > 1000") as batches: async for ...``
        """
        request = read_request(
            path, query, predicates, lines, bytes, columns, raw=raw, finished=finished_only
        )
        return self.stream(request, timeout=timeout)

    async def explain(
        self,
        path: AnyPath,
        *,
        query: str = "",
        predicates: GivenPredicates | None = None,
        lines: tuple[int, int] | None = None,
        bytes: tuple[int, int] | None = None,  # noqa: A002 - the word of the interface
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> ExplainResult:
        """Tell how many chunks :meth:`read` would read, and how many it would not and why."""
        request = ExplainRequest(
            path=os.fspath(path),
            query=query,
            predicates=sent_predicates(predicates),
            lines=lines,
            bytes=bytes,
            finished_only=finished_only,
        )
        return await self.request(request, timeout=timeout)


def read_request(
    path: AnyPath,
    query: str,
    predicates: GivenPredicates | None,
    lines: tuple[int, int] | None,
    text_range: tuple[int, int] | None,
    columns: Sequence[str] | None,
    *,
    raw: bool,
    finished: bool,
) -> ReadRequest:
    """Return the request for events."""
    return ReadRequest(
        path=os.fspath(path),
        query=query,
        predicates=sent_predicates(predicates),
        lines=lines,
        bytes=text_range,
        columns=None if columns is None else tuple(columns),
        raw=raw,
        finished_only=finished,
    )


def sql_request(
    query: str,
    path: AnyPath | None,
    *,
    begin: int | None,
    end: int | None,
    rows: int,
    seconds: float,
    ticket: str = "",
) -> SqlRequest:
    """Return the request for a statement."""
    below = None if path is None else os.fspath(path)
    return SqlRequest(
        query=query,
        path=below,
        begin=begin,
        end=end,
        rows=rows,
        seconds=seconds,
        ticket=ticket,
    )


class BlockingReading(ABC):
    """The calls of the blocking client."""

    @abstractmethod
    def request(self, request: Request[R], *, timeout: Timeout = UNSET) -> R: ...

    @abstractmethod
    def stream(
        self, request: Request[AnswerHead], *, timeout: Timeout = UNSET
    ) -> AbstractContextManager[BlockingAnswerStream]: ...

    @abstractmethod
    def fetch(self, request: Request[AnswerHead], *, timeout: Timeout = UNSET) -> Answer: ...

    def sql(
        self,
        query: str,
        path: AnyPath | None = None,
        *,
        begin: int | None = None,
        end: int | None = None,
        rows: int = 1_000_000,
        seconds: float = 60.0,
        ticket: str = "",
        timeout: Timeout = None,
    ) -> Answer:
        """Return the rows of one SELECT over the views of the traces below a directory, or of all
        roots; see `AsyncClient`."""
        request = sql_request(
            query, path, begin=begin, end=end, rows=rows, seconds=seconds, ticket=ticket
        )
        return self.fetch(request, timeout=timeout)

    def sql_progress(self, ticket: str, *, timeout: Timeout = UNSET) -> SqlProgressResult:
        """Return how far a statement is; see `AsyncClient`."""
        return self.request(SqlProgressRequest(ticket=ticket), timeout=timeout)

    def views(
        self, path: AnyPath | None = None, *, timeout: Timeout = UNSET
    ) -> tuple[ViewStatus, ...]:
        """Return what is kept of each view set; see `AsyncClient`."""
        below = None if path is None else os.fspath(path)
        return self.request(ViewsRequest(path=below), timeout=timeout).views

    def drop_views(
        self, path: AnyPath | None = None, *, timeout: Timeout = UNSET
    ) -> ViewsDropResult:
        """Delete what is kept of the views; see `AsyncClient`."""
        below = None if path is None else os.fspath(path)
        return self.request(ViewsDropRequest(path=below), timeout=timeout)

    def read(
        self,
        path: AnyPath,
        *,
        query: str = "",
        predicates: GivenPredicates | None = None,
        lines: tuple[int, int] | None = None,
        bytes: tuple[int, int] | None = None,  # noqa: A002 - the word of the interface
        columns: Sequence[str] | None = None,
        raw: bool = False,
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> AbstractContextManager[BlockingAnswerStream]:
        """Read the events of a trace, or of all traces below a directory; see `AsyncClient`.

        ``with client.read("/traces", query="dur > 1000") as batches: for batch in batches: ...``
        """
        request = read_request(
            path, query, predicates, lines, bytes, columns, raw=raw, finished=finished_only
        )
        return self.stream(request, timeout=timeout)

    def explain(
        self,
        path: AnyPath,
        *,
        query: str = "",
        predicates: GivenPredicates | None = None,
        lines: tuple[int, int] | None = None,
        bytes: tuple[int, int] | None = None,  # noqa: A002 - the word of the interface
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> ExplainResult:
        """Tell how many chunks :meth:`read` would read, and how many it would not and why."""
        request = ExplainRequest(
            path=os.fspath(path),
            query=query,
            predicates=sent_predicates(predicates),
            lines=lines,
            bytes=bytes,
            finished_only=finished_only,
        )
        return self.request(request, timeout=timeout)
