"""Predicates in disjunctive normal form over indices: lists of conjunctions of literals.

A literal is a column, an operator and a value. What null means: ``==``, ``!=`` and ``in`` take it
as a value like any other, so that ``!= None`` is whatever is not null; no other operator does, and
a comparison with a value never holds for null, also ``!=``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import pyarrow as pa

from dftindexd.views.indices.values import is_null, normalize, require_comparable

__all__ = ("Literal", "Predicates", "check_predicates", "kept_values", "of_column")

Literal: TypeAlias = tuple[str, str, Any]
Predicates: TypeAlias = list[list[Literal]]

_ORDERED: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NULL_OPERATORS: Final = ("==", "!=", "in")


def check_predicates(predicates: Predicates | None) -> None:
    """Refuse what is not in disjunctive normal form.

    :raises ValueError: it is empty, or a part of it is not as it should be.
    """
    if predicates is None:
        return
    if len(predicates) == 0:
        raise ValueError("Empty predicates")
    for number, conjunction in enumerate(predicates):
        if not isinstance(conjunction, list):
            raise ValueError(  # noqa: TRY004 - all that is malformed is one error
                f"Invalid predicates: Conjunction {number} should be a list of 3-tuples, "
                f"got object of type {type(conjunction)} instead."
            )
        if len(conjunction) == 0:
            raise ValueError(f"Invalid predicates: Conjunction {number} is empty")
        for place, literal in enumerate(conjunction):
            _check_literal(number, place, literal)


def _check_literal(number: int, place: int, literal: Any) -> None:
    where = f"Clause {place} in conjunction {number}"
    if not isinstance(literal, tuple) or len(literal) != 3:
        raise ValueError(
            f"Invalid predicates: {where} should be a 3-tuple, "
            f"got object of type {type(literal)} instead"
        )
    _, op, value = literal
    if is_null(value) and op not in _NULL_OPERATORS[:2]:
        raise ValueError(
            f"Invalid predicates: {where} with null value and operator {op}. Only operators "
            "supporting null values are '==', '!=' and 'in'."
        )


def of_column(predicates: Predicates, column: str) -> Predicates | None:
    """Return the literals of *predicates* that are about *column*; others count as true. ``None``
    where one conjunction has none, and so keeps everything."""
    kept = [[one for one in conjunction if one[0] == column] for conjunction in predicates]
    return kept if all(kept) else None


def kept_values(
    column: str, dtype: pa.DataType | None, known: Mapping[Any, Any], op: str, value: Any
) -> Iterator[Any]:
    """Yield those of the *known* values, which are normalized, that ``op value`` keeps.

    :raises TypeError: *value* is of another type than the column.
    :raises NotImplementedError: there is no such operator.
    :raises ValueError: null does not go with the operator.
    """
    if op == "in":
        return _members(known, _settled(column, dtype, value, _listed(value)))
    if op not in ("==", "!=", *_ORDERED):
        raise NotImplementedError("op not supported")
    (wanted,) = _settled(column, dtype, value, [value])
    if op == "==":
        return _members(known, [wanted])
    if op == "!=":
        return (one for one in known if one is not None and one != wanted)
    if wanted is None:
        raise ValueError(f"null with operator {op}; only '==', '!=' and 'in' take null values")
    compare = _ORDERED[op]
    return (one for one in known if one is not None and compare(one, wanted))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"the operator in takes a list of values, not {value!r}")
    return list(value)


def _settled(column: str, dtype: pa.DataType | None, asked: Any, values: list[Any]) -> list[Any]:
    if dtype is None:  # an index without a type has no values either
        return values
    require_comparable(column, dtype, asked, values)
    return [normalize(dtype, value) for value in values]


def _members(known: Mapping[Any, Any], values: Iterable[Any]) -> Iterator[Any]:
    return (value for value in dict.fromkeys(values) if value in known)
