"""Inverted indices: calls that both clients have."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import UNSET

from dftindexd.protocol.errors import InvalidArgumentError
from dftindexd.protocol.inverted_requests import (
    Condition,
    IndicesRequest,
    PartitionsRequest,
    Predicates,
    Scalar,
)
from dftindexd.protocol.message import Request
from dftindexd.protocol.requests import AnswerHead

if TYPE_CHECKING:
    from dftindexd.client.async_client import AnyPath, Timeout
    from dftindexd.client.results import Answer

__all__ = ("AsyncIndices", "BlockingIndices", "GivenPredicates", "sent_predicates")

#: Predicates as they are given: a list of lists of a column, an operator, and a value or values.
GivenPredicates: TypeAlias = Sequence[Sequence[tuple[str, str, Scalar | Sequence[Scalar]]]]

_CONDITION_PARTS: Final = 3
#: What messages can hold of whole numbers.
_LEAST: Final = -(2**63)
_GREATEST: Final = 2**64 - 1


class AsyncIndices(ABC):
    """The calls of the asynchronous client."""

    @abstractmethod
    async def fetch(self, request: Request[AnswerHead], *, timeout: Timeout = UNSET) -> Answer: ...

    async def indices(
        self,
        path: AnyPath | None = None,
        column: str | None = None,
        *,
        values: Sequence[Scalar] | None = None,
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> Answer:
        """Return the inverted index of a column over the traces below a directory, or of all roots:
        a row for each value, with the list of its partitions; without *column* which columns have
        an index.

        A partition is a chunk of a trace, ``trace#number``. *values* are looked up alone; ``None``
        is null. ``ExplicitSecondaryIndex.from_table(column, answer.arrow())`` makes an index of it.
        """
        request = _indices_request(path, column, values, finished=finished_only)
        return await self.fetch(request, timeout=timeout)

    async def partitions(
        self,
        path: AnyPath,
        *,
        query: str = "",
        predicates: GivenPredicates | None = None,
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> Answer:
        """Return the chunks that can hold an event that *query* and *predicates* keep, one row
        each: those that :meth:`read` reads.

        ``client.partitions("/traces", predicates=[[("pid", "==", 7), ("cat", "in", ["posix"])]])``
        """
        request = _partitions_request(path, query, predicates, finished=finished_only)
        return await self.fetch(request, timeout=timeout)


class BlockingIndices(ABC):
    """The calls of the blocking client."""

    @abstractmethod
    def fetch(self, request: Request[AnswerHead], *, timeout: Timeout = UNSET) -> Answer: ...

    def indices(
        self,
        path: AnyPath | None = None,
        column: str | None = None,
        *,
        values: Sequence[Scalar] | None = None,
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> Answer:
        """Return the inverted index of a column over the traces below a directory, or of all roots,
        or which columns have one; see `AsyncClient`."""
        request = _indices_request(path, column, values, finished=finished_only)
        return self.fetch(request, timeout=timeout)

    def partitions(
        self,
        path: AnyPath,
        *,
        query: str = "",
        predicates: GivenPredicates | None = None,
        finished_only: bool = False,
        timeout: Timeout = UNSET,
    ) -> Answer:
        """Return the chunks that can hold what *query* and *predicates* keep; see `AsyncClient`."""
        request = _partitions_request(path, query, predicates, finished=finished_only)
        return self.fetch(request, timeout=timeout)


def sent_predicates(predicates: GivenPredicates | None) -> Predicates | None:
    """Return predicates as they are sent.

    :raises InvalidArgumentError: they are no list of lists of a column, an operator and a value.
    """
    if predicates is None:
        return None
    return tuple(tuple(map(_sent_condition, one)) for one in predicates)


def _sent_condition(condition: Sequence[Any]) -> Condition:
    # Brackets that are missing, or a text in place of all, leave a text here.
    if isinstance(condition, str) or len(condition) != _CONDITION_PARTS:
        raise _malformed(condition)
    column, op, value = condition
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return column, op, tuple(map(_sent_value, value))
    return column, op, _sent_value(value)


def _sent_value(value: object) -> Scalar:
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidArgumentError(
            f"columns have no values such as {value!r}", "give a number, a text, or None for null"
        )
    if isinstance(value, int) and not _LEAST <= value <= _GREATEST:
        raise InvalidArgumentError(
            f"the number {value} is out of range", "columns have numbers of 64 bits"
        )
    return value


def _malformed(given: object) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"predicates are no list of lists of conditions: {given!r}",
        "such as [[('pid', '==', 7), ('cat', 'in', ['posix'])]]",
    )


def _indices_request(
    path: AnyPath | None, column: str | None, values: Sequence[Scalar] | None, *, finished: bool
) -> IndicesRequest:
    return IndicesRequest(
        path=None if path is None else os.fspath(path),
        column=column,
        values=None if values is None else tuple(map(_sent_value, values)),
        finished_only=finished,
    )


def _partitions_request(
    path: AnyPath, query: str, predicates: GivenPredicates | None, *, finished: bool
) -> PartitionsRequest:
    return PartitionsRequest(
        path=os.fspath(path),
        query=query,
        predicates=sent_predicates(predicates),
        finished_only=finished,
    )
