"""Predicates in disjunctive normal form as trees: lists of lists of a field, an operator, a value.

The outer list says *or*, the inner ones *and*. Operators are those of filters and ``in``, which
takes a list. Null is a value of ``==``, ``!=`` and ``in``: a field that an event lacks. All else is
as in filters: a comparison with a value is false for null, also ``!=``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias, cast

from dftindexd.index.errors import QueryError
from dftindexd.index.query.event_fields import event_field, unknown_field
from dftindexd.index.query.filter import (
    And,
    Compare,
    Comparison,
    Expression,
    Field,
    IsNull,
    Member,
    Or,
    Value,
)

__all__ = ("MOST_LITERALS", "Literal", "Predicates", "both", "tree_of")

#: A value, null, or the values of ``in``.
Literal: TypeAlias = tuple[str, str, Value | Sequence[Value | None] | None]
Predicates: TypeAlias = Sequence[Sequence[Literal]]

#: So many literals, and values of ``in``, predicates may have in all.
MOST_LITERALS: Final = 10_000

_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=")


def tree_of(predicates: Predicates) -> Expression:
    """Return the tree of *predicates*; what is none is a QueryError."""
    if not predicates or not all(predicates):
        raise _malformed("are empty, or a conjunction is", "leave them out to keep everything")
    size = sum(
        len(value) if isinstance(value, list | tuple) else 1
        for conjunction in predicates
        for _, _, value in conjunction
    )
    if size > MOST_LITERALS:
        raise _malformed(f"have {size} literals and values, more than {MOST_LITERALS}", "ask twice")
    return _joined(Or, [_joined(And, list(map(_literal, one))) for one in predicates])


def both(left: Expression | None, right: Expression | None) -> Expression | None:
    """Return the tree for which both hold; ``None`` is one that always does."""
    if left is None or right is None:
        return left or right
    return And((left, right))


def _joined(kind: type[And] | type[Or], parts: list[Expression]) -> Expression:
    return parts[0] if len(parts) == 1 else kind(tuple(parts))


def _literal(literal: Literal) -> Expression:
    name, op, value = literal
    if event_field(name) is None:
        message, hint = unknown_field(name)
        raise QueryError(f"{message} in the predicate {literal!r}", hint)
    field = Field(name, 0)
    if op == "in":
        if not isinstance(value, list | tuple):
            raise _malformed(f"have {op} without a list: {literal!r}", "give a list of values")
        return _member(field, value)
    if op not in _COMPARISONS:
        raise _malformed(f"have no operator {op}", f"there are {', '.join(_COMPARISONS)} and in")
    if isinstance(value, list | tuple):
        raise _malformed(f"have a list after {op}: {literal!r}", "give one value, or in")
    if not _is_null(value):
        return Compare(field, cast("Comparison", op), cast("Value", value))
    if op not in ("==", "!="):
        raise _malformed(f"have null after {op}: {literal!r}", "null goes with ==, != and in")
    return IsNull(field, negated=op == "!=")


def _member(field: Field, values: Sequence[Value | None]) -> Expression:
    known = tuple(cast("Value", value) for value in values if not _is_null(value))
    member = Member(field, known, negated=False)
    if len(known) == len(values):
        return member
    return Or((member, IsNull(field, negated=False)))


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _malformed(what: str, hint: str) -> QueryError:
    return QueryError(f"predicates {what}", hint)
