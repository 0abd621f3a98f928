"""Requests about inverted indices, and the predicates that go with them."""

from __future__ import annotations

from typing import TypeAlias

from dftindexd.protocol.message import AnswerHead, Request

__all__ = ("Condition", "IndicesRequest", "PartitionsRequest", "Predicates", "Scalar")

#: A value of a column; ``None`` is null.
Scalar: TypeAlias = bool | int | float | str | None

#: A column, an operator (``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``), and a value or, for
#: ``in``, values.
Condition: TypeAlias = tuple[str, str, Scalar | tuple[Scalar, ...]]

#: Any of the outer ones is to hold, of which each is all of its conditions.
Predicates: TypeAlias = tuple[tuple[Condition, ...], ...]


class IndicesRequest(Request[AnswerHead], frozen=True, kw_only=True, tag="indices"):
    """The inverted index of *column* over the traces below *path*, or of all roots.

    Columns: *column*, and ``partition``, the labels of the chunks that have the value: the trace,
    below *path* or absolute, ``#`` and the number of the chunk. With *values* only those, which are
    brought into the column's type first. Without *column*: which columns have an index, as
    ``column``, ``kind`` (``partition`` or ``secondary``), ``type`` (empty: that of the values),
    ``about``.
    """

    path: str | None = None
    column: str | None = None
    values: tuple[Scalar, ...] | None = None
    finished_only: bool = False


class PartitionsRequest(Request[AnswerHead], frozen=True, kw_only=True, tag="partitions"):
    """The chunks of the traces below *path* that can hold an event that *query* and *predicates*
    keep: those that a ``read`` of both reads.

    Columns: ``partition``, ``trace``, ``chunk``, ``uc_offset``, ``uc_size``, ``c_offset``,
    ``c_size``, ``first_line``, ``num_lines``.
    """

    path: str
    query: str = ""
    predicates: Predicates | None = None
    finished_only: bool = False
