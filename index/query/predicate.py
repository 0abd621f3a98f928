"""Filters applied to columns: a tree becomes a mask of rows.

A comparison with null, or of a text with a number, is false (so is ``!=``; ``not`` of it is true).
Numbers and booleans compare by value, texts by code point, ``cat`` without regard to case.
"""

from __future__ import annotations

import difflib
import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dftindexd.index.query.columns import Column, Frame, NumberColumn, TextColumn
from dftindexd.index.query.filter import (
    And,
    Compare,
    Comparison,
    Expression,
    Field,
    IsNull,
    Member,
    Not,
    Or,
    Value,
    parse_filter,
    query_error,
)
from dftindexd.index.query.given_up import require_wanted
from dftindexd.index.tiers.aggregation import ascii_lower
from dftindexd.index.tiers.groups import Array

__all__ = ("filter_rows", "nearest_hint")

_Mask = npt.NDArray[np.bool_]

_OPERATORS: Final[dict[Comparison, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def filter_rows(frame: Frame, query: str | None) -> _Mask | None:
    """Return which rows *query* keeps, ``None`` for all; a bad query is a QueryError."""
    tree = parse_filter(query or "")
    if tree is None:
        return None
    return _Evaluation(frame, query or "").mask(tree)


def nearest_hint(name: str, known: tuple[str, ...]) -> str:
    """Return the hint for an unknown *name*: the nearest one, and all that are known."""
    near = difflib.get_close_matches(name, known, n=1)
    columns = f"the columns are {', '.join(known)}"
    return f"did you mean {near[0]}? {columns}" if near else columns


class _Evaluation:
    def __init__(self, frame: Frame, query: str) -> None:
        self._frame = frame
        self._query = query

    def mask(self, tree: Expression) -> _Mask:
        require_wanted()
        match tree:
            case And(operands):
                return functools.reduce(operator.and_, map(self.mask, operands))
            case Or(operands):
                return functools.reduce(operator.or_, map(self.mask, operands))
            case Not(operand):
                return ~self.mask(operand)
            case Compare(field, comparison, value):
                return self._compare(field, comparison, value)
            case Member(field, values, negated):
                return self._member(field, values, negated=negated)
            case IsNull(field, negated):
                absent = self._is_null(field)
                return ~absent if negated else absent

    def _is_null(self, field: Field) -> _Mask:
        column = self._column(field)
        if isinstance(column, TextColumn):
            absent: _Mask = column.codes < 0
            return absent
        if column.valid is None:
            return np.zeros(self._frame.length, np.bool_)
        missing: _Mask = ~column.valid
        return missing

    def _column(self, field: Field) -> Column:
        if field.name not in self._frame.names:
            message = f"no column {field.name}"
            hint = nearest_hint(field.name, self._frame.names)
            raise query_error(self._query, field.position, message, hint)
        return self._frame[field.name]

    def _compare(self, field: Field, comparison: Comparison, value: Value) -> _Mask:
        column = self._column(field)
        if isinstance(column, TextColumn):
            if not isinstance(value, str):
                return np.zeros(self._frame.length, np.bool_)
            wanted, compare = _folded(field, value), _OPERATORS[comparison]
            return _of_texts(column, [compare(text, wanted) for text in column.values])
        if isinstance(value, str):
            return np.zeros(self._frame.length, np.bool_)
        return _present(column, _compare_numbers(column.values, comparison, value))

    def _member(self, field: Field, values: tuple[Value, ...], *, negated: bool) -> _Mask:
        column = self._column(field)
        if isinstance(column, TextColumn):
            wanted = {_folded(field, value) for value in values if isinstance(value, str)}
            return _of_texts(column, [(text in wanted) != negated for text in column.values])
        numbers = [value for value in values if not isinstance(value, str)]
        return _present(column, _among_numbers(column.values, numbers) != negated)


def _folded(field: Field, value: str) -> str:
    return ascii_lower(value) if field.name == "cat" else value


def _of_texts(column: TextColumn, wanted: list[bool]) -> _Mask:
    by_code = np.array([*wanted, False], np.bool_)  # the last one answers for null, code -1
    mask: _Mask = by_code[column.codes]
    return mask


def _present(column: NumberColumn, mask: _Mask) -> _Mask:
    return mask if column.valid is None else mask & column.valid


def _compare_numbers(values: Array, comparison: Comparison, value: float) -> _Mask:
    """Compare exactly: integers are never rounded to floating point."""
    if values.dtype.kind == "f" or float(value).is_integer():
        exact = value if values.dtype.kind == "f" else int(value)
        if values.dtype.kind == "f" or -(2**63) <= exact < 2**63:
            mask: _Mask = _OPERATORS[comparison](values, exact)
            return mask
    if comparison in ("==", "!="):
        return np.full(len(values), comparison == "!=", np.bool_)
    # Between two integers, or beyond them all: above every value that is not above the floor.
    if math.isinf(value) or abs(value) >= 2**63:
        return np.full(len(values), (value > 0) == (comparison in ("<", "<=")), np.bool_)
    floor = math.floor(value)
    below: _Mask = values <= floor
    return below if comparison in ("<", "<=") else ~below


def _among_numbers(values: Array, numbers: list[int | float | bool]) -> _Mask:
    if values.dtype.kind == "f":
        return np.isin(values, np.array(numbers, np.float64))
    whole = [int(number) for number in numbers if float(number).is_integer()]
    return np.isin(values, np.array([n for n in whole if -(2**63) <= n < 2**63], np.int64))
