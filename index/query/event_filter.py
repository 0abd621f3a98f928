"""Filters on single events: a tree becomes a function that tells whether an event is kept.

The rules are those of :mod:`~dftindexd.index.query.predicate`: a comparison with null, or of a text
with a number, is false, also ``!=`` and ``not in``; numbers and booleans compare by value; ``cat``
compares without regard to case. Of ``ph`` numbers mean their letters, of hashes their decimal text.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from dftindexd.index.query.event_fields import (
    PHASE_LETTERS,
    Event,
    EventField,
    event_field,
    unknown_field,
)
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
    query_error,
)
from dftindexd.index.tiers.aggregation import ascii_lower

__all__ = (
    "EventFilter",
    "check_fields",
    "comparable",
    "compile_filter",
    "fields_of",
    "resolved",
    "satisfies",
    "settled",
)

EventFilter: TypeAlias = Callable[[Event], bool]

_OPERATORS: Final[dict[Comparison, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


def check_fields(tree: Expression, query: str) -> None:
    """Raise a QueryError where *tree*, which is that of *query*, names a field that is not."""
    match tree:
        case And(operands) | Or(operands):
            for operand in operands:
                check_fields(operand, query)
        case Not(operand):
            check_fields(operand, query)
        case Compare(field) | Member(field) | IsNull(field):
            if event_field(field.name) is None:
                raise query_error(query, field.position, *unknown_field(field.name))


def fields_of(tree: Expression) -> frozenset[str]:
    """Return the names of the fields of a tree that was checked."""
    match tree:
        case And(operands) | Or(operands):
            return frozenset().union(*map(fields_of, operands))
        case Not(operand):
            return fields_of(operand)
        case Compare(field) | Member(field) | IsNull(field):
            return frozenset((resolved(field).name,))


def resolved(field: Field) -> EventField:
    """Return the field of a tree that was checked."""
    found = event_field(field.name)
    if found is None:
        raise AssertionError(f"the field {field.name} was not checked")
    return found


def settled(field: EventField, value: Value) -> Value:
    """Return a value of a filter as the field's own values are."""
    if field.name == "cat" and isinstance(value, str):
        return ascii_lower(value)
    if value.__class__ is int:
        if field.kind == "phase":
            return PHASE_LETTERS.get(int(value), str(value))
        if field.kind == "hash":
            return str(value)
    return value


def comparable(left: object, right: Value) -> bool:
    """Tell whether two values compare at all: two texts, or two numbers or booleans."""
    return isinstance(left, str) == isinstance(right, str) and left is not None


def satisfies(left: object, comparison: Comparison, right: Value) -> bool:
    """Tell whether a field's value compares so with a settled one."""
    return comparable(left, right) and _OPERATORS[comparison](left, right)


def compile_filter(tree: Expression) -> EventFilter:
    """Return the function of a tree that was checked."""
    match tree:
        case And(operands):
            parts = [compile_filter(operand) for operand in operands]
            return lambda event: all(part(event) for part in parts)
        case Or(operands):
            parts = [compile_filter(operand) for operand in operands]
            return lambda event: any(part(event) for part in parts)
        case Not(operand):
            part = compile_filter(operand)
            return lambda event: not part(event)
        case Compare(field, comparison, value):
            return _compile_compare(resolved(field), comparison, value)
        case Member(field, values, negated):
            return _compile_member(resolved(field), values, negated=negated)
        case IsNull(field, negated):
            read = resolved(field).read
            return lambda event: (read(event) is None) != negated


def _reader(field: EventField) -> Callable[[Event], Any]:
    if field.name != "cat":
        return field.read
    read = field.read
    return lambda event: ascii_lower(read(event))


def _compile_compare(field: EventField, comparison: Comparison, value: Value) -> EventFilter:
    wanted = settled(field, value)
    read, compare = _reader(field), _OPERATORS[comparison]

    def keeps(event: Event) -> bool:
        found = read(event)
        return comparable(found, wanted) and compare(found, wanted)

    return keeps


def _compile_member(field: EventField, values: tuple[Value, ...], *, negated: bool) -> EventFilter:
    settled_values = [settled(field, value) for value in values]
    texts = {value for value in settled_values if isinstance(value, str)}
    numbers = {value for value in settled_values if not isinstance(value, str)}
    read = _reader(field)

    def keeps(event: Event) -> bool:
        found = read(event)
        if found is None:
            return False
        return (found in (texts if isinstance(found, str) else numbers)) != negated

    return keeps
